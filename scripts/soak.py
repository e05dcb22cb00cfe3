#!/usr/bin/env python3
"""Runs die in chosen ways, and what is left is counted: real Terraform on moto, real signals, one fault at a time.

    scripts/soak.py --seed 1 --count 200 --lanes 3 --output soak.jsonl

A lane has its own moto, fault proxy, orchestrator and folders; each fault has its own home. Fault N of a seed is always
the same, as far as signals can be. Faults that the output file has already are not run again, so a soak that was ended
goes on with the same command; `--minutes` ends it so, after the faults that have begun. Around each run lie decoys:
another owner's, only our tag's key, only our name, no tags. After the fault comes the way back (resume, nuke), and boto3
asks moto itself, not through the proxy:

    leak       something lives that was not there before, after a nuke that said that nothing is left
    foreign    something is gone that was not ours
    false      an exit code, a report or a ledger that does not tell what lives, or a host that was made twice
    stuck      no way back: nuke never said 0, or a command did not end

The AWS CLI is asked through tests/common/aws_server.py, which spares its start. One line a fault, then the sums. Exit
code 0 only when all are 0, 1 when one is not, 2 when it cannot be tried.
Needs bench, terraform, the AWS CLI, moto_server and boto3. TF_CLI_CONFIG_FILE goes through to Terraform.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import queue
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
REGIONS = ["us-east-1", "us-west-2"]
OWNER = "soak"
# Longest that one command may take, seconds.
PATIENCE = 420
# Longest stay of a host at one stage of its boot, minutes: for runs that shall end, and for those that shall not.
AT_ONCE, NEVER = 0.05, 30
# What a nuke may need: each is at least two listings ten seconds apart.
NUKES = 4

# Kind, call, list in the answer, id. What the module makes, and what goes along with it; not the interfaces, which
# moto keeps when their instances are terminated.
KINDS = [
    ("vpc", "describe_vpcs", "Vpcs", "VpcId"),
    ("subnet", "describe_subnets", "Subnets", "SubnetId"),
    ("gateway", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    ("route table", "describe_route_tables", "RouteTables", "RouteTableId"),
    ("security group", "describe_security_groups", "SecurityGroups", "GroupId"),
    ("key pair", "describe_key_pairs", "KeyPairs", "KeyPairId"),
    ("launch template", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
    ("volume", "describe_volumes", "Volumes", "VolumeId"),
]


# Lanes and cases under way, so that nothing of a soak that is ended stays behind.
UNDER_WAY = []


class Stuck(Exception):
    """A command did not end, or what was waited for did not come."""


def cannot(why):
    print(f"soak: {why}", file=sys.stderr)
    sys.exit(2)


def require_provider(work):
    """Terraform can get the provider of the aws backend, from whichever mirror or registry it is set up for."""
    folder = work / "provider"
    folder.mkdir()
    text = (ROOT / "infrastructure/aws/versions.tf").read_text()
    # What follows asks for variables.
    (folder / "versions.tf").write_text(text.split("\nprovider ")[0])
    init = subprocess.run(["terraform", "init", "-input=false", "-no-color"], cwd=folder, capture_output=True, text=True,
                          env=os.environ | {"CHECKPOINT_DISABLE": "1"})
    if init.returncode:
        shutil.rmtree(work)
        cannot(f"terraform cannot install the provider: {' '.join(init.stderr.split())[-300:]}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def own_address():
    """An address of this machine that is not loopback: bench wants one that hosts could reach. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]


def named(report):
    """Whether a run's report names something that is, or may be, left."""
    report = report if isinstance(report, dict) else {}
    return report.get("leftovers") or "nuke" in json.dumps(report.get("error", report))


