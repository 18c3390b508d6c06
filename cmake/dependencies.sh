#!/bin/sh
# Install requirements.txt with $PYTHON, without what $WITHOUT names. What has no wheel is compiled, which is said before.
set -eu
list=$(mktemp)
trap 'rm -f "$list"' EXIT
cp requirements.txt "$list"
for name in ${WITHOUT:-}; do
    grep -qx "$name" "$list" || { echo "WITHOUT=$name: requirements.txt has no such line"; exit 1; }
    grep -vx "$name" "$list" >"$list.rest" || true
    mv "$list.rest" "$list"
    echo "without $name"
done
if grep -qx pybullet "$list" &&
    ! "$PYTHON" -m pip install -q --only-binary=:all: pybullet -c constraints.txt >/dev/null 2>&1; then
    echo "PyBullet has no wheel for $("$PYTHON" --version): it is compiled now with all cores, some minutes"
    echo "  (make build WITHOUT=pybullet leaves it out: chips, learners and benchmarks alone, no demo)"
    began=$(date +%s)
    "$PYTHON" -m pip install -q pybullet -c constraints.txt &
    compiler=$!
    while kill -0 "$compiler" 2>/dev/null; do
        sleep 5
        seconds=$(($(date +%s) - began))
        [ $((seconds % 60)) -ge 5 ] || echo "  still compiling PyBullet: $seconds s"
    done
    wait "$compiler"
fi
"$PYTHON" -m pip install -q -r "$list" -c constraints.txt
