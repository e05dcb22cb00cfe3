#!/usr/bin/env python3
"""The AWS CLI without its start: a process that has it loaded, and forks for each call.

    aws_server.py FOLDER

makes the program `aws` in FOLDER, prints `ready`, and answers until its stdin ends. With FOLDER first in PATH, programs
that call `aws` get the same code with their own arguments, environment, folder and streams, in a tenth of the CPU time;
a test that lists a cloud a hundred times is otherwise mostly the start of Python. Exit code 2, and nothing made, where
the AWS CLI is not one of this Python (version 2 brings its own): then the real one serves as well, only slower.
"""

import contextlib
import gc
import json
import os
import pathlib
import selectors
import signal
import socket
import sys

# Isolated and without site-packages, it starts in 15 ms.
CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({socket!r})
    call = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode() + b"\\n"
    socket.send_fds(line, [call[:1]], [0, 1, 2])
    line.sendall(call[1:])
    # A server that is gone has said nothing: that is a failure.
    sys.exit(int(line.makefile().readline() or 255))
"""


def load():
    """The CLI with the models that the sweep of the aws backend uses, and whatever one call reads beside them."""
    try:
        import awscli.clidriver
    except ImportError:
        print("aws_server: this Python has no AWS CLI", file=sys.stderr)
        sys.exit(2)
    warm, driver = awscli.clidriver.create_clidriver(), awscli.clidriver.create_clidriver()
    nowhere = ["--endpoint-url", "http://127.0.0.1:9", "--region", "us-east-1", "--no-sign-request", "--output", "json"]
    with open(os.devnull, "w") as nobody, contextlib.redirect_stderr(nobody):
        for call in (["ec2", "describe-vpcs"], ["sts", "get-caller-identity"]):
            with contextlib.suppress(SystemExit):
                warm.main([*call, *nowhere])
    # Only what was read from files: credentials and the like are each call's own.
    driver.session.register_component("data_loader", warm.session.get_component("data_loader"))
    gc.freeze()
    return driver


def answer(driver, line):
    """One call, in a process of its own."""
    code = 255
    try:
        first, streams, _, _ = socket.recv_fds(line, 1, 3)
        for wanted, given in enumerate(streams):
            os.dup2(given, wanted)
        arguments, folder, environment = json.loads(first + line.makefile("rb").readline())
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["aws", *arguments]
        code = driver.main(arguments)
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        line.sendall(b"%d\n" % code)
        os._exit(0)


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    os.environ["AWS_MAX_ATTEMPTS"] = "1"
    driver = load()
    # Not below FOLDER, whose path may be longer than a socket's can be.
    address = f"/tmp/aws-server-{os.getpid()}.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(128)
    client = folder / "aws"
    client.write_text(CLIENT.format(python=sys.executable, socket=address))
    client.chmod(0o755)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    waiting.register(sys.stdin, selectors.EVENT_READ)
    while all(key.fileobj is listener for key, _ in waiting.select()):
        line, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            answer(driver, line)
        line.close()
    os.unlink(address)


if __name__ == "__main__":
    main()
