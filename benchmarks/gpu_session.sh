#!/bin/bash
# Run a command on a GPU machine without installing hidenerf there: the machine's own python3 and PyTorch, this
# checkout as the package `hidenerf`, and wheels from .whl/, if any, for what the machine lacks.
#
#   bash benchmarks/gpu_session.sh python3 -m hidenerf.training.cli --preset demo --seconds 540 --out "$OUT"
set -euo pipefail
cd "$(dirname "$0")/.."
package=$(mktemp -d)/hidenerf
mkdir "$package"
for part in model export runtime calibration training; do ln -s "$PWD/$part" "$package/$part"; done
export PYTHONPATH="$(dirname "$package"):$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
if compgen -G '.whl/*.whl' >/dev/null; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl
    PYTHONPATH="/tmp/site:$PYTHONPATH"
fi
exec "$@"
