#!/usr/bin/env python3
"""An instance: its user-data runs as the first boot of a machine would run it, in folders of its own.

    unshare --mount --pid --fork --kill-child machine.py FOLDER NAME=VALUE...

FOLDER holds `user-data` as the API gave it; NAME=VALUE is what the cloud's network would bring (where its API
answers). Folders that a machine writes to are FOLDER/root's, programs in FOLDER/programs come before this
system's, the network is the caller's. The programs `systemctl`, `shutdown` and `journalctl` speak to this process,
which runs the units. It ends when the machine powers off, and everything that runs on the machine with it.
"""

import base64
import gzip
import os
import shutil
import socketserver
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from systemd import Systemd, log_of

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SOCKET = "/run/machine"
# What the user-data writes to: empty at first, but /etc, which is copied.
FOLDERS = ["opt", "run", "var/log", "var/lib", "usr/local/bin", "usr/local/sbin"]
# Asks this process; what it says goes to standard output.
ASK = f"""#!/bin/bash
printf '%s\\0' "$@" | curl -sS --fail-with-body --noproxy '*' --unix-socket {SOCKET} --data-binary @- "http://machine/${{0##*/}}"
"""


class Handler(BaseHTTPRequestHandler):
    """One call of a program that speaks to this process."""

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"])).decode()
        words = content.split("\0")[:-1]
        with open("/var/log/calls", "a", encoding="utf-8") as log:
            print(self.path[1:], *words, file=log)
        try:
            code, said = self.answer(self.server.systemd, words)
        except (OSError, ValueError) as error:
            code, said = 5, f"{error}\n"
        self.send_response_only(200 if code == 0 else 500)
        self.send_header("Content-Length", str(len(said.encode())))
        self.end_headers()
        self.wfile.write(said.encode())

    def answer(self, systemd, words):
        if self.path == "/systemctl":
            return systemd.systemctl(words), ""
        if self.path == "/shutdown":
            systemd.power_off_in(float(words[-1].removeprefix("+")))
            return 0, ""
        unit = words[words.index("-u") + 1]
        lines = int(words[words.index("-n") + 1]) if "-n" in words else 10
        log = Path(log_of(unit if "." in unit else f"{unit}.service"))
        return 0, "".join(log.read_text(errors="replace").splitlines(keepends=True)[-lines:]) if log.exists() else ""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Whoever asks for the end may be gone before the answer."""


def mount(folder):
    """Puts the machine's own folders over this system's."""
    root = folder / "root"
    # What nobody but root may read is not needed.
    subprocess.run(["cp", "-a", "/etc", folder / "etc"], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(folder / "etc/systemd/system", ignore_errors=True)
    (folder / "etc/systemd/system").mkdir(parents=True)
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ["systemctl", "shutdown", "journalctl"]:
        (root / "usr/local/sbin" / name).write_text(ASK)
    for program in (folder / "programs").glob("*"):
        shutil.copy(program, root / "usr/local/sbin" / program.name)
        if program.name == "docker":
            (folder / "etc/systemd/system/docker.service").write_text("[Service]\nExecStart=sleep infinity\n")
    for program in (root / "usr/local/sbin").iterdir():
        program.chmod(0o755)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
    for name in FOLDERS:
        subprocess.run(["mount", "--bind", root / name, f"/{name}"], check=True)
    subprocess.run(["mount", "--bind", folder / "etc", "/etc"], check=True)


def first_boot(given, env):
    """What cloud-init does with a script."""
    content = base64.b64decode(given)
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    with open("/var/log/cloud-init-output.log", "ab") as log:
        if not content.startswith(b"#!"):
            log.write(b"this user-data is no script\n")
            return
        script = Path("/var/lib/cloud/instance/scripts/part-001")
        script.parent.mkdir(parents=True)
        script.write_bytes(content)
        script.chmod(0o700)
        subprocess.run([script], env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)


def main():
    folder = Path(sys.argv[1])
    given = (folder / "user-data").read_text()
    mount(folder)
    # Whatever loses its parent comes to the first process, which is not the one that starts units.
    if child := os.fork():
        while os.wait()[0] != child:
            pass
        return
    env = {"PATH": PATH, "LANG": "C.UTF-8", **dict(pair.split("=", 1) for pair in sys.argv[2:])}
    systemd = Systemd(env)
    server = Server(SOCKET, Handler)
    server.systemd = systemd
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=first_boot, args=(given, env), daemon=True).start()
    systemd.off.wait()
    # Threads that wait for units end with the machine.
    os._exit(0)


if __name__ == "__main__":
    main()
