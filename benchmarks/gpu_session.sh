#!/bin/bash
# Run a command on a GPU machine without installing hidenerf there: the machine's own python3 and PyTorch, this
# checkout as the package `hidenerf`, and wheels from .whl/, if any, for what the machine lacks.
#
#   bash benchmarks/gpu_session.sh python3 -m hidenerf.commands.train --preset demo --seconds 540 --output "$OUT"
#
# Packages too large for one transfer travel in parts of 41 MB. `pack-runtime` packs what a machine with PyTorch, NumPy,
# OpenCV, click, packaging, requests, safetensors and ONNX's packages lacks for the CUDA backend and the benchmarks, in
# the versions of constraints.txt. Here, for CPython 3.12 on x86-64, without dependencies:
#
#   bash benchmarks/gpu_session.sh pack-runtime .gpu
#   bash benchmarks/gpu_session.sh pack .gpu PACKAGE==VERSION ...     # other packages instead
#
# There, once for each part .gpu/p0, .gpu/p1, …; the next command that is run joins them. `missing` names what frames on
# a GPU would need and the machine still lacks, and fails if there is anything:
#
#   bash benchmarks/gpu_session.sh keep .gpu/p0
#   bash benchmarks/gpu_session.sh missing
#
# A command that is to go on when this one returns, from a copy of the checkout as it is now:
#
#   bash benchmarks/gpu_session.sh detach /tmp/train.log python3 -m hidenerf.commands.train --seconds 1200 --output /tmp/run
set -euo pipefail
cd "$(dirname "$0")/.."
parts=$HOME/hidenerf-parts
# What `pack-runtime` packs, and the modules that `missing` looks for.
runtime_packages=(onnxruntime-gpu cuda-core pooch platformdirs av)
runtime_modules=(torch numpy cv2 click onnx onnx_ir onnxscript safetensors packaging requests
    onnxruntime cuda.core cuda.bindings.nvrtc pooch platformdirs av)

pack() {
    local folder=$1 tmp
    shift
    tmp=$(mktemp -d)
    local platforms=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
    for minor in 17 24 27 28 31 34 35 39; do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
    python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        "${platforms[@]}" -d "$tmp/wheels" "$@"
    for wheel in "$tmp"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$tmp/site"; done
    # Files that a Python session never loads.
    rm -rf "$tmp"/site/onnxruntime/capi/libonnxruntime_providers_tensorrt.so "$tmp"/site/onnxruntime/transformers
    rm -f "$tmp"/site/onnxruntime/capi/libonnxruntime.so.*
    mkdir -p "$folder"
    rm -rf "$folder"/p[0-9]*
    tar -C "$tmp/site" -c . | xz -T0 -6 | split -b 41000000 -d -a 2 - "$tmp/part"
    local number=0
    for part in "$tmp"/part*; do
        mkdir "$folder/p$number"
        mv "$part" "$folder/p$number/"
        number=$((number + 1))
    done
    rm -rf "$tmp"
    du -sh "$folder"/p*
}

case ${1:-} in
pack) shift && pack "$@" && exit ;;
pack-runtime) pack "$2" --constraint constraints.txt "${runtime_packages[@]}" && exit ;;
detach)
    log=$2
    shift 2
    copy=$(mktemp -d)/checkout
    cp -r . "$copy"
    setsid nohup bash "$copy/benchmarks/gpu_session.sh" "$@" >"$log" 2>&1 </dev/null &
    exit
    ;;
keep) mkdir -p "$parts" && cp "$2"/part* "$parts/" && ls -l "$parts" && exit ;;
esac

package=$(mktemp -d)/hidenerf
mkdir "$package" "$(dirname "$package")/hidenerf-0.dist-info"
ln -s "$PWD/package/__init__.py" "$package/__init__.py"
for part in assets calibration commands export model runtime training; do ln -s "$PWD/$part" "$package/$part"; done
printf 'Metadata-Version: 2.1\nName: hidenerf\nVersion: 0\n' >"$(dirname "$package")/hidenerf-0.dist-info/METADATA"
export PYTHONPATH="$(dirname "$package"):$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
if compgen -G '.whl/*.whl' >/dev/null; then
    # A folder of this call's own: what goes on from an earlier one keeps its packages.
    site=$(mktemp -d)
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" .whl/*.whl
    PYTHONPATH="$site:$PYTHONPATH"
fi
if compgen -G "$parts/part*" >/dev/null; then
    (
        flock 9
        if [ ! -e "$parts/joined" ]; then
            mkdir -p "$parts/site"
            cat "$parts"/part* | xz -dc -T0 | tar -C "$parts/site" -x
            touch "$parts/joined"
        fi
    ) 9>"$parts/lock"
    PYTHONPATH="$parts/site:$PYTHONPATH"
    # The CUDA and cuDNN libraries that PyTorch brought, for ONNX Runtime.
    libraries=$(python3 -c 'import glob, importlib.util as u, os
root = os.path.dirname(os.path.dirname(u.find_spec("torch").origin))
print(":".join(glob.glob(root + "/nvidia/*/lib")))')
    export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi
if [ "${1:-}" = missing ]; then
    exec python3 - "${runtime_modules[@]}" <<'END'
import importlib
import sys

def lacks(name):
    try:
        importlib.import_module(name)
    except ImportError as error:
        return str(error)

lacking = {name: error for name in sys.argv[1:] if (error := lacks(name))}
print("\n".join(f"missing: {name} ({error})" for name, error in lacking.items()) or "Nothing is missing.")
sys.exit(bool(lacking))
END
fi
exec "$@"
