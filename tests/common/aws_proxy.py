#!/usr/bin/env python3
"""A small proxy in front of moto (or any AWS endpoint) that makes chosen calls slow, lost or refused.

    aws_proxy.py --target http://127.0.0.1:5000 [--port 0] [--seed 1]

prints one line, `http://127.0.0.1:PORT`, once it listens; use that as AWS_ENDPOINT_URL. It ends with its stdin.

Control, as JSON:
    POST   /_faults   one fault or a list of them; they are added, the first that matches a call counts
    DELETE /_faults   removes all
    GET    /_faults   each with `hits`, how often it struck
    GET    /_calls    every call so far: service, action, region, method, path, status, fault
    DELETE /_calls    forgets them

A fault: which calls (every key may be left out; `service`, `region`, `action`, `method`, `path` and `body` are
regular expressions, the first four on the whole of it)
    service      ec2, s3, iam, sts, ...   from the signature
    action       RunInstances, ...        of the query and JSON protocols; S3: METHOD, or METHOD?subresource
    region       eu-west-1, ...           from the signature
    skip         this many calls go through first
    count        it strikes this often, then no more
    probability  0 to 1
and what happens:
    delay_s      seconds before anything else
    forward      true: the call takes effect, then the rest happens to its answer; default false
    drop         true: the connection is closed without an answer
    status, code, message   the answer, in the form that the service speaks
Without `drop` and `status` the call is only slowed down.

Examples
    {"action": "RunInstances", "status": 500, "code": "InsufficientInstanceCapacity"}
    {"service": "ec2", "status": 503, "code": "RequestLimitExceeded", "probability": 0.3, "count": 20}
    {"action": "TerminateInstances", "forward": true, "drop": true, "count": 1}
"""

import argparse
import http.client
import json
import random
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SCOPE = re.compile(r"Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/aws4_request")
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"}
WHOLE = ("service", "action", "region", "method")
PARTS = ("path", "body")
KEYS = {*WHOLE, *PARTS, "skip", "count", "probability", "delay_s", "forward", "drop", "status", "code", "message"}


class Faults:
    """The faults that are set, and the calls that were seen."""

    def __init__(self, seed):
        self.lock = threading.Lock()
        self.random = random.Random(seed)
        self.faults = []
        self.calls = []

    def add(self, faults):
        for fault in faults if isinstance(faults, list) else [faults]:
            unknown = set(fault) - KEYS
            if unknown:
                raise ValueError(f"unknown keys: {sorted(unknown)}")
            for key in (*WHOLE, *PARTS):
                re.compile(fault.get(key, ""))
            with self.lock:
                self.faults.append({**fault, "seen": 0, "hits": 0})

    def find(self, call, body):
        """The fault that strikes this call, if any."""
        with self.lock:
            for fault in self.faults:
                if not matches(fault, call, body):
                    continue
                fault["seen"] += 1
                if fault["seen"] <= fault.get("skip", 0) or fault["hits"] >= fault.get("count", float("inf")):
                    continue
                if self.random.random() >= fault.get("probability", 1):
                    continue
                fault["hits"] += 1
                return dict(fault)
        return None


def matches(fault, call, body):
    whole = all(re.fullmatch(fault[key], call[key]) for key in WHOLE if key in fault)
    return whole and ("path" not in fault or re.search(fault["path"], call["path"])) and (
        "body" not in fault or re.search(fault["body"], body)
    )


def describe(method, path, headers, body):
    """Which call of which service this is."""
    parts = urlsplit(path)
    query = parse_qs(parts.query, keep_blank_values=True)
    scope = SCOPE.search(headers.get("Authorization", "")) or SCOPE.search(
        "Credential=" + query.get("X-Amz-Credential", [""])[0]
    )
    region, service = scope.groups() if scope else ("", "s3" if "X-Amz-Credential" in query else "")
    target = headers.get("X-Amz-Target")
    form = parse_qs(body) if "x-www-form-urlencoded" in headers.get("Content-Type", "") else {}
    if target:
        action = target.rsplit(".", 1)[-1]
    elif "Action" in form or "Action" in query:
        action = (form.get("Action") or query["Action"])[0]
    else:
        subresource = next((name for name, value in query.items() if value == [""]), None)
        action = f"{method}?{subresource}" if subresource else method
    return {"service": service, "action": action, "region": region, "method": method, "path": parts.path}