def until(what, condition, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if got := condition():
            return got
        time.sleep(0.2)
    raise Stuck(f"{what} did not come within {seconds} s")


class Shortcut:
    """The AWS CLI that does not start each time, for all lanes; the real one where there is none of this Python."""

    def __init__(self, folder):
        UNDER_WAY.append(self)
        folder.mkdir()
        self.server = subprocess.Popen([sys.executable, str(ROOT / "tests/common/aws_server.py"), str(folder)],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.path = f"{folder}:{os.environ['PATH']}" if self.server.stdout.readline() else os.environ["PATH"]

    def end_all(self):
        self.server.stdin.close()
        self.server.wait()


class Lane:
    """A cloud of its own, and an orchestrator."""

    def __init__(self, bench, folder, path):
        self.bench, self.folder, self.children, self.images = bench, folder, [], {}
        UNDER_WAY.append(self)
        folder.mkdir(parents=True)
        self.log = open(folder / "servers.log", "ab")
        port = free_port()
        self.moto = f"http://127.0.0.1:{port}"
        self.children.append(
            subprocess.Popen(["moto_server", "-H", "127.0.0.1", "-p", str(port)], stdout=self.log, stderr=self.log))
        until("moto", lambda: self.call("GET", self.moto, "/moto-api/"), 60)
        proxy = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/common/aws_proxy.py"), "--target", self.moto],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.children.append(proxy)
        self.proxy = proxy.stdout.readline().strip()
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("BENCH_", "AWS_", "TF_VAR"))} | {
            "AWS_ENDPOINT_URL": self.proxy, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGIONS[0], "AWS_EC2_METADATA_DISABLED": "true", "BENCH_OWNER": OWNER,
            # Terraform and its providers read 10 MB of schemas each time, most of which is collecting garbage.
            "GOGC": "400", "PATH": path, "XDG_STATE_HOME": str(folder / "state"), "BENCH_API_KEY": os.urandom(32).hex()}
        self.serve()
        self.clients = {region: self.client(region) for region in REGIONS}

    def serve(self):
        said = open(self.folder / "orchestrator.log", "wb")
        self.url = f"https://{own_address()}:{free_port()}"
        self.children.append(subprocess.Popen(
            [self.bench, "orchestrator", "--listen", self.url.removeprefix("https://"), "--home", str(self.folder / "orchestrator")],
            stdout=said, stderr=said, env=self.env))
        text = lambda: (self.folder / "orchestrator.log").read_text(errors="replace")
        self.pin = until("the orchestrator's pin", lambda: re.search(r"sha256//[A-Za-z0-9+/=]+", text()), 60).group()

    def call(self, method, base, path, body=None):
        request = urllib.request.Request(base + path, method=method, data=None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.read() or b"ok"
        except urllib.error.HTTPError as error:
            return str(error.code).encode()
        except OSError:
            return None

    def faults(self, *faults):
        """These, and no others."""
        self.call("DELETE", self.proxy, "/_faults")
        if faults:
            self.call("POST", self.proxy, "/_faults", list(faults))

    def calls(self, action=None):
        calls = json.loads(self.call("GET", self.proxy, "/_calls") or b"[]")
        return [call for call in calls if action is None or call["action"] == action]

    def client(self, region):
        # A session each: the default one must not be used by several threads at once.
        session = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=region)
        return session.client("ec2", endpoint_url=self.moto)

    def image(self, client):
        """Any image of this region; moto has the same ones after each reset."""
        region = client.meta.region_name
        if region not in self.images:
            self.images[region] = client.describe_images()["Images"][0]["ImageId"]
        return self.images[region]

    def reset(self):
        self.faults()
        self.call("DELETE", self.proxy, "/_calls")
        self.call("POST", self.moto, "/moto-api/reset")

    def end_all(self):
        for child in reversed(self.children):
            child.kill()
            child.wait()


