#!/usr/bin/env python3
"""The first process of a network and a process tree of their own, made by `unshare --net --pid --fork`.

    world.py ADDRESS...

gives this network's loopback interface the addresses, prints `up`, and ends with its stdin; every process of the
tree ends with it.
"""

import fcntl
import signal
import socket
import struct
import sys

SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C
IFF_UP = 1


def request(probe, code, name, content):
    fcntl.ioctl(probe, code, struct.pack("16s24s", name.encode(), content))


def address(text):
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))


def main():
    # Orphans of the whole tree come here; nobody asks how they ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request(probe, SIOCSIFFLAGS, "lo", struct.pack("H", IFF_UP))
        for number, text in enumerate(sys.argv[1:], 1):
            request(probe, SIOCSIFADDR, f"lo:{number}", address(text))
            request(probe, SIOCSIFNETMASK, f"lo:{number}", address("255.255.255.255"))
    print("up", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
