"""Stands in for systemd: starts the units that user-data writes, services with restarts, start limits and stop
commands, timers and paths; and ends the machine.
"""

import os
import shlex
import signal
import subprocess
import threading
import time
from datetime import datetime, timezone
from fnmatch import fnmatch
from pathlib import Path

UNITS = Path("/etc/systemd/system")


class Unit:
    """A unit file, with the instance's name in place of %i."""

    def __init__(self, name):
        stem, kind = name.rsplit(".", 1)
        template, _, self.instance = stem.partition("@")
        path = UNITS / (f"{template}@.{kind}" if "@" in stem else name)
        self.name, self.kind, self.values = name, kind, {}
        for line in path.read_text().splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                self.values.setdefault(key.strip(), []).append(value.strip().replace("%i", self.instance))

    def all(self, key):
        return self.values.get(key, [])

    def get(self, key, default=""):
        return self.all(key)[-1] if self.all(key) else default

    def environment(self, base):
        env = dict(base)
        for line in self.all("Environment"):
            env.update(pair.split("=", 1) for pair in shlex.split(line))
        for file in self.all("EnvironmentFile"):
            lines = Path(file).read_text().splitlines()
            env.update(line.split("=", 1) for line in lines if "=" in line)
        return env

    def as_user(self, command):
        """The command, as the unit's user, who may bind low ports where the unit says so."""
        user = self.get("User")
        if not user:
            return command
        words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        for name in self.get("AmbientCapabilities").lower().split():
            name = name.removeprefix("cap_")
            words += [f"--inh-caps=+{name}", f"--ambient-caps=+{name}"]
        return words + command


