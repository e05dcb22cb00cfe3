#!/usr/bin/env python3
"""Makes infrastructure/azure/instance-types.json: vCPUs, memory, architecture, threads per core and GPUs of VM sizes.

    scripts/catalog-azure.py --location eastus [--location westeurope ...]   asks `az vm list-skus`
    scripts/catalog-azure.py --skus FILE [--skus FILE ...]                   its answers, saved earlier
    scripts/catalog-azure.py --documented                                    the documented sizes below, no account needed

Sizes differ by region: with several, the catalog is what any of them offers. `az` needs a login that may read
Microsoft.Compute/skus.
"""
import argparse
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
OUTPUT = os.path.normpath(os.path.join(HERE, "..", "infrastructure", "azure", "instance-types.json"))
REFERENCE = "https://learn.microsoft.com/rest/api/compute/resource-skus/list"
PAGES = "https://learn.microsoft.com/azure/virtual-machines/sizes/"

# The documented sizes: each series' page gives vCPUs and memory. A vCPU is a whole core where the page says so (Arm;
# the Fasv6 family, simultaneous multithreading off), else one of two threads of a core. The largest sizes of a
# series, where memory no longer grows with the vCPUs, are left out.
# (name with {} for the vCPUs, vCPUs, GiB a vCPU, architecture, threads per core, page)
SERIES = [
    ("Standard_D{}pls_v5", (2, 4, 8, 16, 32), 2, "arm64", 1, "general-purpose/dplsv5-series"),
    ("Standard_D{}ps_v5", (2, 4, 8, 16, 32, 48), 4, "arm64", 1, "general-purpose/dpsv5-series"),
    ("Standard_E{}ps_v5", (2, 4, 8, 16), 8, "arm64", 1, "memory-optimized/epsv5-series"),
    ("Standard_D{}pls_v6", (2, 4, 8, 16, 32, 48, 64, 96), 2, "arm64", 1, "general-purpose/dplsv6-series"),
    ("Standard_D{}ps_v6", (2, 4, 8, 16, 32, 48, 64, 96), 4, "arm64", 1, "general-purpose/dpsv6-series"),
    ("Standard_E{}ps_v6", (2, 4, 8, 16, 32, 48, 64), 8, "arm64", 1, "memory-optimized/epsv6-series"),
    ("Standard_D{}ls_v5", (2, 4, 8, 16, 32), 2, "x86_64", 2, "general-purpose/dlsv5-series"),
    ("Standard_D{}s_v5", (2, 4, 8, 16, 32), 4, "x86_64", 2, "general-purpose/dsv5-series"),
    ("Standard_E{}s_v5", (2, 4, 8, 16, 32), 8, "x86_64", 2, "memory-optimized/esv5-series"),
    ("Standard_D{}as_v5", (2, 4, 8, 16, 32), 4, "x86_64", 2, "general-purpose/dasv5-series"),
    ("Standard_E{}as_v5", (2, 4, 8, 16, 32), 8, "x86_64", 2, "memory-optimized/easv5-series"),
    ("Standard_D{}ls_v6", (2, 4, 8, 16, 32), 2, "x86_64", 2, "general-purpose/dlsv6-series"),
    ("Standard_D{}s_v6", (2, 4, 8, 16, 32), 4, "x86_64", 2, "general-purpose/dsv6-series"),
    ("Standard_E{}s_v6", (2, 4, 8, 16, 32), 8, "x86_64", 2, "memory-optimized/esv6-series"),
    ("Standard_D{}als_v6", (2, 4, 8, 16, 32), 2, "x86_64", 2, "general-purpose/dalsv6-series"),
    ("Standard_D{}as_v6", (2, 4, 8, 16, 32, 48, 64, 96), 4, "x86_64", 2, "general-purpose/dasv6-series"),
    ("Standard_E{}as_v6", (2, 4, 8, 16, 32), 8, "x86_64", 2, "memory-optimized/easv6-series"),
    ("Standard_F{}als_v6", (2, 4, 8, 16, 32), 2, "x86_64", 1, "compute-optimized/falsv6-series"),
    ("Standard_F{}as_v6", (2, 4, 8, 16, 32, 48, 64), 4, "x86_64", 1, "compute-optimized/fasv6-series"),
    ("Standard_F{}ams_v6", (2, 4, 8, 16, 32), 8, "x86_64", 1, "compute-optimized/famsv6-series"),
    ("Standard_F{}s_v2", (2, 4, 8, 16, 32, 48, 64, 72), 2, "x86_64", 2, "compute-optimized/fsv2-series"),
]


