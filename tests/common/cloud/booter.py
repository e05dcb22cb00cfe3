#!/usr/bin/env python3
"""Boots every instance that appears in an EC2 API that only keeps records (moto), and serves their metadata.

    booter.py --endpoint http://127.0.0.1:5000 --machines FOLDER --region us-east-1 --region us-west-2
        [--stall TYPE=WHERE]... [--program NAME=FILE]... [--environment NAME=VALUE]...

prints `up` once it looks. Each instance is a folder in FOLDER, named by its id: its log, and what it wrote. An
instance that is terminated loses its machine; one that powers off is terminated, or stopped, as it was asked for when
it was made. FOLDER/booted has a line for each boot: id, region and type.

    --stall     instances of this type hang: `never` never begin their user-data, `binary` never end the download of
                the task runner's program
    --program   stands on every machine, before this system's programs

    booter.py --endpoint URL --inventory [--besides FILE] --region ...

prints what is there, as JSON: ids by region and kind. With FILE, an earlier inventory, only what has come since.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import ec2
import metadata

# Downloads from the orchestrator never end.
STALLED_CURL = """#!/bin/bash
case "$*" in */binaries/*) exec sleep infinity ;; esac
exec /usr/bin/curl "$@"
"""


class Booter:
    def __init__(self, arguments):
        self.arguments, self.machines, self.seen = arguments, {}, set()
        self.clients = [ec2.Client(arguments.endpoint, region) for region in arguments.region]
        self.stall = dict(pair.split("=", 1) for pair in arguments.stall)

    def look(self):
        for client in self.clients:
            for instance in client.instances():
                if instance.id in self.machines:
                    # moto shows an instance before its profile.
                    self.machines[instance.id].instance = instance
                if instance.state in ("pending", "running") and instance.id not in self.seen:
                    self.seen.add(instance.id)
                    self.boot(client, instance)
                elif instance.state not in ("pending", "running") and instance.id in self.machines:
                    threading.Thread(target=self.end, args=(self.machines.pop(instance.id),), daemon=True).start()
        for id, machine in list(self.machines.items()):
            if machine.poll() is not None:
                del self.machines[id]
                self.powered_off(machine.client, id)

    def boot(self, client, instance):
        with open(self.arguments.machines / "booted", "a", encoding="utf-8") as log:
            print(instance.id, client.region, instance.type, file=log)
        stall = self.stall.get(instance.type)
        if stall == "never":
            return
        folder = self.arguments.machines / instance.id
        (folder / "programs").mkdir(parents=True)
        (folder / "user-data").write_text(client.user_data(instance.id))
        for pair in self.arguments.program:
            name, file = pair.split("=", 1)
            (folder / "programs" / name).write_bytes(Path(file).read_bytes())
        if stall == "binary":
            (folder / "programs/curl").write_text(STALLED_CURL)
        machine = Path(__file__).with_name("machine.py")
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", sys.executable, machine, folder]
        with open(folder / "console", "wb") as console:
            process = subprocess.Popen(
                [*words, *self.arguments.environment], stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
        process.client, process.instance = client, instance
        self.machines[instance.id] = process

    def end(self, machine):
        """The power button, then the plug."""
        words = ["curl", "-s", "--unix-socket", self.arguments.machines / machine.instance.id / "root/run/machine"]
        words += ["--data-binary", "@-", "http://machine/systemctl"]
        subprocess.run(words, check=False, timeout=30, input=b"poweroff\0")
        try:
            machine.wait(30)
        except subprocess.TimeoutExpired:
            machine.kill()

    def powered_off(self, client, id):
        if client.shutdown_behavior(id) == "terminate":
            client.call("TerminateInstances", **{"InstanceId.1": id})
        else:
            client.call("StopInstances", **{"InstanceId.1": id})

    def whose(self, pid):
        """The instance on whose machine a process runs."""
        for machine in list(self.machines.values()):
            # The children of this `unshare` are the machine's processes.
            if namespace(machine.pid, "pid_for_children") == namespace(pid, "pid"):
                return machine.instance
        return None


def namespace(pid, kind):
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return f"{pid} is gone"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--endpoint", required=True)
    arguments.add_argument("--region", action="append", required=True)
    arguments.add_argument("--machines", type=Path)
    arguments.add_argument("--inventory", action="store_true")
    arguments.add_argument("--besides", type=Path)
    for name in ["--stall", "--program", "--environment"]:
        arguments.add_argument(name, action="append", default=[])
    arguments = arguments.parse_args()
    if arguments.inventory:
        there = ec2.inventory(arguments.endpoint, arguments.region)
        if arguments.besides:
            there = ec2.besides(there, json.loads(arguments.besides.read_text()))
        print(json.dumps(there))
        return
    booter = Booter(arguments)
    threading.Thread(target=metadata.serve, args=(booter.whose,), daemon=True).start()
    booter.look()
    print("up", flush=True)
    while True:
        time.sleep(0.3)
        booter.look()


if __name__ == "__main__":
    main()
