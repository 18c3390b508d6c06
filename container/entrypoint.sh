#!/bin/bash
# The workspace's environment, and what pip installed beside apt's packages for the system's Python.
set -e
source /workspace/install/setup.bash
export PYTHONPATH="$(echo /opt/memristor/lib/python3.*/site-packages)${PYTHONPATH:+:$PYTHONPATH}"
exec "$@"
