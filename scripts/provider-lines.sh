#!/usr/bin/env bash
# Lines that each provider backend takes, by kind, without blank lines and comments. In src/ it is none: the last column
# counts files there that name the backend, beside the storage of results in S3.
set -euo pipefail
cd "$(dirname "$0")/.."

lines() { if [ $# -gt 0 ]; then cat "$@" | grep -cvE '^\s*(#.*|//.*)?$' || true; else echo 0; fi; }
files() { compgen -G "$1" || true; }

printf '%-10s %8s %8s %8s %8s %8s %8s\n' backend manifest module tests sweep catalog rust
for folder in infrastructure/*/; do
    name=$(basename "$folder")
    # meta is the orchestrator's own stack, which the master drives, and makes no hosts.
    if [ -z "$(files "$folder*.tf")" ] || [ "$name" = meta ]; then continue; fi
    mapfile -t module < <(files "$folder*.tf"; files "$folder*.tftpl"; files "$folder*.hbs")
    mapfile -t tests < <(files "$folder*.tftest.hcl")
    mapfile -t sweep < <(files "nuke/$name.json"; files "${folder}nuke.json")
    mapfile -t manifest < <(files "${folder}provider.json")
    mapfile -t catalog < <(files "${folder}instance-types.json")
    rust=$(grep -rliE "\b$name\b" src --include='*.rs' | grep -cvE '^src/orchestrator/storage/' || true)
    printf '%-10s %8s %8s %8s %8s %8s %8s\n' "$name" "$(lines "${manifest[@]}")" "$(lines "${module[@]}")" \
        "$(lines "${tests[@]}")" "$(lines "${sweep[@]}")" "$(lines "${catalog[@]}")" "$rust"
done
