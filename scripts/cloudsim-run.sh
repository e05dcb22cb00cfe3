#!/usr/bin/env bash
# Whole runs in a cloud whose instances really boot: the simulator in ../shared/cloudsim (or $CLOUDSIM) answers EC2's
# API and boots every instance with the real systemd and cloud-init in a network of its own, security groups enforced.
#
#   scripts/cloudsim-run.sh [BENCH]      default: target/release/bench
#
# Two runs on an orchestrator that the meta stack makes: one with the program fetched from the orchestrator, whose
# master stays; one with an image, whose master is killed, so that the hosts are on their own. Then everything is
# destroyed, and the simulator is asked what is left. Needs root, terraform, the AWS CLI, jq and about 15 minutes.
# Prints PASS or FAIL for each claim; exit code 0 when all hold, 1 when one does not, 2 when it cannot be tried.
# shellcheck disable=SC2317  # functions are called through claim and wait_for
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

cannot() { echo "cloudsim-run: $*" >&2; exit 2; }

simulator=${CLOUDSIM:-../shared/cloudsim}/cloudsim.py
[ -f "$simulator" ] || cannot "the simulator is not at $simulator; give its folder as CLOUDSIM"
[ "$(id -u)" = 0 ] || cannot "the simulator boots instances, which needs root"
for program in python3 terraform aws jq curl; do
  command -v "$program" >/dev/null || cannot "$program is missing"
done
given=${1:-target/release/bench}
[ -x "$given" ] || cannot "there is no program $given; build it (cargo build --release), or name another"

work=$(mktemp -d "${TMPDIR:-/tmp}/cloudsim-run.XXXXXX")
export CLOUDSIM_STATE=$work/state CLOUDSIM_PORT=${CLOUDSIM_PORT:-5100}
# Without symbols: it travels to every instance.
strip -o "$work/bench" "$given" 2>/dev/null || cp "$given" "$work/bench" || exit 2
bench=$work/bench
unset BENCH_API_KEY BENCH_PROVIDER_PATH
export BENCH_OWNER=cloudsim BENCH_HOME=$work/.bench
failed=0 run_id='' master=''

sim() { python3 "$simulator" "$@"; }
step() { printf '\n== %s (%s)\n' "$*" "$(date -u +%T)"; }

# claim TEXT COMMAND...: PASS where the command succeeds.
claim() {
  local text=$1
  shift
  if "$@" >>"$work/claims.log" 2>&1; then echo "PASS  $text"; else echo "FAIL  $text" && failed=1; fi
}

# finish CODE: nothing of this script stays behind.
finish() {
  trap - EXIT
  [ -z "$master" ] || kill -9 "$master" 2>/dev/null
  sim down >/dev/null 2>&1
  echo "files of this run: $work"
  exit "$1"
}
trap 'finish 2' EXIT
trap 'finish 2' INT TERM

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 1
  done
}

# What the orchestrator says, asked as a master asks: by its address, trusting its key alone.
api() {
  local record=$BENCH_HOME/orchestrator.json key
  key=$(cat "$BENCH_HOME/$(jq -r .key_file "$record")") || return 1
  curl -sSfk -m 10 --pinnedpubkey "$(jq -r .pin "$record")" -H "Authorization: Bearer $key" "$(jq -r .url "$record")$1"
}

# Instances of the simulator that carry this run's tag.
hosts_of() {
  aws ec2 describe-instances --region "$1" --filters "Name=tag:bench_run_id,Values=$run_id" --output json |
    jq -r '.Reservations[].Instances[].InstanceId'
}
all_hosts() { hosts_of us-east-1 && hosts_of us-west-2; }

events() { jq -c "$@" "$CLOUDSIM_STATE/events.jsonl"; }

# config FILE TASK_RUNNERS WORKLOAD: two provider instances, two instance types, four hosts.
config() {
  cat >"$1" <<JSON
{
  "runs_per_instance_type": 4,
  "task_runners": $2,
  "workload": $3,
  "limits": { "ttl_minutes": 45 },
  "providers": { "aws-west": { "backend": "aws", "region": "us-west-2" } },
  "aws": [ { "instance_type": "c7i.large", "alias": "c7i", "price_usd_per_h": 0.09 } ],
  "aws-west": [ { "instance_type": "m7i.large", "alias": "m7i", "price_usd_per_h": 0.1, "spot": true } ]
}
JSON
}

# The claims about a run that its own summary and the API settle.
claims_of_run() {
  local summary=$1 mode=$2
  claim "$mode: the run is completed, 8 of 8 tasks" \
    jq -e '.status == "completed" and .tasks.completed == 8 and .tasks.failed == 0 and .exit_code == 0' "$summary"
  claim "$mode: nothing was left behind, by its own account" jq -e '.leftovers == []' "$summary"
  claim "$mode: every task has its result" \
    bash -c "[ \$(ls -d \"\$(jq -r .results_dir '$summary')\"/*/output.json | wc -l) = 8 ]"
}

# Every instance of the run booted, joined over HTTPS and said so.
hosts_were_ready() {
  local count
  count=$(api "/api/v1/runs/$run_id/hosts" | jq '[.[] | select(.stage == "ready" or .stage == "leaving")] | length')
  [ "$count" = 4 ]
}

