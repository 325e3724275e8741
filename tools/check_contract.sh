#!/usr/bin/env bash
# Lints the contract and compares it with the last one that landed on the main branch.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python tools/generate.py --image "$work/contract.binpb"
buf lint "$work/contract.binpb" --path draftline/v1
buf format --diff --exit-code protos
buf breaking "$work/contract.binpb" --against protos/landed.binpb --path draftline/v1
echo "the contract is clean"