class Service:
    """A unit that was started, until it has ended for good."""

    def __init__(self, systemd, unit):
        self.systemd, self.unit = systemd, unit
        self.stopping, self.started, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.process, self.code = None, 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        starts = []
        while True:
            starts.append(time.monotonic())
            result = self.once()
            policy = self.unit.get("Restart", "no")
            again = policy == "always" or (policy == "on-failure" and result != "success")
            if self.stopping.is_set() or not again:
                break
            interval = float(self.unit.get("StartLimitIntervalSec", "10"))
            recent = [start for start in starts if time.monotonic() - start < interval]
            if interval and len(recent) >= int(self.unit.get("StartLimitBurst", "5")):
                break
            if self.stopping.wait(float(self.unit.get("RestartSec", "0.1"))):
                break
        if result != "success" and not self.stopping.is_set():
            for name in self.unit.all("OnFailure"):
                self.systemd.start(name)
        self.ended.set()

    def once(self):
        """One start and its end; says how it ended, in systemd's words."""
        env = self.unit.environment(self.systemd.env)
        for command in self.unit.all("ExecStartPre"):
            self.command(command.removeprefix("-"), env)
        try:
            self.process = self.spawn(self.unit.get("ExecStart"), env)
        except OSError as error:
            self.say(error)
            self.process, self.code = None, 203
        self.started.set()
        if self.process:
            self.code = self.process.wait()
        good = ["0", "-1", "-2", "-13", "-15", *self.unit.get("SuccessExitStatus").split()]
        result = "success" if str(self.code) in good else "signal" if self.code < 0 else "exit-code"
        for command in self.unit.all("ExecStopPost"):
            self.command(command, {**env, "SERVICE_RESULT": result})
        return result

    def spawn(self, command, env):
        words = self.unit.as_user(shlex.split(command))
        with open(log_of(self.unit.name), "ab") as log:
            return subprocess.Popen(
                words, env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def command(self, command, env):
        try:
            self.spawn(command, env).wait()
        except OSError as error:
            self.say(error)

    def say(self, what):
        with open(log_of(self.unit.name), "a", encoding="utf-8") as log:
            print(what, file=log)

    def stop(self):
        self.stopping.set()
        # A unit is its whole control group.
        group = family(self.process.pid) if self.process else []
        tell(group, signal.SIGTERM)
        if not self.ended.wait(float(self.unit.get("TimeoutStopSec", "90"))):
            tell(group, signal.SIGKILL)
            self.ended.wait()
        tell(group, signal.SIGKILL)


class Systemd:
    """The units that were started, and the machine's end."""

    def __init__(self, env):
        self.env, self.lock, self.active, self.watched = env, threading.RLock(), {}, {}
        self.off, self.alarm = threading.Event(), None

    def start(self, name):
        """Starts a unit; returns once it is up, a `oneshot` once it is done. Raises where there is none."""
        name = name if "." in name else f"{name}.service"
        unit = Unit(name)
        if unit.kind != "service":
            with self.lock:
                gone = threading.Event()
                self.watched.pop(name, threading.Event()).set()
                self.watched[name] = gone
            watch = self.watch_path if unit.kind == "path" else self.watch_clock
            threading.Thread(target=watch, args=(unit, gone), daemon=True).start()
            return 0
        with self.lock:
            service = self.active.get(name)
            if not service or service.ended.is_set():
                service = self.active[name] = Service(self, unit)
        (service.ended if unit.get("Type") == "oneshot" else service.started).wait()
        return service.code if service.ended.is_set() else 0

    def stop(self, patterns):
        with self.lock:
            services = [service for name, service in self.active.items() if matches(name, patterns)]
            for name in [name for name in self.watched if matches(name, patterns)]:
                self.watched.pop(name).set()
        stops = [threading.Thread(target=service.stop) for service in services]
        for thread in stops:
            thread.start()
        for thread in stops:
            thread.join()

    def watch_path(self, unit, gone):
        while not gone.wait(0.05):
            folder = unit.get("DirectoryNotEmpty")
            if os.path.isdir(folder) and os.listdir(folder):
                service = self.started(triggered(unit))
                service.ended.wait()

    def watch_clock(self, unit, gone):
        if at := unit.get("OnCalendar"):
            due = datetime.strptime(at, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=timezone.utc)
            if not gone.wait(max(0, due.timestamp() - time.time())):
                self.start(triggered(unit))
            return
        pause = float(unit.get("OnActiveSec"))
        while not gone.wait(pause):
            self.started(triggered(unit)).ended.wait()
            pause = float(unit.get("OnUnitInactiveSec"))

    def started(self, name):
        self.start(name)
        return self.active[name]

    def power_off(self):
        self.stop(["*"])
        self.off.set()

    def power_off_in(self, minutes):
        with self.lock:
            if self.alarm:
                self.alarm.cancel()
            self.alarm = threading.Timer(minutes * 60, self.power_off)
            self.alarm.daemon = True
            self.alarm.start()

    def systemctl(self, words):
        options = [word for word in words if word.startswith("-")]
        verb, *names = [word for word in words if not word.startswith("-")]
        if verb == "poweroff":
            # Whoever asks is stopped as well, and must not be waited for.
            threading.Thread(target=self.power_off, daemon=True).start()
        elif verb == "stop":
            self.stop(names)
        elif verb in ("start", "restart") or (verb == "enable" and "--now" in options):
            if verb == "restart":
                self.stop(names)
            if "--no-block" in options:
                for name in names:
                    threading.Thread(target=self.start, args=(name,), daemon=True).start()
                return 0
            return max(self.start(name) for name in names)
        elif verb not in ("enable", "daemon-reload"):
            raise ValueError(f"unknown verb {verb}")
        return 0


def triggered(unit):
    return unit.get("Unit", f"{unit.name.rsplit('.', 1)[0]}.service")


def matches(name, patterns):
    return any(fnmatch(name, pattern) or fnmatch(name, f"{pattern}.service") for pattern in patterns)


def log_of(unit):
    return f"/var/log/unit-{unit}.log"


def family(root):
    """A process and all that descend from it."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def tell(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
