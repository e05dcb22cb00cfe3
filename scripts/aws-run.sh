#!/usr/bin/env bash
# A whole run on AWS without an account: moto answers for AWS's API, and every instance boots as a machine of its own:
# its user-data is executed, in namespaces of this machine. bench, Terraform and the AWS provider are the real ones.
#
#   scripts/aws-run.sh [--measure] [CONFIG]     default: config/aws.json
#
#   --measure   execute the config's workload; without it, numbers are made up (`bench run --mock`)
#   BENCH       the program (default: target/release/bench)
#
# Needs Linux on the architecture of CONFIG's instance types, terraform, python3, curl, util-linux, and root or user
# namespaces. As root the run makes its orchestrator in the cloud; else one is started beside it. moto, the AWS CLI and
# the AWS provider are fetched into target/ where they are not there yet; then nothing reaches any network.
# Results go to results/ in the caller's folder, everything else of the run ends with it.
# Exit code: that of `bench run`; 4 where moto has anything left, 2 when it cannot be tried.
# shellcheck disable=SC2317  # finish is called by a trap
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cloud=$root/tests/common/cloud
# Where metadata is served, and an address that is no loopback one, for an orchestrator of ours.
metadata=169.254.169.254 orchestrator=203.0.113.10
moto=http://127.0.0.1:5000

cannot() { echo "aws-run: $*" >&2; exit 2; }
say() { printf '\n== %s\n' "$*"; }

# until_it COMMAND...: waits until it succeeds, for a minute.
until_it() {
  local end=$((SECONDS + 60))
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "aws-run: waited a minute for: $*" >&2; return 1; }
    sleep 0.2
  done
}

inventory() { python3 "$cloud/booter.py" --endpoint "$moto" --inventory "${regions[@]}" "$@"; }

# --- inside: in a network and a process tree of its own, which end with it ---

# In sessions of their own: Ctrl-C is for bench, which still needs them.
start_cloud() {
  setsid moto_server -H 127.0.0.1 -p 5000 >"$work/moto.log" 2>&1 &
  until_it inventory
  inventory >"$work/before.json"
  mkdir "$work/machines"
  printf '#!/bin/sh\nexec %s "$@"\n' "$(command -v aws)" >"$work/aws"
  setsid python3 "$cloud/booter.py" --endpoint "$moto" "${regions[@]}" --machines "$work/machines" \
    --program "aws=$work/aws" --environment "AWS_ENDPOINT_URL=$moto" >"$work/booter.out" 2>"$work/booter.log" &
  until_it grep -q '^up$' "$work/booter.out"
}

# Without root no machine can make the user that a cloud's orchestrator runs as.
start_orchestrator() {
  BENCH_API_KEY=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
  export BENCH_API_KEY
  setsid "$work/bench" --home "$work/orchestrator" orchestrator --listen "$orchestrator:443" --output json \
    >"$work/orchestrator.json" 2>"$work/orchestrator.log" &
  until_it python3 -m json.tool "$work/orchestrator.json"
  local field='import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])'
  arguments+=(--orchestrator-url "$(python3 -c "$field" "$work/orchestrator.json" url)")
  arguments+=(--orchestrator-pin "$(python3 -c "$field" "$work/orchestrator.json" pin)")
}

