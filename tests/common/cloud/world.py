#!/usr/bin/env python3
"""The first process of a network and a process tree of their own, made by `unshare --net --pid --fork`.

    world.py ADDRESS... [-- COMMAND...]

gives this network's loopback interface the addresses, prints `up`, and ends with its stdin; every process of the
tree ends with it. With a COMMAND it runs that, instead of printing, and ends with it too, with its exit code.
"""

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading

SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C
IFF_UP = 1


def request(probe, code, name, content):
    fcntl.ioctl(probe, code, struct.pack("16s24s", name.encode(), content))


def address(text):
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))


def bring_up(addresses):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request(probe, SIOCSIFFLAGS, "lo", struct.pack("H", IFF_UP))
        for number, text in enumerate(addresses, 1):
            request(probe, SIOCSIFADDR, f"lo:{number}", address(text))
            request(probe, SIOCSIFNETMASK, f"lo:{number}", address("255.255.255.255"))


def wait_for_end():
    """Of whoever holds the other end of our stdin."""
    sys.stdin.read()
    os._exit(1)


def run(command):
    """Its exit code. Orphans of the whole tree come here as well, and are waited for."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=wait_for_end, daemon=True).start()
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            return os.waitstatus_to_exitcode(status) % 256


def main():
    addresses, command = divided(sys.argv[1:])
    bring_up(addresses)
    if command:
        os._exit(run(command))
    # Nobody asks how orphans ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("up", flush=True)
    sys.stdin.read()


def divided(words):
    """What stands before `--`, and behind it."""
    place = words.index("--") if "--" in words else len(words)
    return words[:place], words[place + 1 :]


if __name__ == "__main__":
    main()
