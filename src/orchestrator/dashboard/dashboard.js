// The dashboard: reads the API, follows a run's events, and shows both. Text of runners reaches the page as
// text nodes only, never as markup.

const main = document.getElementById("main");
const link = document.getElementById("link");
const dialog = document.getElementById("task");
const csrf = document.querySelector('meta[name="csrf-token"]').content;
const isAdmin = document.body.dataset.role === "admin";

const STATES = ["completed", "running", "claimed", "pending", "failed", "cancelled"];
const GLYPHS = { completed: "✓", running: "▸", claimed: "·", pending: "", failed: "✕", cancelled: "–" };
const STATE_AFTER = {
  task_claimed: "claimed", task_started: "running", task_completed: "completed", task_failed: "failed",
  task_retried: "pending", task_lost: "pending", task_released: "pending", task_cancelled: "cancelled",
};
const CELLS_PER_ALIAS = 500;
const EVENTS_SHOWN = 200;
const FAILURES_SHOWN = 20;
const REFRESH_MS = 2000;

// ---- small helpers

/** Makes an element: `h("a.class", {href}, "text", child)`. Strings become text nodes. */
function h(spec, attributes, ...children) {
  const [tag, ...classes] = spec.split(".");
  const element = document.createElement(tag);
  element.classList.add(...classes);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

async function api(path, options = {}) {
  const answer = await fetch("/api/v1" + path, options);
  if (answer.status === 401) location.assign("/login" + location.hash);
  if (!answer.ok) {
    const refusal = await answer.json().catch(() => ({ message: `status ${answer.status}` }));
    throw Object.assign(new Error(refusal.message), { status: answer.status });
  }
  return answer;
}

const json = async (path, signal) => (await api(path, { signal })).json();
const post = (path) => api(path, { method: "POST", headers: { "x-csrf-token": csrf } });
const clock = (at) => new Date(at).toLocaleTimeString([], { hour12: false });
const words = (text) => text.replaceAll("_", " ");

function ago(at) {
  const seconds = Math.max(0, Math.round((Date.now() - new Date(at)) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

function connection(state) {
  link.dataset.state = state;
  link.textContent = { live: "live", lost: "connection lost, trying again", ended: "ended" }[state];
}

function announce(text) {
  document.getElementById("announce").textContent = text;
}

function chip(state) {
  return h("span.chip", { "data-state": state }, words(state));
}

/** A stacked bar of task counts, with its text for those who do not see it. */
function bar(counts) {
  const text = STATES.filter((state) => counts[state]).map((state) => `${counts[state]} ${state}`).join(", ");
  const parts = STATES.map((state) => {
    const part = h("span", { "data-state": state });
    part.style.flexGrow = counts[state];
    return part;
  });
  return h("div.bar", { role: "img", "aria-label": text || "no tasks" }, ...parts);
}

function legend(counts) {
  const shown = STATES.filter((state) => counts[state] || state === "completed" || state === "pending");
  const items = shown.map((state) =>
    h("li", { "data-state": state }, h("b", {}, String(counts[state])), " " + state));
  return h("ul.legend", {}, ...items);
}

/** Makes many buttons one stop of the Tab key, with the arrow keys to go from one to another. */
function arrows(grid) {
  const cells = [...grid.children];
  const stop = (chosen) => cells.forEach((cell) => (cell.tabIndex = cell === chosen ? 0 : -1));
  stop(cells[0]);
  grid.addEventListener("focusin", (focused) => stop(focused.target));
  grid.addEventListener("keydown", (pressed) => {
    const at = cells.indexOf(pressed.target);
    const second = cells.findIndex((cell) => cell.offsetTop > cells[0].offsetTop);
    const row = second === -1 ? cells.length : second;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - row, ArrowDown: at + row, Home: 0,
      End: cells.length - 1 }[pressed.key];
    if (at === -1 || cells[to] === undefined || pressed.ctrlKey || pressed.altKey || pressed.metaKey) return;
    pressed.preventDefault();
    cells[to].focus();
  });
  return grid;
}

// ---- pages: each ends, or stops loading, at its signal

let leaving = new AbortController();

async function route() {
  leaving.abort();
  leaving = new AbortController();
  const signal = leaving.signal;
  const run = /^#\/runs\/([a-z0-9-]+)$/.exec(location.hash)?.[1];
  document.getElementById("crumbs").replaceChildren(...(run ? [h("li", { "aria-current": "page" }, run)] : []));
  document.title = run ? `${run} · bench` : "bench";
  try {
    await (run ? runPage(run, signal) : runsPage(signal));
  } catch (error) {
    // Another page was chosen meanwhile.
    if (signal.aborted) return;
    leaving.abort();
    // An answer, if a refusal: the orchestrator is there.
    connection(error.status ? "live" : "lost");
    main.replaceChildren(h("p.empty", { role: "alert" }, error.message));
  }
}

/** Calls `refresh` again and again, until the signal; one that fails is tried again. */
function repeat(refresh, pause, signal) {
  let timer;
  const round = async () => {
    try {
      await refresh();
      if (link.dataset.state === "lost") connection("live");
    } catch {
      if (!signal.aborted) connection("lost");
    }
    if (!signal.aborted) timer = setTimeout(round, pause);
  };
  timer = setTimeout(round, pause);
  signal.addEventListener("abort", () => clearTimeout(timer));
}

async function runsPage(signal) {
  const list = h("ul.runs");
  const show = async () => {
    const runs = await json("/runs", signal);
    const items = runs.map((run) => h("li", {}, h("a.card", { href: `#/runs/${run.run_id}` },
      h("span.row", {}, h("strong.mono", {}, run.run_id), chip(run.status),
        h("span.soft", {}, run.workload.name), h("span.soft.push", {}, ago(run.created_at))),
      bar(run.tasks),
      h("span.soft", {}, `${run.tasks.completed} of ${run.tasks.total} ${run.tasks.total === 1 ? "task" : "tasks"} completed`
        + (run.tasks.failed ? `, ${run.tasks.failed} failed` : "")))));
    const focused = document.activeElement?.getAttribute("href");
    list.replaceChildren(...items);
    if (focused) list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    if (items.length === 0) list.append(h("li.empty", {}, "No runs yet: `bench run CONFIG` makes one."));
  };
  await show();
  main.replaceChildren(h("h1", {}, "Runs"), list);
  connection("live");
  repeat(show, REFRESH_MS, signal);
}

async function runPage(id, signal) {
  const run = await json(`/runs/${id}`, signal);
  const page = new RunPage(id, signal);
  // In this order: what happens while the tasks are read comes as events.
  await page.follow();
  await page.loadTasks();
  page.build(run);
  page.catchUp();
  await page.refresh();
  repeat(() => page.refresh(), REFRESH_MS, signal);
}

class RunPage {
  constructor(id, signal) {
    this.id = id;
    this.signal = signal;
    this.tasks = new Map();
    this.cells = new Map();
    this.counters = new Map();
    /** What is to be done once the page is built; nothing waits afterwards. */
    this.pending = [];
  }

  /** What the API says of this run, as long as its page is wanted. */
  json(path) {
    return json(`/runs/${this.id}${path}`, this.signal);
  }

  async loadTasks() {
    this.outdated = false;
    for (let after = 0, page = []; after === 0 || page.length === 1000; after = page.at(-1).id) {
      page = await this.json(`/tasks?limit=1000&after=${after}`);
      for (const task of page) {
        const known = this.tasks.get(task.id);
        if (known) this.paint(Object.assign(known, task));
        else this.tasks.set(task.id, task);
      }
      if (page.length === 0) break;
    }
    for (const alias of this.counters.keys()) this.count(alias);
  }

  build(run) {
    this.head = h("section.card", { "aria-label": "Run" });
    this.problem = h("p.error", { role: "alert", hidden: "" });
    this.grid = h("section.card", { "aria-label": "Tasks by alias" }, h("h2", {}, "Tasks"));
    this.failures = h("ul.runners");
    this.failed = h("section.card", { "aria-label": "Failed tasks", hidden: "" }, h("h2", {}, "Failed"), this.failures);
    this.runners = h("ul.runners");
    this.events = h("ol.events", { role: "log", "aria-label": "Events", tabindex: "0" });
    this.buildGrid();
    this.showRun(run);
    const tasks = h("div.columns.side", {}, this.grid, this.failed);
    const happening = h("div.columns.side", {},
      h("section.card", { "aria-label": "Task runners" }, h("h2", {}, "Task runners"), this.runners),
      h("section.card", { "aria-label": "Live events" }, h("h2", {}, "Events"), this.events));
    main.replaceChildren(this.head, this.problem, h("div.columns", {}, tasks, happening));
  }

  buildGrid() {
    const aliases = Map.groupBy(this.tasks.values(), (task) => task.alias);
    for (const [alias, tasks] of [...aliases].sort(([a], [b]) => a.localeCompare(b))) {
      tasks.sort((a, b) => a.number - b.number);
      const shown = tasks.slice(0, CELLS_PER_ALIAS).map((task) => this.cell(task));
      const more = tasks.length - shown.length;
      const counter = h("span.soft");
      this.counters.set(alias, { counter, tasks });
      this.grid.append(h("div.alias", {},
        h("h3", {}, alias, h("span.soft", {}, `${tasks[0].provider} · ${tasks[0].instance_type}`), counter),
        arrows(h("div.grid", { role: "group", "aria-label": `Tasks of ${alias}` }, ...shown)),
        more > 0 ? h("span.soft", {}, `and ${more} more`) : null));
      this.count(alias);
    }
  }

  cell(task) {
    const cell = h("button.cell", { type: "button", onclick: () => showTask(task.id) });
    this.cells.set(task.id, cell);
    this.paint(task, cell);
    return cell;
  }

  paint(task, cell = this.cells.get(task.id)) {
    if (!cell) return;
    cell.dataset.state = task.state;
    cell.textContent = GLYPHS[task.state];
    const percent = task.progress === undefined ? "" : ` ${Math.round(task.progress * 100)} %`;
    const doing = task.state === "running" && task.status ? `, ${task.status}${percent}` : "";
    const label = `${task.alias} ${task.number}: ${task.state}${doing}${task.reason ? `, ${task.reason}` : ""}`;
    cell.title = label;
    cell.setAttribute("aria-label", label);
  }

  count(alias) {
    const { counter, tasks } = this.counters.get(alias);
    const completed = tasks.filter((task) => task.state === "completed").length;
    counter.textContent = `${completed} of ${tasks.length} completed`;
  }

  showRun(run) {
    const ended = run.status !== "running";
    const stop = h("button.danger.push", { type: "button", onclick: () => this.stop(stop) }, "Stop run");
    const hint = h("a.push", { href: "/login" + location.hash }, "Log in to stop");
    const focused = this.head.contains(document.activeElement);
    this.head.replaceChildren(
      h("div.row", {}, h("h1.mono", {}, run.run_id), chip(run.status),
        ended ? null : isAdmin ? stop : hint),
      h("p.soft", {}, `${run.workload.name} · started ${ago(run.created_at)}`
        + (run.finished_at ? ` · ended ${ago(run.finished_at)}` : "") + ` · order seed ${run.seed}`),
      bar(run.tasks), legend(run.tasks));
    // What had the focus was made anew, or is gone.
    if (focused) (ended ? main : isAdmin ? stop : hint).focus();
    if (this.status && this.status !== run.status) announce(`The run is ${run.status}.`);
    this.status = run.status;
  }

  async stop(button) {
    if (!confirm(`Stop ${this.id}? Tasks that have not ended are cancelled.`)) return;
    button.disabled = true;
    this.problem.hidden = true;
    try {
      const run = await (await post(`/runs/${this.id}/stop`)).json();
      if (this.signal.aborted) return;
      this.showRun(run);
      main.focus();
    } catch (error) {
      if (this.signal.aborted) return;
      this.problem.hidden = false;
      this.problem.textContent = `The run could not be stopped: ${error.message}`;
      await this.refreshOnce();
      this.head.querySelector("button")?.focus();
    }
  }

  async refresh() {
    this.showRun(await this.json(""));
    if (this.outdated) await this.loadTasks();
    for (const task of await this.json("/tasks?state=running")) this.update(task);
    this.showHosts(await this.json("/hosts"));
    this.showFailures();
  }

  async refreshOnce() {
    await this.refresh().catch(() => {
      if (!this.signal.aborted) connection("lost");
    });
  }

  /** What failed and why, each a way to its log. Made anew only where it has changed, so that the focus stays. */
  showFailures() {
    const failed = [...this.tasks.values()].filter((task) => task.state === "failed");
    const shown = failed.slice(0, FAILURES_SHOWN);
    const key = JSON.stringify([failed.length, ...shown.map((task) => [task.id, task.why])]);
    if (key === this.failuresKey) return;
    this.failuresKey = key;
    this.failed.hidden = failed.length === 0;
    const items = shown.map((task) => h("li", {},
      h("span.row", {}, h("span.name", {}, `${task.alias} ${task.number}`),
        h("button.push", { type: "button", onclick: () => showTask(task.id),
          "aria-label": `Log of ${task.alias} ${task.number}` }, "Log")),
      h("span.soft", {}, task.why ?? words(task.reason ?? "failed"))));
    if (failed.length > shown.length) items.push(h("li.soft", {}, `and ${failed.length - shown.length} more`));
    this.failures.replaceChildren(...items);
  }

  update(task) {
    const known = this.tasks.get(task.id);
    if (!known) return;
    Object.assign(known, task);
    this.paint(known);
    if (this.counters.has(known.alias)) this.count(known.alias);
  }

  showHosts(hosts) {
    const items = hosts.flatMap((host) => host.runners.length
      ? host.runners.map((runner) => this.runner(host, runner))
      : [h("li", {}, h("span.row", {}, h("span.name", {}, host.host), h("span.soft.push", {}, words(host.stage))),
          host.message ? h("span.soft", {}, host.message) : null)]);
    if (items.length === 0) items.push(h("li.soft", {}, "None has come yet."));
    this.runners.replaceChildren(...items);
  }

  runner(host, runner) {
    const task = this.tasks.get(runner.task_id);
    const item = h("li", {},
      h("span.row", {}, h("span.name", {}, runner.runner_id), h("span.push", {}, chip(runner.state))),
      h("span.soft", {}, `on ${host.host}${host.drained ? " (drained)" : ""}, seen ${ago(runner.last_seen_at)}`));
    if (task) {
      item.append(h("span", {}, `${task.alias} ${task.number}`
        + (task.status ? `: ${task.status}` : "") + (task.message ? `, ${task.message}` : "")));
      if (task.progress !== undefined) {
        item.append(h("progress", { max: 1, value: task.progress, "aria-label": "progress" }));
      }
    }
    return item;
  }

  /** Follows the events, from the last ones that are shown on. Resolves when the first connection stands, or fails, or at the signal. */
  follow() {
    this.source = new EventSource(`/api/v1/runs/${this.id}/events?last=${EVENTS_SHOWN}`);
    this.source.addEventListener("end", () => {
      this.source.close();
      this.once(() => {
        connection("ended");
        this.refreshOnce();
      });
    });
    const kinds = [...Object.keys(STATE_AFTER), "run_created", "run_stopped", "run_finished", "task_uploaded",
      "host_stage", "host_drained", "leases_extended"];
    for (const kind of kinds) {
      this.source.addEventListener(kind, (message) => this.once(() => this.happened(JSON.parse(message.data))));
    }
    return new Promise((resolve) => {
      this.signal.addEventListener("abort", () => {
        this.source.close();
        resolve();
      });
      const seen = (state) => {
        connection(state);
        resolve();
      };
      this.source.onopen = () => {
        // Between two connections more may have happened than is told again.
        this.outdated = true;
        seen("live");
      };
      this.source.onerror = () => seen("lost");
    });
  }

  /** Does it now, or as soon as the page is built. */
  once(action) {
    if (this.pending) this.pending.push(action);
    else action();
  }

  catchUp() {
    const pending = this.pending;
    this.pending = null;
    for (const action of pending) action();
  }

  happened(event) {
    const state = STATE_AFTER[event.kind];
    const why = event.kind === "task_failed" ? { why: event.detail } : {};
    if (state && event.task_id) this.update({ id: event.task_id, state, ...why });
    // One event speaks for all tasks of an alias, or of the run, that nobody had claimed.
    if ((state && !event.task_id) || event.kind === "run_stopped") this.outdated = true;
    const about = [event.alias && `${event.alias} ${event.number ?? ""}`, event.host, event.runner_id];
    const text = [words(event.kind), ...about.filter(Boolean), event.detail].filter(Boolean).join(" · ");
    this.events.prepend(h("li", {}, h("time", { datetime: event.at }, clock(event.at)), h("span", {}, text)));
    while (this.events.childElementCount > EVENTS_SHOWN) this.events.lastElementChild.remove();
  }
}

// ---- one task

let opening = new AbortController();

async function showTask(id) {
  // What is still loaded for another task is not for this one's dialog.
  opening.abort();
  opening = new AbortController();
  const signal = opening.signal;
  const close = h("button.push", { type: "button", onclick: () => dialog.close() }, "Close");
  dialog.replaceChildren(h("div.row", {}, h("h2", { id: "task-title" }, "Task"), close));
  if (!dialog.open) dialog.showModal();
  try {
    const [task, attempts] =
      await Promise.all([json(`/tasks/${id}`, signal), json(`/tasks/${id}/attempts`, signal)]);
    dialog.replaceChildren(
      h("div.row", {}, h("h2", { id: "task-title" }, `${task.alias} ${task.number}`), chip(task.state), close),
      facts(task), h("h3", {}, "Attempts"), ...attempts.map(attemptLine));
    close.focus();
    await showLog(id, signal);
  } catch (error) {
    if (!signal.aborted) dialog.append(h("p.error", { role: "alert" }, error.message));
  }
}

function facts(task) {
  const rows = {
    "Instance type": `${task.instance_type} (${task.provider})`, Reason: task.reason,
    Error: task.error_message, Runner: task.runner_id, Host: task.host, Doing: task.status,
    "Last beat": task.last_beat_at && ago(task.last_beat_at),
  };
  const shown = Object.entries(rows).filter(([, value]) => value);
  return h("dl", {}, ...shown.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function attemptLine(attempt) {
  const parts = [`${attempt.attempt}.`, attempt.outcome, `on ${attempt.host}`, attempt.error_message];
  return h("p", {}, parts.filter(Boolean).join(" "), attempt.accepted ? " ✓ accepted" : "");
}

async function showLog(id, signal) {
  try {
    const text = await (await api(`/tasks/${id}/log`, { signal })).text();
    const log = h("pre", { tabindex: "0", "aria-label": "Log" }, text);
    dialog.append(h("h3", {}, "End of the log"), log);
    log.scrollTop = log.scrollHeight;
  } catch (error) {
    if (signal.aborted || error.status !== 404) throw error;
    dialog.append(h("p.soft", {}, "No log was uploaded."));
  }
}

// ---- session

const session = document.getElementById("session");
session.textContent = isAdmin ? "Log out" : "Log in";
session.addEventListener("click", async () => {
  if (isAdmin) await fetch("/logout", { method: "POST", headers: { "x-csrf-token": csrf } });
  location.assign(isAdmin ? "/" : "/login" + location.hash);
});

// Its address would be taken for a page's.
document.querySelector(".skip").addEventListener("click", (clicked) => {
  clicked.preventDefault();
  main.focus();
});

addEventListener("hashchange", () => route().then(() => main.focus()));
route();
