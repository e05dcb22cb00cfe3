-- Times are milliseconds since the Unix epoch; words are those of the API.

-- One row: the numbers given out last, and when an orchestrator was last alive on this file.
CREATE TABLE orchestrator (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    next_task  INTEGER NOT NULL,
    next_event INTEGER NOT NULL,
    last_alive INTEGER
);
INSERT INTO orchestrator (one, next_task, next_event) VALUES (1, 1, 1);

-- The tasks of a run have the ids first_task .. first_task + total, in the order they are handed out.
CREATE TABLE runs (
    key         INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    spec        TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    finished_at INTEGER,
    first_task  INTEGER NOT NULL UNIQUE,
    total       INTEGER NOT NULL
);

-- The tasks of one alias: counts by state, and a place in the queue before which none is pending.
CREATE TABLE groups (
    run           INTEGER NOT NULL,
    grp           INTEGER NOT NULL,
    provider      TEXT    NOT NULL,
    instance_type TEXT    NOT NULL,
    alias         TEXT    NOT NULL,
    total         INTEGER NOT NULL,
    pending       INTEGER NOT NULL,
    claimed       INTEGER NOT NULL,
    running       INTEGER NOT NULL,
    completed     INTEGER NOT NULL,
    failed        INTEGER NOT NULL,
    cancelled     INTEGER NOT NULL,
    head          INTEGER NOT NULL,
    wanted_at     INTEGER NOT NULL,
    PRIMARY KEY (run, grp)
) WITHOUT ROWID;

-- A task and the lease it is handed out under, if any.
CREATE TABLE tasks (
    id              INTEGER PRIMARY KEY,
    run             INTEGER NOT NULL,
    grp             INTEGER NOT NULL,
    number          INTEGER NOT NULL,
    state           TEXT    NOT NULL,
    fence           INTEGER NOT NULL DEFAULT 0,
    attempts        INTEGER NOT NULL DEFAULT 0,
    free            INTEGER NOT NULL DEFAULT 0,
    failures        INTEGER NOT NULL DEFAULT 0,
    lost_hosts      TEXT,
    runner_id       TEXT,
    host            TEXT,
    request_id      TEXT,
    claimed_at      INTEGER,
    expires_at      INTEGER,
    beat_at         INTEGER,
    status          TEXT,
    progress        REAL,
    message         TEXT,
    upload_sha256   TEXT,
    upload_size     INTEGER,
    upload_key      TEXT,
    upload_verified INTEGER,
    ended_fence     INTEGER,
    ended_outcome   TEXT,
    ended_sha256    TEXT,
    ended_runner    TEXT,
    ended_host      TEXT,
    reason          TEXT,
    error_message   TEXT
);
CREATE INDEX tasks_pending ON tasks (run, grp, id) WHERE state = 'pending';

-- Attempts that ended.
CREATE TABLE attempts (
    task            INTEGER NOT NULL,
    attempt         INTEGER NOT NULL,
    runner_id       TEXT    NOT NULL,
    host            TEXT    NOT NULL,
    outcome         TEXT    NOT NULL,
    claimed_at      INTEGER NOT NULL,
    ended_at        INTEGER NOT NULL,
    error_type      TEXT,
    error_message   TEXT,
    upload_sha256   TEXT,
    upload_size     INTEGER,
    upload_key      TEXT,
    upload_verified INTEGER,
    accepted        INTEGER NOT NULL,
    PRIMARY KEY (task, attempt)
) WITHOUT ROWID;

CREATE TABLE hosts (
    run            INTEGER NOT NULL,
    host           TEXT    NOT NULL,
    provider       TEXT    NOT NULL,
    alias          TEXT,
    stage          TEXT    NOT NULL,
    message        TEXT,
    drained        INTEGER NOT NULL,
    quick_failures TEXT,
    completed      INTEGER NOT NULL,
    seen_at        INTEGER NOT NULL,
    PRIMARY KEY (run, host)
) WITHOUT ROWID;

CREATE TABLE runners (
    run           INTEGER NOT NULL,
    runner_id     TEXT    NOT NULL,
    host          TEXT    NOT NULL,
    provider      TEXT    NOT NULL,
    instance_type TEXT    NOT NULL,
    alias         TEXT,
    seen_at       INTEGER NOT NULL,
    gone          INTEGER NOT NULL,
    PRIMARY KEY (run, runner_id)
) WITHOUT ROWID;

-- One row per run and commit: a JSON array of the events first_seq .. seq.
CREATE TABLE events (
    seq       INTEGER PRIMARY KEY,
    run       INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    events    TEXT    NOT NULL
);
CREATE INDEX events_run ON events (run, seq);
