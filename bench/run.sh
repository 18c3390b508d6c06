#!/usr/bin/env bash
# Every benchmark once, JSON into bench/results. QUICK=1 for the small versions.
# Published data (for dbal, decode, device validate, planning, world agreement) are read from DATA.
set -euo pipefail
cd "$(dirname "$0")/.."
command=.venv/bin/memristor-bdnn
out=bench/results
data=${DATA:-../shared/data}
if [ -d "$data" ]; then export MEMRISTOR_BDNN_DATA=$data; fi
quick=${QUICK:+--quick}
mkdir -p "$out"
for name in speed peers growth device world planning escim eapu mcmc stability; do
  "$command" benchmark "$name" $quick --out "$out/$name.json"
done
"$command" benchmark dbal $quick --out "$out/dbal.json"
if [ -d "$data" ]; then
  "$command" device validate --data "$data/escim_write_verify.npz" --out "$out/device_validate.json"
  "$command" benchmark decode --data "$data/escim_write_verify.npz" --dataset "$data/pouring_paper.npz" --out "$out/decode.json"
  "$command" validate-world --data "$data/pouring_paper.npz" --out "$out/validate_world.json"
  "$command" benchmark dbal --dataset "$data/pouring_paper.npz" $quick --out "$out/dbal_published.json"
else
  echo "skipped device validate, decode, validate-world, dbal on published trials: no published data in $data (set DATA)"
fi
