-- Times are milliseconds since the Unix epoch; words are those of the API.

-- One row. Whoever holds its lock writes: orchestrators take turns, a batch each. `version` counts the
-- batches that changed a run; `changes` says what they changed.
CREATE TABLE orchestrator (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    version    BIGINT NOT NULL,
    next_run   BIGINT NOT NULL,
    next_task  BIGINT NOT NULL,
    next_event BIGINT NOT NULL,
    last_alive BIGINT
);
INSERT INTO orchestrator (one, version, next_run, next_task, next_event) VALUES (1, 0, 1, 1, 1);

CREATE TABLE changes (
    version BIGINT   NOT NULL,
    run     BIGINT   NOT NULL,
    tasks   BIGINT[] NOT NULL,
    PRIMARY KEY (version, run)
);

-- The tasks of a run have the ids first_task .. first_task + total, in the order they are handed out.
CREATE TABLE runs (
    key         BIGINT  PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    spec        TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    created_at  BIGINT  NOT NULL,
    finished_at BIGINT,
    first_task  BIGINT  NOT NULL UNIQUE,
    total       INTEGER NOT NULL
);

-- The tasks of one alias: counts by state, and a place in the queue before which none is pending.
CREATE TABLE groups (
    run           BIGINT  NOT NULL,
    grp           INTEGER NOT NULL,
    provider      TEXT    NOT NULL,
    instance_type TEXT    NOT NULL,
    alias         TEXT    NOT NULL,
    total         BIGINT  NOT NULL,
    pending       BIGINT  NOT NULL,
    claimed       BIGINT  NOT NULL,
    running       BIGINT  NOT NULL,
    completed     BIGINT  NOT NULL,
    failed        BIGINT  NOT NULL,
    cancelled     BIGINT  NOT NULL,
    head          BIGINT  NOT NULL,
    wanted_at     BIGINT  NOT NULL,
    PRIMARY KEY (run, grp)
) WITH (fillfactor = 50);

-- A task and the lease it is handed out under, if any. Room is left in each page, so that a heartbeat
-- changes its row in place (HOT).
CREATE TABLE tasks (
    id              BIGINT  PRIMARY KEY,
    run             BIGINT  NOT NULL,
    grp             INTEGER NOT NULL,
    number          INTEGER NOT NULL,
    state           TEXT    NOT NULL DEFAULT 'pending',
    fence           BIGINT  NOT NULL DEFAULT 0,
    attempts        INTEGER NOT NULL DEFAULT 0,
    free            INTEGER NOT NULL DEFAULT 0,
    failures        INTEGER NOT NULL DEFAULT 0,
    lost_hosts      TEXT[],
    runner_id       TEXT,
    host            TEXT,
    request_id      TEXT,
    claimed_at      BIGINT,
    expires_at      BIGINT,
    beat_at         BIGINT,
    status          TEXT,
    progress        DOUBLE PRECISION,
    message         TEXT,
    upload_sha256   TEXT,
    upload_size     BIGINT,
    upload_key      TEXT,
    upload_verified BOOLEAN,
    ended_fence     BIGINT,
    ended_outcome   TEXT,
    ended_sha256    TEXT,
    ended_runner    TEXT,
    ended_host      TEXT,
    reason          TEXT,
    error_message   TEXT
) WITH (fillfactor = 70);
-- Together with `groups.head`, finds the next pending tasks without walking over those handed out.
CREATE INDEX tasks_pending ON tasks (run, grp, id) WHERE state = 'pending';
CREATE INDEX tasks_active ON tasks (run) WHERE state IN ('claimed', 'running');

-- Attempts that ended.
CREATE TABLE attempts (
    task            BIGINT  NOT NULL,
    attempt         INTEGER NOT NULL,
    runner_id       TEXT    NOT NULL,
    host            TEXT    NOT NULL,
    outcome         TEXT    NOT NULL,
    claimed_at      BIGINT  NOT NULL,
    ended_at        BIGINT  NOT NULL,
    error_type      TEXT,
    error_message   TEXT,
    upload_sha256   TEXT,
    upload_size     BIGINT,
    upload_key      TEXT,
    upload_verified BOOLEAN,
    accepted        BOOLEAN NOT NULL,
    PRIMARY KEY (task, attempt)
);

CREATE TABLE hosts (
    run            BIGINT  NOT NULL,
    host           TEXT    NOT NULL,
    version        BIGINT  NOT NULL,
    provider       TEXT    NOT NULL,
    alias          TEXT,
    stage          TEXT    NOT NULL,
    message        TEXT,
    drained        BOOLEAN NOT NULL,
    quick_failures BIGINT[],
    completed      INTEGER NOT NULL,
    seen_at        BIGINT  NOT NULL,
    PRIMARY KEY (run, host)
);

CREATE TABLE runners (
    run           BIGINT  NOT NULL,
    runner_id     TEXT    NOT NULL,
    version       BIGINT  NOT NULL,
    host          TEXT    NOT NULL,
    provider      TEXT    NOT NULL,
    instance_type TEXT    NOT NULL,
    alias         TEXT,
    seen_at       BIGINT  NOT NULL,
    gone          BOOLEAN NOT NULL,
    PRIMARY KEY (run, runner_id)
);

-- One row per run and commit: a JSON array of the events first_seq .. seq.
CREATE TABLE events (
    seq       BIGINT PRIMARY KEY,
    run       BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    events    TEXT   NOT NULL
);
CREATE INDEX events_run ON events (run, seq);