# None of them is up any more.
all_gone() {
  local id
  [ -n "$hosts" ] || return 1
  for id in $hosts; do
    sim status | grep -q "^$id gone " || return 1
  done
}

# Every host of the run switched itself off, and that terminated it.
switched_themselves_off() {
  local id
  [ -n "$hosts" ] || return 1
  for id in $hosts; do
    # shellcheck disable=SC2016  # $id is the filter's
    events --arg id "$id" 'select(.event == "power_off" and .id == $id and .ec2 == "terminated") | .why' |
      grep -q 'switched itself off' || return 1
  done
}

step "the simulator"
# One boot at a time: the networks of two regions have the same range, and instances that boot at the same moment
# would be given one address.
sim up --detach --enforce-sg --boot-parallel 1 --max-seconds 5400 --image-map "registry/bench:1=$bench" >"$work/up.json" ||
  cannot "the simulator did not start, see $work/up.json"
eval "$(sim env)"
jq -r '"\(.aws_url), public addresses \(.public_cidr), security groups enforced: \(.enforce_sg)"' "$work/up.json"
# Any account that had an encrypted disk before has the key that the cloud makes for the first one.
for region in us-east-1 us-west-2; do
  disk=$(aws ec2 create-volume --region $region --availability-zone ${region}a --size 1 --encrypted \
    --query VolumeId --output text) && aws ec2 delete-volume --region $region --volume-id "$disk" || exit 2
done
sim leftovers --region us-east-1 --region us-west-2 --record "$work/baseline.json" >/dev/null
sim seed-decoys --near bench_managed=true --name-prefix bench >/dev/null || cannot "the decoys could not be made"

step "mode binary: bench run, to its end"
config "$work/binary.json" '{ "count": 2, "mode": "binary" }' '{ "name": "sum", "command": ["sha256sum", "/opt/bench/bench"], "repetitions": 3 }'
run_id=cloudsim-binary
(cd "$work" && timeout 1500 "$bench" run binary.json --run-id $run_id --output json) \
  >"$work/$run_id.json" 2>"$work/$run_id.log"
tail -n 40 "$work/$run_id.log"
claims_of_run "$work/$run_id.json" binary
[ -f "$BENCH_HOME/orchestrator.json" ] || { cat "$work/$run_id.json"; finish 1; }
meta=$(jq -r .url "$BENCH_HOME/orchestrator.json")
claim "the orchestrator answers at an elastic address over HTTPS: $meta" \
  bash -c "aws ec2 describe-addresses --region us-east-1 --query 'Addresses[].PublicIp' --output text | grep -qwF '${meta#https://}'"
claim "the orchestrator's other ports are closed" \
  bash -c "! timeout 5 bash -c '</dev/tcp/${meta#https://}/22' 2>/dev/null"
hosts=$(all_hosts)
claim "binary: four hosts of two instance types were made" [ "$(echo "$hosts" | wc -w)" = 4 ]
claim "binary: all of them were ready" hosts_were_ready
claim "binary: all of them are gone" all_gone

step "mode image: bench run, whose master is killed when the hosts are at work"
config "$work/image.json" '{ "count": 2, "mode": "image", "image": "registry/bench:1" }' \
  '{ "name": "sleep", "command": ["sleep", "25"], "repetitions": 2, "warmup": 0 }'
run_id=cloudsim-image
(cd "$work" && exec timeout 1500 "$bench" run image.json --run-id $run_id --output json) \
  >"$work/$run_id.json" 2>"$work/$run_id.log" &
master=$!
claim "image: the same orchestrator is used again" wait_for 300 api "/api/v1/runs/$run_id"
claim "image: four hosts became ready" wait_for 600 hosts_were_ready
settled() { grep -q '"hosts_up".*"aws"' "$BENCH_HOME/runs/$run_id/journal.jsonl"; }
claim "image: their making is over" wait_for 120 settled
sleep 5
pkill -9 -P "$master"
wait "$master" 2>/dev/null
master=''
hosts=$(all_hosts)
claim "image: the hosts finish their tasks and switch themselves off without a master" \
  wait_for 600 switched_themselves_off
(cd "$work" && timeout 600 "$bench" run --resume $run_id --output json) \
  >"$work/$run_id.json" 2>>"$work/$run_id.log"
tail -n 40 "$work/$run_id.log"
claims_of_run "$work/$run_id.json" image

step "bench nuke"
(cd "$work" && timeout 600 "$bench" nuke --all-runs --yes) >"$work/nuke.log" 2>&1
nuke=$?
cat "$work/nuke.log"
claim "bench nuke removes the meta stack and says that nothing is left" [ $nuke = 0 ]

step "what is left"
sim leftovers --region us-east-1 --region us-west-2 --baseline "$work/baseline.json" | tee "$work/leftovers.json"
claim "nothing is left in the cloud" jq -e '.count == 0 and .errors == []' "$work/leftovers.json"
claim "nothing of anybody else's was touched" sim check-decoys
sim status

finish $failed