inside() {
  local code=0 left
  say "moto, and a booter for its instances"
  start_cloud
  [ "$as_root" = yes ] || start_orchestrator
  say "bench run ${arguments[*]}"
  "$work/bench" run "${arguments[@]}" || code=$?
  say "instances that booted"
  cat "$work/machines/booted" 2>/dev/null || echo none
  if [ "$as_root" = yes ]; then
    say "bench nuke --run-id meta-$BENCH_OWNER --yes"
    "$work/bench" nuke --run-id "meta-$BENCH_OWNER" --yes || code=4
  fi
  say "what moto has left"
  left=$(inventory --besides "$work/before.json") || left="unknown: moto does not answer"
  if [ "$left" = '{}' ]; then echo nothing; else echo "$left" && code=4; fi
  [[ $code = 0 || $code = 130 ]] || tail -n 20 "$work"/*.log "$work"/machines/*/console \
    "$work"/machines/*/root/var/log/{cloud-init-output,bench}.log 2>/dev/null >&2 || true
  return "$code"
}

# --- outside ---

# moto and the AWS command line: from PATH, else from an environment of their own.
find_moto() {
  if ! command -v moto_server >/dev/null || ! command -v aws >/dev/null; then
    PATH=$root/target/moto/bin:$PATH
    if [ ! -x "$root/target/moto/bin/aws" ]; then
      echo "fetching moto and the AWS CLI into target/moto"
      python3 -m venv "$root/target/moto" || cannot "python3 makes no environments; on Debian: apt install python3-venv"
      "$root/target/moto/bin/pip" install --quiet 'moto[server]==5.*' awscli ||
        cannot "moto could not be fetched; install it yourself: pip install 'moto[server]==5.*' awscli"
    fi
  fi
}

# The AWS provider as Terraform unpacks it: there is no registry in the run's network.
find_provider() {
  local folder=$root/target/aws-run/provider
  mkdir -p "$folder"
  # Only what it requires; the rest asks for variables.
  sed '/^provider /,$d' "$root/infrastructure/aws/versions.tf" >"$folder/versions.tf"
  CHECKPOINT_DISABLE=1 terraform -chdir="$folder" init -input=false -no-color >"$work/init" 2>&1 ||
    cannot "Terraform cannot fetch its AWS provider: $(grep -A 3 -m 1 'Error: ' "$work/init" || tail -n 3 "$work/init")"
  printf 'provider_installation {\n  filesystem_mirror { path = "%s/.terraform/providers" }\n}\n' "$folder" \
    >"$work/terraform.rc"
}

# Regions that the config names, and the default one.
find_regions() {
  local script='import json, sys
providers = json.load(open(sys.argv[1])).get("providers", {})
found = [p.get("region") for p in providers.values() if isinstance(p, dict)]
print(*sorted({"us-east-1", *filter(None, found)}))'
  local names name
  names=$(python3 -c "$script" "$config") || cannot "$config cannot be read; \`bench config check $config\` says why"
  for name in $names; do regions+=(--region "$name"); done
}

prepare_environment() {
  local name
  # What leads out of the run's network, or to somebody's account.
  for name in $(compgen -e | grep -iE '^(AWS_.*|BENCH_.*|(https?|all)_proxy)$'); do unset "$name"; done
  export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_PAGER='' PYTHONDONTWRITEBYTECODE=1
  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1 AWS_ENDPOINT_URL=$moto
  export TF_CLI_CONFIG_FILE=$work/terraform.rc BENCH_HOME=$work/.bench BENCH_OWNER=aws-run
}

# Nothing of this script stays behind: the run's first process ends with the other end of its input, and every
# process of the run with that.
finish() {
  trap - EXIT
  trap '' INT TERM HUP
  [ -z "${alive:-}" ] || exec {alive}>&-
  [ -z "${run:-}" ] || wait "$run" || true
  rm -rf "$work"
}

outside() {
  local program code=0 unshare=(unshare)
  [ "$(uname -s)" = Linux ] || cannot "instances boot in namespaces, which take Linux"
  for program in terraform python3 curl unshare; do
    command -v "$program" >/dev/null || cannot "$program is missing"
  done
  bench=${BENCH:-$root/target/release/bench}
  [ -x "$bench" ] || cannot "there is no program $bench; build it (cargo build --release), or name another as BENCH"
  work=$(mktemp -d "${TMPDIR:-/tmp}/aws-run.XXXXXX")
  trap finish EXIT
  trap 'exit 143' TERM HUP
  # Without symbols: it travels to every instance.
  strip -o "$work/bench" "$bench" 2>/dev/null || cp "$bench" "$work/bench"
  find_regions
  find_moto
  find_provider
  prepare_environment
  if [ "$(id -u)" = 0 ]; then as_root=yes; else as_root=no unshare+=(--user --map-root-user); fi
  unshare+=(--net --pid --mount --mount-proc --fork --kill-child)
  "${unshare[@]}" true 2>"$work/why" || cannot "this machine allows no namespaces: $(cat "$work/why"); try as root"
  mkfifo "$work/alive"
  exec {alive}<>"$work/alive"
  # Ctrl-C is for bench, which ends what it made; this waits for it.
  trap : INT
  export root cloud work moto orchestrator as_root
  "${unshare[@]}" python3 "$cloud/world.py" "$metadata" "$orchestrator" -- \
    bash "${BASH_SOURCE[0]}" --inside "${#regions[@]}" "${regions[@]}" "${arguments[@]}" <"$work/alive" {alive}>&- &
  run=$!
  # An interrupt ends the waiting, not the run.
  while code=0 && { wait "$run" || code=$?; } && kill -0 "$run" 2>/dev/null; do :; done
  keep_results
  exit "$code"
}

# Results are the caller's; all else goes.
keep_results() {
  local folder
  for folder in "$work"/results/*/; do
    [ -d "$folder" ] || return 0
    mkdir -p results
    cp -r "$folder" results/
    say "results are kept in results/$(basename "$folder")"
  done
}

regions=() arguments=()
if [ "${1:-}" = --inside ]; then
  regions=("${@:3:$2}") arguments=("${@:3+$2}")
  inside
  exit
fi
config=$root/config/aws.json mock=(--mock)
while [ $# -gt 0 ]; do
  case $1 in
    --measure) mock=() ;;
    -h | --help) sed -n '2,/^# shellcheck /{/^# shellcheck /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" && exit 0 ;;
    -*) cannot "there is no option $1; --help shows what there is" ;;
    *) config=$1 ;;
  esac
  shift
done
[ -f "$config" ] || cannot "there is no config $config"
config=$(realpath "$config")
arguments=("$config" --yes "${mock[@]}")
outside