class Case:
    """One run, one fault, and the way back."""

    def __init__(self, lane, seed, number):
        self.lane, self.number = lane, number
        self.random = random.Random(f"{seed}:{number}")
        self.folder = lane.folder / str(number)
        self.folder.mkdir()
        self.home = self.folder / ".bench"
        self.home.mkdir(mode=0o700)
        # As in a home that was used before: one `init` for all faults of a lane.
        (lane.folder / "init").mkdir(mode=0o700, exist_ok=True)
        (self.home / "init").symlink_to(lane.folder / "init")
        self.run_id = f"s{seed}n{number}"
        self.findings, self.children, self.exits = [], [], []
        UNDER_WAY.append(self)
        self.foreign_owner = {}
        lane.reset()
        self.clients = lane.clients
        self.decoys()
        self.before = self.living()

    # What is there.

    def decoys(self):
        ours = {"bench_managed": "true", "bench_run_id": self.run_id, "bench_backend": "aws"}
        sets = [ours | {"bench_owner": "another"}, {"bench_owner": ""}, {"Name": f"bench-{self.run_id}-p0-a-0"}, {}]
        for client in self.clients.values():
            image = self.lane.image(client)
            for tags in sets:
                tags = [{"Key": key, "Value": value} for key, value in tags.items()]
                made = lambda kind: {"TagSpecifications": [{"ResourceType": kind, "Tags": tags}]} if tags else {}
                client.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.micro", **made("instance"))
                client.create_volume(AvailabilityZone=client.meta.region_name + "a", Size=1, **made("volume"))
                vpc = client.create_vpc(CidrBlock="10.9.0.0/16", **made("vpc"))["Vpc"]["VpcId"]
                client.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24", **made("subnet"))

    def living(self):
        """(kind, region, id) of everything that is there, ours or not."""
        found = set()
        for region, client in self.clients.items():
            for kind, call, key, identity in KINDS:
                found |= {(kind, region, one[identity]) for page in client.get_paginator(call).paginate() for one in page[key]} \
                    if client.can_paginate(call) else {(kind, region, one[identity]) for one in getattr(client, call)()[key]}
            for page in client.get_paginator("describe_instances").paginate():
                found |= {("instance", region, one["InstanceId"]) for reservation in page["Reservations"]
                          for one in reservation["Instances"] if one["State"]["Name"] != "terminated"}
        return found

    def left(self):
        return {one for one in self.living() - self.before if one[2] not in self.foreign_owner}

    def find(self, what, text):
        self.findings.append([what, text])

    # What is run.

    def start(self, *arguments, **more):
        name = f"{len(self.children):02}-{arguments[0]}"
        out, err = open(self.folder / f"{name}.out", "wb"), open(self.folder / f"{name}.err", "wb")
        child = subprocess.Popen(
            [self.lane.bench, *arguments, "--home", str(self.home), "--output", "json"], cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=out, stderr=err, env=self.lane.env | more, start_new_session=True)
        child.report, child.words = self.folder / f"{name}.out", arguments
        self.children.append(child)
        return child

    def end(self, child):
        """Its exit code and report. Whether they are true is judged here, while nothing else runs."""
        try:
            code = child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Stuck(f"bench {child.words[0]} did not end within {PATIENCE} s") from None
        self.exits.append(f"{child.words[0]} {code}")
        text = child.report.read_text(errors="replace")
        report = json.loads(text) if text.strip() else None
        return code, report

    def judge(self, code, report, words):
        left = self.left()
        if code in (0, 1, 3, 130) and left and "--keep" not in words:
            self.find("false", f"{words[0]} exited with {code}, and {len(left)} live: {sorted(left)[:4]}")
        self.judge_ledger(left)
        if words[0] == "run" and code == 4 and not left and not named(report):
            self.find("false", "run exited with 4 and names nothing")
        if words[0] == "nuke" and code >= 0:
            if not isinstance(report, dict):
                return self.find("false", f"nuke exited with {code} and no report")
            resources = report.get("resources", [])
            for one in resources:
                if one["outcome"] == "deleted" and any(one["id"] == each[2] for each in left):
                    self.find("false", f"{one['kind']} {one['id']} is told deleted, and lives")
            told = any(one["outcome"] not in ("deleted", "gone") for one in resources)
            doubts = any(report.get(key) for key in ("incomplete", "refused", "other_runs", "error"))
            if code == 4 and not left and not told and not doubts:
                self.find("false", "nuke exited with 4 and names nothing")

    def ledger(self):
        """Where each intent stands, by region and provider instance."""
        path, stands = self.home / "ledger.jsonl", {}
        for line in map(json.loads, path.read_text().splitlines() if path.exists() else []):
            if line["entry"] == "intent":
                stands[line["settings"]["region"], line["provider"]] = "intended"
            else:
                stands |= {key: line["fact"] for key in stands if key[1] == line["provider"]}
        return stands

    def judge_ledger(self, left):
        """Whatever lives was written down first, and what was told to be gone is."""
        stands = self.ledger()
        for region in sorted({one[1] for one in left}):
            there = {fact for (place, _), fact in stands.items() if place == region}
            if not there - {"gone"}:
                self.find("false", f"in {region} something lives, and the ledger says {sorted(there) or 'nothing'}")

    def command(self, *arguments, **more):
        code, report = self.end(self.start(*arguments, **more))
        self.judge(code, report, arguments)
        return code, report

    def run(self, providers=None, boot=NEVER):
        """Starts the run. Its hosts are records that never boot: after `boot` minutes each is replaced, then given up."""
        names = [f"p{i}" for i in range(providers or self.random.choice([1] * 6 + [2, 3]))]
        tasks = self.random.choice([2, 4])
        config = {"runs_per_instance_type": tasks, "workload": {"builtin": "cpu"},
                  "task_runners": {"mode": "image", "image": "none", "count": 2},
                  "limits": {"ttl_minutes": 60, "boot_timeout_minutes": boot},
                  "providers": {name: {"backend": "aws", "region": REGIONS[i % len(REGIONS)]} for i, name in enumerate(names)}}
        for name in names:
            config[name] = [{"instance_type": "t3.micro", "alias": f"{name}a", "price_usd_per_h": 0.0104}]
        (self.folder / "run.json").write_text(json.dumps(config))
        # Two task runners a host.
        self.hosts, self.names = len(names) * tasks // 2, names
        self.master = self.start("run", "run.json", "--mock", "--run-id", self.run_id, "--orchestrator-url", self.lane.url,
                                 "--orchestrator-pin", self.lane.pin)
        return self.master

    def resume(self, how=None):
        """Takes the run up again and brings it to an end. No host is made twice."""
        self.master = self.start("run", "--resume", self.run_id)
        how = how or self.random.choice(["stop", "interrupt"])

        def there():
            return self.master.poll() is not None or self.instances() >= self.hosts and not self.terraforms()
        until("the resumed run's hosts", there, 240)
        if (count := self.instances()) > self.hosts:
            self.find("false", f"{count} instances live where {self.hosts} were planned")
        if self.master.poll() is None and how == "interrupt":
            return self.interrupt()
        if self.master.poll() is None:
            self.end(self.start("stop", self.run_id))
        return self.finish()

    def applying(self, calls=None):
        """Until so many calls were made, or all hosts are there."""
        calls = calls or self.random.randint(3, 60)

        def there():
            if self.master.poll() is not None:
                raise Stuck(f"the run ended by itself with {self.master.returncode}")
            return len(self.lane.calls()) >= calls or self.instances() >= self.hosts
        until("the apply", there, 240)

    def instances(self):
        """How many live that this run made."""
        mine = [{"Name": "tag:bench_run_id", "Values": [self.run_id]}, {"Name": "tag:bench_owner", "Values": [OWNER]},
                {"Name": "instance-state-name", "Values": ["pending", "running", "stopped"]}]
        regions = list(self.clients.values())[:len(self.names)]
        found = [client.describe_instances(Filters=mine)["Reservations"] for client in regions]
        return sum(len(reservation["Instances"]) for reservations in found for reservation in reservations)

    def all_made(self):
        def there():
            if self.master.poll() is not None:
                raise Stuck(f"the run ended by itself with {self.master.returncode}")
            return self.instances() >= self.hosts and not self.terraforms()
        until("all hosts", there, 240)

    def terraforms(self, supervisors=False):
        """Processes of Terraform, and of its providers, that work for this home."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if not entry.name.isdigit():
                    continue
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if supervisors and b"supervise" in words and os.fsencode(self.home) in words[-2]:
                    found.append(int(entry.name))
                elif (entry / "comm").read_text().startswith("terraform") \
                        and pathlib.Path(os.readlink(entry / "cwd")).is_relative_to(self.home):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def kill_terraforms(self, supervisors=False):
        # A supervisor first: otherwise it writes down how Terraform ended.
        for pid in sorted(self.terraforms(supervisors)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def kill_master(self):
        self.master.kill()
        self.master.wait()

    def interrupt(self):
        """One Ctrl-C, as a terminal sends it to the whole process group."""
        os.killpg(self.master.pid, signal.SIGINT)
        code, report = self.finish()
        if code not in (4, 130):
            self.find("false", f"an interrupted run exited with {code}")

    def finish(self):
        """The end of the master, judged."""
        code, report = self.end(self.master)
        self.judge(code, report, self.master.words)
        return code, report

    def states(self):
        return sorted((self.home / "runs" / self.run_id / "providers").glob("*/terraform.tfstate"))

    def nuke(self, *arguments):
        return self.command("nuke", "--yes", "--patience", "3", *arguments)

    def clean(self):
        """The way back: nuke until it says 0. Then the ledger says so as well."""
        self.lane.faults()
        for _ in range(NUKES):
            code, report = self.nuke()
            if code == 0:
                open_still = {key: fact for key, fact in self.ledger().items() if fact != "gone"}
                return open_still and self.find("false", f"nuke exited with 0, and the ledger says {open_still}")
            if code == 2 and not self.left() and not self.ledger():
                # Nothing known here: the run died before its first intent.
                return None
        return self.find("stuck", f"nuke exits with {code} for ever: {json.dumps(report)[:600]}")

    def end_all(self):
        self.kill_terraforms()
        for child in self.children:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
        self.kill_terraforms()


# The ways to die. Each leaves the case so that `clean` is the way back.

def master_killed_then_nuke(case):
    case.run()
    case.applying()
    case.kill_master()


def master_killed_then_resume(case):
    case.run()
    case.applying()
    case.kill_master()
    case.resume()


def terraform_killed(case):
    case.run(boot=AT_ONCE)
    case.applying()
    case.kill_terraforms()
    case.finish()


def terraform_killed_then_resume(case):
    case.run()
    case.applying()
    # As a machine that loses its power: the supervisors go too.
    case.kill_master()
    case.kill_terraforms(supervisors=True)
    case.resume()


def interrupted(case):
    case.run()
    case.applying()
    case.interrupt()


def interrupted_with_instances_in_flight(case):
    case.lane.faults({"action": "RunInstances", "delay_s": 4})
    case.run()
    until("RunInstances", lambda: case.lane.calls("RunInstances"), 240)
    time.sleep(case.random.uniform(0, 3))
    case.interrupt()


def interrupted_twice(case):
    """The second Ctrl-C leaves at once: Terraform goes on, and the exit code says so."""
    case.run()
    case.applying()
    os.killpg(case.master.pid, signal.SIGINT)
    time.sleep(case.random.uniform(0.2, 3))
    if case.master.poll() is None:
        os.killpg(case.master.pid, signal.SIGINT)
    code, report = case.end(case.master)
    if code != 4 and case.left() or code not in (4, 130):
        case.find("false", f"a run that was left at once exited with {code}, and {len(case.left())} live")
    if code == 4 and not named(report):
        case.find("false", "a run that was left at once exited with 4 and names nothing")


def stopped_without_master(case):
    """`bench stop` where nobody is left to destroy the hosts."""
    case.run()
    case.applying()
    case.kill_master()
    code, report = case.end(case.start("stop", case.run_id))
    if code != 4 and case.left():
        case.find("false", f"stop exited with {code}, and {len(case.left())} live")


def state_lost(case):
    case.run()
    case.all_made()
    case.kill_master()
    for path in case.states():
        for one in (path, path.with_name("terraform.tfstate.backup")):
            text = one.read_bytes() if one.exists() else b""
            how = case.random.choice(["deleted", "zeroed", "truncated", "swapped"])
            if how == "deleted":
                one.unlink(missing_ok=True)
            elif how == "zeroed":
                one.write_bytes(b"")
            elif how == "truncated":
                one.write_bytes(text[:case.random.randrange(1, max(2, len(text)))])
            else:
                swapped = text.decode().replace(case.run_id, "anotherrun").replace('"i-', '"i-0dead')
                one.write_text(swapped.replace("\"lineage\": \"", "\"lineage\": \"0"))


def no_capacity(case):
    region = case.random.choice(REGIONS)
    case.lane.faults({"action": "RunInstances", "region": region, "status": 500, "code": "InsufficientInstanceCapacity"})
    case.run(providers=3, boot=AT_ONCE)
    code, _ = case.finish()
    if code not in (3, 4):
        case.find("false", f"a run without capacity exited with {code}")


def throttled(case):
    case.lane.faults({"service": "ec2", "status": 503, "code": "RequestLimitExceeded", "probability": 0.3})
    case.run()
    case.applying(60)
    case.random.choice([case.kill_master, case.interrupt])()
    case.nuke()


def listing_forbidden(case):
    case.run()
    case.all_made()
    case.kill_master()
    kind = case.random.choice(["Instances", "Volumes", "Vpcs", "Subnets", "SecurityGroups", "LaunchTemplates", "KeyPairs"])
    # Terraform's own calls are refused too: its destroy may fail, and the tags are what is left to go by.
    case.lane.faults({"action": f"Describe{kind}", "status": 403, "code": "UnauthorizedOperation"})
    code, report = case.nuke()
    if code != 4:
        case.find("false", f"nuke exited with {code} although Describe{kind} was refused")
        return
    told = [gap["what"] for gap in report["incomplete"]]
    if not told or not all(what.startswith("EC2 ") and what.endswith(tuple(REGIONS)) for what in told):
        case.find("false", f"Describe{kind} was refused, and the report tells of these gaps: {told}")


def foreign_subnet(case):
    case.run()
    case.all_made()
    vpc = next(one for one in case.left() if one[0] == "vpc")
    cidr = case.clients[vpc[1]].describe_vpcs(VpcIds=[vpc[2]])["Vpcs"][0]["CidrBlock"]
    base = ".".join(cidr.split(".")[:2])
    made = case.clients[vpc[1]].create_subnet(VpcId=vpc[2], CidrBlock=f"{base}.240.0/24")["Subnet"]["SubnetId"]
    case.foreign_owner[made] = vpc
    case.kill_master()
    code, report = case.nuke()
    if code != 4 or made not in json.dumps(report):
        case.find("false", f"nuke exited with {code}; the foreign subnet {made} is named: {made in json.dumps(report)}")
    if ("subnet", vpc[1], made) not in case.living():
        case.find("foreign", f"the subnet {made} in our VPC is gone")
    else:
        case.clients[vpc[1]].delete_subnet(SubnetId=made)


def nuke_killed(case):
    case.run()
    case.all_made()
    case.kill_master()
    for _ in range(case.random.randint(1, 3)):
        nuke = case.start("nuke", "--yes", "--patience", "3")
        time.sleep(case.random.uniform(0.3, 15))
        if nuke.poll() is None:
            os.kill(nuke.pid, signal.SIGKILL)
            if case.random.random() < 0.5:
                case.kill_terraforms()
        nuke.wait()


def two_nukes(case):
    case.run()
    case.all_made()
    case.kill_master()
    pair = [case.start("nuke", "--yes", "--patience", "3") for _ in range(2)]
    for child in pair:
        case.judge(*case.end(child), child.words)


def nuke_during_apply(case):
    case.run()
    case.applying()
    # It stops the apply or refuses; the master may live on, so that what is there is judged after it.
    code, report = case.end(case.start("nuke", "--yes", "--patience", "3"))
    if case.master.poll() is None and (code != 4 or f"run {case.run_id}" not in json.dumps(report.get("refused"))):
        case.find("false", f"nuke beside a living master exited with {code} and did not say so")
    if code == 0 and (left := case.left()):
        time.sleep(2)
        if left & case.left():
            case.find("false", f"nuke during an apply exited with 0, and {len(left)} live: {sorted(left)[:4]}")
    if case.master.poll() is None:
        case.interrupt()


def wrong_account(case):
    case.run()
    case.all_made()
    case.kill_master()
    case.kill_terraforms()
    before = case.living()
    # Keys of a role in another account work there, for moto as for AWS.
    session = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGIONS[0])
    role = "arn:aws:iam::111122223333:role/other"
    keys = session.client("sts", endpoint_url=case.lane.moto).assume_role(RoleArn=role, RoleSessionName="soak")["Credentials"]
    code, report = case.end(case.start("nuke", "--yes", "--patience", "3", AWS_ACCESS_KEY_ID=keys["AccessKeyId"],
                                  AWS_SECRET_ACCESS_KEY=keys["SecretAccessKey"], AWS_SESSION_TOKEN=keys["SessionToken"]))
    if code != 4 or case.living() != before or "account" not in json.dumps(report.get("refused")):
        case.find("false", f"in another account nuke exited with {code}, and {len(before - case.living())} are gone")


def master_never_returns(case):
    case.run()
    case.all_made()
    case.kill_master()
    case.kill_terraforms()
    for client in case.clients.values():
        for page in client.describe_instances(Filters=[{"Name": "tag:bench_run_id", "Values": [case.run_id]},
                                                       {"Name": "tag:bench_owner", "Values": [OWNER]}])["Reservations"]:
            for one in page["Instances"]:
                how = client.describe_instance_attribute(InstanceId=one["InstanceId"], Attribute="instanceInitiatedShutdownBehavior")
                if how["InstanceInitiatedShutdownBehavior"]["Value"] != "terminate":
                    case.find("leak", f"{one['InstanceId']} would stop, not end, at its deadline")


FAULTS = [master_killed_then_nuke, master_killed_then_resume, terraform_killed, terraform_killed_then_resume, interrupted,
          interrupted_with_instances_in_flight, interrupted_twice, stopped_without_master, state_lost, no_capacity, throttled,
          listing_forbidden, foreign_subnet, nuke_killed, two_nukes, nuke_during_apply, wrong_account, master_never_returns]


def strike(lane, seed, number, only):
    case = Case(lane, seed, number)
    faults = [fault for fault in FAULTS if not only or fault.__name__ in only]
    fault = case.random.choice(faults)
    start = time.monotonic()
    try:
        try:
            fault(case)
        except Stuck as error:
            case.find("stuck", str(error))
        try:
            case.clean()
        except Stuck as error:
            case.find("stuck", str(error))
        case.end_all()
        living = case.living()
        for one in sorted(case.before - living):
            case.find("foreign", " ".join(one))
        for one in sorted(case.left()):
            case.find("leak", " ".join(one))
    finally:
        case.end_all()
        UNDER_WAY.remove(case)
    if not case.findings:
        shutil.rmtree(case.folder)
    return {"seed": seed, "fault": number, "what": fault.__name__, "seconds": round(time.monotonic() - start, 1),
            "exits": case.exits, "findings": case.findings, "files": str(case.folder) if case.findings else None}


def stop(*_):
    """Ended from outside: what was finished is in the output file, the rest goes with this process."""
    for one in reversed(UNDER_WAY):
        one.end_all()
    os._exit(2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--from", dest="first", type=int, default=0, help="number of the first fault")
    parser.add_argument("--count", type=int, default=len(FAULTS))
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no fault after so long")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("soak.jsonl"))
    parser.add_argument("--bench", default=str(ROOT / "target/debug/bench"))
    parser.add_argument("--only", action="append", help="only this fault (can be given several times)")
    options = parser.parse_args()
    for program in ("terraform", "aws", "moto_server", options.bench):
        if not shutil.which(program):
            cannot(f"{program} is missing")
    unknown = set(options.only or []) - {fault.__name__ for fault in FAULTS}
    if unknown:
        cannot(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(fault.__name__ for fault in FAULTS)}")
    wanted = range(options.first, options.first + options.count)
    done = {}
    if options.output.exists():
        lines = map(json.loads, options.output.read_text().splitlines())
        done = {line["fault"]: line for line in lines if line["seed"] == options.seed and line["fault"] in wanted}
    todo = queue.Queue()
    for number in wanted:
        if number not in done:
            todo.put(number)
    end = time.monotonic() + options.minutes * 60
    work, writing = pathlib.Path(tempfile.mkdtemp(prefix="soak.")), threading.Lock()

    def drive(index):
        lane = Lane(options.bench, work / str(index), shortcut.path)
        try:
            while time.monotonic() < end:
                number = todo.get_nowait()
                line = strike(lane, options.seed, number, options.only)
                with writing:
                    done[number] = line
                    with options.output.open("a") as output:
                        output.write(json.dumps(line) + "\n")
                    told = "; ".join(f"{what}: {text}" for what, text in line["findings"]) or "clean"
                    print(f"{number:4} {line['what']:38} {line['seconds']:6.1f} s  {', '.join(line['exits'])}  {told}", flush=True)
        except queue.Empty:
            return
        finally:
            lane.end_all()

    require_provider(work)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    shortcut = Shortcut(work / "bin")
    with concurrent.futures.ThreadPoolExecutor(options.lanes) as lanes:
        for lane in [lanes.submit(drive, index) for index in range(options.lanes)]:
            lane.result()
    shortcut.end_all()
    sums = collections.Counter(what for line in done.values() for what, _ in line["findings"])
    print(f"{len(done)} faults: {sums['leak']} leaks, {sums['foreign']} foreign deletions, {sums['false']} false exit codes or "
          f"reports, {sums['stuck']} stuck")
    if missing := len(wanted) - len(done):
        print(f"{missing} of {len(wanted)} are still to come")
    if sums:
        print(f"files of faults with findings: {work}")
    else:
        shutil.rmtree(work)
    sys.exit(1 if sums else 0)


if __name__ == "__main__":
    try:
        import boto3
    except ImportError:
        cannot("the Python package boto3 is missing")
    main()
