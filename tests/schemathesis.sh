#!/usr/bin/env bash
# Fuzzes a live orchestrator with what its OpenAPI document promises: no server error, no undocumented answer.
# Installs schemathesis from PyPI into target/; SCHEMATHESIS_EXAMPLES sets the effort (default 40 a call).
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

venv=target/schemathesis
if [ ! -x "$venv/bin/schemathesis" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet 'schemathesis==4.*'
fi

cargo build --quiet
home=$(mktemp -d)
export BENCH_API_KEY=a-key-for-fuzzing-only
target/debug/bench orchestrator --listen 127.0.0.1:0 --home "$home" --rate-limit 1000000 >"$home/started" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$home"' EXIT
until grep -q '^orchestrator:' "$home/started"; do
    kill -0 "$server"
    sleep 0.1
done
url=$(sed -n 's/^orchestrator: *//p' "$home/started")

# Teaches schemathesis to send gzip bodies.
export SCHEMATHESIS_HOOKS=$root/tests/schemathesis_hooks.py
# Long polls and event streams would only make the run longer; both end by themselves in tests of their own.
# It leaves a cache where it runs.
cd target
"$root/$venv/bin/schemathesis" run "$url/api/v1/openapi.json" \
    --url "$url" \
    --header "Authorization: Bearer $BENCH_API_KEY" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --exclude-path '/api/v1/runs/{id}/events' \
    --max-examples "${SCHEMATHESIS_EXAMPLES:-40}" \
    --request-timeout 70 \
    --seed 1
