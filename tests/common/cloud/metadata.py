"""The instance metadata service, version 2, at its own address: it knows whose process asks."""

import json
import os
import secrets
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ADDRESS = ("169.254.169.254", 80)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        if self.path != "/latest/api/token" or "X-aws-ec2-metadata-token-ttl-seconds" not in self.headers:
            return self.answer(400, "")
        token = secrets.token_hex(16)
        self.server.tokens.add(token)
        return self.answer(200, token)

    def do_GET(self):
        if self.headers.get("X-aws-ec2-metadata-token") not in self.server.tokens:
            return self.answer(401, "")
        instance = self.server.whose(asking(self.client_address))
        said = instance and about(instance).get(self.path.removeprefix("/latest/"))
        return self.answer(404, "") if said is None else self.answer(200, said)

    def answer(self, status, text):
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def about(instance):
    said = {
        "meta-data/instance-id": instance.id,
        "meta-data/instance-type": instance.type,
        "meta-data/instance-life-cycle": "on-demand",
        "meta-data/placement/region": instance.region,
    }
    if instance.profile:
        roles = "meta-data/iam/security-credentials/"
        expires = datetime.now(timezone.utc) + timedelta(hours=6)
        said[roles] = instance.profile
        said[roles + instance.profile] = json.dumps(
            {
                "Code": "Success",
                "Type": "AWS-HMAC",
                "LastUpdated": "2020-01-01T00:00:00Z",
                "AccessKeyId": "ASIAMACHINE",
                "SecretAccessKey": "machine",
                "Token": instance.id,
                "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )
    return said


def asking(client):
    """The process at the other end of a connection of this machine."""
    host, port = client
    local = "".join(f"{int(part):02X}" for part in reversed(host.split("."))) + f":{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        inodes = [fields[9] for fields in map(str.split, table) if fields[1] == local]
    if not inodes:
        return None
    wanted = f"socket:[{inodes[0]}]"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            files = os.listdir(f"/proc/{pid}/fd")
            if any(os.readlink(f"/proc/{pid}/fd/{file}") == wanted for file in files):
                return pid
        except OSError:
            continue
    return None


def serve(whose):
    """Serves for ever; `whose` tells the instance of a process id, or None."""
    server = ThreadingHTTPServer(ADDRESS, Handler)
    server.daemon_threads = True
    server.tokens, server.whose = set(), whose
    server.serve_forever()
