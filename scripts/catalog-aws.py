#!/usr/bin/env python3
"""Makes infrastructure/aws/instance-types.json from `aws ec2 describe-instance-types`.

    scripts/catalog-aws.py --region us-east-1 [--region eu-west-1 ...] [--output FILE]
    scripts/catalog-aws.py --moto              from the list that moto ships (a recording of AWS's answers)

Instance types differ by region: with several, the catalog is what any of them offers. Needs the `aws` command
with credentials that may call ec2:DescribeInstanceTypes; with --moto, `moto_server` instead of an account.
"""
import argparse
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
OUTPUT = os.path.join(HERE, "..", "infrastructure", "aws", "instance-types.json")
REFERENCE = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceTypeInfo.html"


def describe(region, env):
    command = ["aws", "ec2", "describe-instance-types", "--region", region, "--output", "json"]
    answer = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE)
    return json.loads(answer.stdout)["InstanceTypes"]


def number(value):
    """An integer where it is one, so that 2 GiB do not read 2.0."""
    return int(value) if value == int(value) else value


def facts(info):
    """Facts about one instance type, or None where bench cannot use it (macOS hosts are not sold by the hour)."""
    arch = [a for a in info["ProcessorInfo"]["SupportedArchitectures"] if a in ("arm64", "x86_64")]
    if not arch:
        return None
    entry = {
        "vcpu": info["VCpuInfo"]["DefaultVCpus"],
        "memory_gib": number(info["MemoryInfo"]["SizeInMiB"] / 1024),
        "arch": arch[0],
    }
    # A few old types do not say it.
    if "DefaultThreadsPerCore" in info["VCpuInfo"]:
        entry["threads_per_core"] = info["VCpuInfo"]["DefaultThreadsPerCore"]
    gpus = sum(gpu.get("Count", 0) for gpu in info.get("GpuInfo", {}).get("Gpus", []))
    if gpus:
        entry["gpus"] = gpus
    if info.get("BurstablePerformanceSupported"):
        entry["burstable"] = True
    return entry


def order(name):
    """c7g.medium before c7g.large before c7g.2xlarge."""
    family, _, size = name.partition(".")
    steps = ["nano", "micro", "small", "medium", "large", "xlarge"]
    multiple = re.match(r"(\d+)xlarge$", size)
    if size in steps:
        rank = steps.index(size)
    elif multiple:
        rank = 10 + int(multiple.group(1))
    else:
        rank = 10_000
    return family, rank, name


def write(path, source, types):
    lines = ["{",
             '  "_source": %s,' % json.dumps(source),
             '  "_made_by": "scripts/catalog-aws.py",',
             '  "_fields": %s,' % json.dumps(REFERENCE),
             '  "_prices": "Prices differ by region and change: give price_usd_per_h in the config",',
             '  "instance_types": {']
    entries = ["    %s: { %s }" % (json.dumps(name), json.dumps(types[name])[1:-1]) for name in sorted(types, key=order)]
    lines += [",\n".join(entries), "  }", "}"]
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")


@contextlib.contextmanager
def moto():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen(["moto_server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = "http://127.0.0.1:%d" % port
        for _ in range(300):
            try:
                urllib.request.urlopen(url + "/moto-api/")
                break
            except OSError:
                if server.poll() is not None:
                    sys.exit("moto_server ended before it answered")
                time.sleep(0.1)
        yield dict(os.environ, AWS_ENDPOINT_URL=url, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--region", action="append", help="ask this region; may be given several times")
    parser.add_argument("--moto", action="store_true", help="ask moto's recording instead of an account")
    parser.add_argument("--output", default=os.path.normpath(OUTPUT))
    options = parser.parse_args()
    regions = options.region or ["us-east-1"]
    types = {}
    with moto() if options.moto else contextlib.nullcontext(dict(os.environ)) as env:
        for region in regions:
            for info in describe(region, env):
                entry = facts(info)
                if entry:
                    types[info["InstanceType"]] = entry
    source = "aws ec2 describe-instance-types, " + ", ".join(regions)
    if options.moto:
        version = subprocess.run([sys.executable, "-c", "import moto; print(moto.__version__)"],
                                 stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        source += ", as recorded by moto %s (scripts/get_instance_info.py there)" % version
    write(options.output, source, types)
    print("%s: %d instance types" % (options.output, len(types)), file=sys.stderr)


main()
