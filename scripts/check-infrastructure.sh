#!/usr/bin/env bash
# Checks every Terraform module of infrastructure/ as it is rendered for a run: format, then its provider's schema and its
# own tests. Says what it could not look at. Exit status 0: no finding.
#
#   scripts/check-infrastructure.sh [BACKEND...]
#
#   BENCH      the program that renders the modules (default: target/debug/bench, built where it is missing)
#   TFSCHEMA   folder of tfschema, which knows the schemas of providers that cannot be installed and stands in for them in
#              `terraform test` (default: ../shared/tfschema)
set -euo pipefail
cd "$(dirname "$0")/.."

tfschema=${TFSCHEMA:-../shared/tfschema}
bench=${BENCH:-target/debug/bench}
[ -x "$bench" ] || cargo build --quiet
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
findings=0 left_out=0

say() { printf '%s\n' "$*"; }
finding() { say "FINDING: $*" && findings=$((findings + 1)); }
leave_out() { say "left out: $*" && left_out=$((left_out + 1)); }

# The provider that a module needs, by its name in required_providers.
provider_of() { sed -n 's/^ *\([a-z]*\) *= *{$/\1/p' "$1/versions.tf" | grep -v '^required_providers$' | head -n 1; }

# As a run would have it: user-data beside the module. What is no provider of hosts is taken as it is.
render() {
    cp -r "infrastructure/$1" "$work/$1"
    if grep -q '"template":' "infrastructure/$1/provider.json" 2>/dev/null; then
        "$bench" plan "$work/$1.run.json" --render "$work/rendered-$1" --infrastructure infrastructure >/dev/null 2>"$work/said" ||
            { cat "$work/said" && exit 2; }
        cp "$work/rendered-$1/$1/user-data.tftpl" "$work/$1/"
    fi
}

# A run with one host of the catalog's first type, in the mode that is asked for.
config() {
    python3 - "$1" "$2" <<'PYTHON'
import json, sys
backend, mode = sys.argv[1:]
types = json.load(open("infrastructure/%s/instance-types.json" % backend))["instance_types"]
runner = {"image": {"mode": "image", "image": "registry.example.com/bench:1"},
          "build": {"mode": "build", "repo": "https://git.example.com/bench.git", "ref": "main"},
          "binary": {"mode": "binary"}}[mode]
if mode != "image":
    url = "https://example.com/bench"
    runner["binaries"] = {arch: {"url": url, "sha256": "0" * 64} for arch in ("arm64", "x86_64")}
print(json.dumps({"task_runners": runner, backend: [{"instance_type": next(iter(types)), "alias": "first"}]}))
PYTHON
}

check() {
    local backend=$1 provider mode
    provider=$(provider_of "infrastructure/$backend")
    for mode in image build binary; do
        rm -rf "${work:?}/$backend" "$work/rendered-$backend"
        [ ! -f "infrastructure/$backend/instance-types.json" ] || config "$backend" "$mode" >"$work/$backend.run.json"
        render "$backend"
        "$tfschema/check.py" "$work/$backend" "$provider" --strict --terraform yes >"$work/answer" 2>&1 ||
            finding "$backend ($mode): $(cat "$work/answer")"
        say "$backend ($mode): $(tail -n 1 "$work/answer")"
        grep -q '"template":' "infrastructure/$backend/provider.json" 2>/dev/null || break
    done
    # The line counts, not the exit status: tests that run nothing succeed as well.
    timeout -k 10 300 "$tfschema/stub.py" "$work/$backend" terraform test -no-color >"$work/answer" 2>&1 || true
    grep -Eq '^Success! [1-9]' "$work/answer" || finding "$backend: $(cat "$work/answer")"
    say "$backend: $(grep -E '^(Success|Failure)!' "$work/answer" || tail -n 1 "$work/answer")"
}

if ! command -v terraform >/dev/null; then
    leave_out "everything: there is no terraform (https://developer.hashicorp.com/terraform/install)"
    exit 0
fi

backends=("$@")
if [ "${#backends[@]}" -eq 0 ]; then
    for folder in infrastructure/*/; do
        ! compgen -G "$folder*.tf" >/dev/null || backends+=("$(basename "$folder")")
    done
fi

for backend in "${backends[@]}"; do
    terraform fmt -check -diff "infrastructure/$backend" || finding "$backend: not formatted; \`terraform fmt infrastructure/$backend\`"
done

if [ -x "$tfschema/check.py" ] && "$tfschema/setup.sh" >"$work/setup" 2>&1; then
    for backend in "${backends[@]}"; do check "$backend"; done
elif [ -f "$work/setup" ]; then
    leave_out "provider schemas and mocked tests: tfschema could not fetch the schemas: $(tail -n 3 "$work/setup")"
else
    leave_out "provider schemas and mocked tests: there is no tfschema in $tfschema (TFSCHEMA names it); \`bench provider validate NAME\` uses the provider itself, where it can be installed"
fi

python3 scripts/catalog-azure.py --documented --output "$work/azure.json" 2>/dev/null
if grep -q '"Sizes as documented' infrastructure/azure/instance-types.json && ! diff -q "$work/azure.json" infrastructure/azure/instance-types.json; then
    finding "azure: the catalog is not what scripts/catalog-azure.py --documented makes"
fi

say "${#backends[@]} modules, $findings findings, $left_out left out"
[ "$findings" -eq 0 ]