def refusal(call, headers, fault):
    """An error as the service would write it: headers and body."""
    code, message = fault.get("code", "InternalError"), fault.get("message", "made up by the fault proxy")
    if headers.get("X-Amz-Target") or "json" in headers.get("Content-Type", ""):
        return {"Content-Type": "application/x-amz-json-1.1", "X-Amzn-ErrorType": code}, json.dumps(
            {"__type": code, "message": message}
        )
    error = f"<Code>{code}</Code><Message>{message}</Message>"
    if call["service"] == "ec2":
        text = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>proxy</RequestID></Response>"
    elif call["service"] == "s3":
        text = f"<Error>{error}<RequestId>proxy</RequestId></Error>"
    else:
        text = f"<ErrorResponse><Error>{error}</Error><RequestId>proxy</RequestId></ErrorResponse>"
    return {"Content-Type": "text/xml"}, '<?xml version="1.0" encoding="UTF-8"?>\n' + text


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body in one packet: otherwise each answer waits for the client's delayed acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def handle_any(self):
        body = self.read_body()
        if self.path.startswith("/_"):
            return self.control(body)
        text = body.decode("utf-8", "replace") if len(body) < 1 << 20 else ""
        call = describe(self.command, self.path, self.headers, text)
        faults = self.server.faults
        fault = faults.find(call, text)
        entry = {**call, "status": None, "fault": fault and {k: v for k, v in fault.items() if k in KEYS}}
        faults.calls.append(entry)
        if fault:
            time.sleep(fault.get("delay_s", 0))
        answer = None
        if not fault or fault.get("forward") or not (fault.get("drop") or fault.get("status")):
            answer = self.forward(body)
        if fault and fault.get("drop"):
            self.close_connection = True
            self.connection.shutdown(2)
            return None
        if fault and fault.get("status"):
            headers, text = refusal(call, self.headers, fault)
            answer = fault["status"], list(headers.items()), text.encode()
        entry["status"] = answer[0]
        return self.answer(*answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = handle_any

    def read_body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def forward(self, body):
        target = self.server.target
        connection = http.client.HTTPConnection(target.hostname, target.port, timeout=300)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP_BY_HOP | {"content-length", "expect"}:
                connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
        headers = [
            (name, value)
            for name, value in response.getheaders()
            if name.lower() not in HOP_BY_HOP
            and (name.lower() != "content-length" or self.command == "HEAD")
        ]
        connection.close()
        return response.status, headers, content

    def answer(self, status, headers, content):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def control(self, body):
        faults, kind = self.server.faults, [("Content-Type", "application/json")]
        kept = {"/_faults": faults.faults, "/_calls": faults.calls}.get(self.path)
        if kept is None:
            return self.answer(404, kind, b'{"error": "there are /_faults and /_calls"}')
        try:
            if self.command == "POST" and self.path == "/_faults":
                faults.add(json.loads(body))
            elif self.command == "DELETE":
                with faults.lock:
                    kept.clear()
            elif self.command != "GET":
                raise ValueError(f"{self.command} is not for {self.path}")
        except (ValueError, re.error, TypeError) as error:
            return self.answer(400, kind, json.dumps({"error": str(error)}).encode())
        return self.answer(200, kind, json.dumps(kept).encode())

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A client that goes away in the middle is nothing to tell of."""


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--target", required=True, help="where calls go")
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--seed", type=int, default=1, help="of the faults with a probability")
    arguments = arguments.parse_args()
    server = Server(("127.0.0.1", arguments.port), Handler)
    server.target = urlsplit(arguments.target)
    server.faults = Faults(arguments.seed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