def documented():
    types = {}
    for name, sizes, gib, arch, threads, _ in SERIES:
        for vcpu in sizes:
            types[name.format(vcpu)] = {"vcpu": vcpu, "memory_gib": vcpu * gib, "arch": arch, "threads_per_core": threads}
    return types


def list_skus(location):
    command = ["az", "vm", "list-skus", "--location", location, "--resource-type", "virtualMachines", "--output", "json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def number(value):
    """An integer where it is one, so that 2 GiB do not read 2.0."""
    value = float(value)
    return int(value) if value == int(value) else value


def facts(sku):
    """Facts about one size, or None where bench cannot use it: no machine, isolated from us, or first generation only."""
    if sku["resourceType"] != "virtualMachines":
        return None
    said = {entry["name"]: entry["value"] for entry in sku.get("capabilities") or []}
    if "V2" not in said.get("HyperVGenerations", "").split(","):
        return None
    arch = {"Arm64": "arm64", "x64": "x86_64"}.get(said.get("CpuArchitectureType"))
    # Constrained sizes sell fewer vCPUs than the machine has.
    vcpu = said.get("vCPUsAvailable") or said.get("vCPUs")
    if not arch or not vcpu:
        return None
    entry = {"vcpu": int(vcpu), "memory_gib": number(said["MemoryGB"]), "arch": arch}
    if said.get("vCPUsPerCore"):
        entry["threads_per_core"] = int(said["vCPUsPerCore"])
    if int(said.get("GPUs", 0)):
        entry["gpus"] = int(said["GPUs"])
    if sku.get("family", "").lower().startswith(("standardb", "basv2", "bpsv2", "bsv2")) or re.match(r"Standard_B\d", sku["name"]):
        entry["burstable"] = True
    return entry


def order(name):
    """Standard_D2s_v5 before Standard_D16s_v5, series by series."""
    found = re.match(r"([A-Za-z]+_[A-Z]+)(\d+)(.*)$", name)
    return (found[1], found[3], int(found[2]), name) if found else (name, "", 0, name)


def write(path, comments, types):
    lines = ["{"]
    lines += ["  %s: %s," % (json.dumps(key), json.dumps(value)) for key, value in comments.items()]
    lines.append('  "instance_types": {')
    entries = ["    %s: { %s }" % (json.dumps(name), json.dumps(types[name])[1:-1]) for name in sorted(types, key=order)]
    lines += [",\n".join(entries), "  }", "}"]
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--location", action="append", default=[], help="ask this region; may be given several times")
    parser.add_argument("--skus", action="append", default=[], metavar="FILE", help="an answer of `az vm list-skus --output json`")
    parser.add_argument("--documented", action="store_true", help="the documented sizes, without asking")
    parser.add_argument("--output", default=OUTPUT)
    options = parser.parse_args()
    if options.documented == bool(options.location or options.skus):
        parser.error("give --location or --skus, or else --documented")
    comments = {"_made_by": "scripts/catalog-azure.py", "_prices": "Prices differ by region and change: give price_usd_per_h in the config"}
    if options.documented:
        types = documented()
        comments["_source"] = "Sizes as documented, vCPUs and memory from each series' page; scripts/catalog-azure.py --location REGION asks Azure"
        comments["_threads_per_core"] = "1 on Arm and in the Fasv6 families (simultaneous multithreading off), else 2"
        comments["_pages"] = {name.format("*"): PAGES + page for name, *_, page in SERIES}
    else:
        answers = [list_skus(location) for location in options.location]
        for path in options.skus:
            with open(path) as file:
                answers.append(json.load(file))
        types = {sku["name"]: entry for answer in answers for sku in answer if (entry := facts(sku))}
        comments["_source"] = "az vm list-skus --resource-type virtualMachines, " + ", ".join(options.location + [os.path.basename(p) for p in options.skus])
        comments["_fields"] = REFERENCE
    if not types:
        sys.exit("no size in the answers that bench can use; the catalog is left as it was")
    write(options.output, comments, types)
    print("%s: %d instance types" % (options.output, len(types)), file=sys.stderr)


if __name__ == "__main__":
    main()
