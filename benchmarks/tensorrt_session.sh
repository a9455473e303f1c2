#!/bin/bash
# Builds and runs engines of TensorRT 8.6 on a GPU machine that reaches no package index. TensorRT 8.6's is the last wheel
# with the library inside; it is for CPython 3.10, which such a machine lacks, so both travel, in parts of 38 MB.
#
# Here (TensorRT, Python and packages: 820 MB are downloaded once, 12 minutes on 2 cores; needs zstd, git and Python 3.10):
#
#   bash benchmarks/tensorrt_session.sh pack .trt                      # TENSORRT_REPOSITORY may name a clone or mirror
#   bash benchmarks/tensorrt_session.sh pack-bundles .trt-bundles demo-fp16 demo-fp32 base-fp16 tiny-fp16
#   bash benchmarks/tensorrt_session.sh try .trt                        # what can be tried without a GPU
#
# There, once for each part, and then the steps; a step takes what earlier ones left in $HOME/hidenerf-tensorrt:
#
#   bash benchmarks/tensorrt_session.sh keep .trt/p0
#   bash benchmarks/tensorrt_session.sh join                            # also says what is missing
#   bash benchmarks/tensorrt_session.sh plugin demo-fp16                # the plugin against 8.6's headers
#   bash benchmarks/tensorrt_session.sh build demo-fp16                 # or: detach build base-fp16; then: log base-fp16
#   bash benchmarks/tensorrt_session.sh frames demo-fp16                # another process loads, compares, times
#   bash benchmarks/tensorrt_session.sh cpp demo-fp16                   # the sample in C++: built, run, compared with Python
#   bash benchmarks/tensorrt_session.sh tests                           # the backend's tests marked gpu
#   bash benchmarks/tensorrt_session.sh all                             # the steps for each bundle, smallest first
#
# `build` and `frames` copy sidecars, timing caches and reports to $OUT, if that is set. HIDENERF_PLUGIN=none builds
# without the plugin. Only for measuring: nothing that is packed enters the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$HOME/hidenerf-tensorrt
part_bytes=38000000
tensorrt=8.6.0
# For Python 3.10; NumPy and ONNX Runtime in the versions of constraints.txt, CUDA's bindings as pip finds them.
packages=(numpy onnx onnx-ir onnxscript polygraphy click pooch packaging opencv-python-headless av onnxruntime
    safetensors pytest hypothesis)
cuda_packages=(cuda-core cuda-bindings)
modules=(tensorrt numpy onnx onnx_ir onnxscript polygraphy click pooch cv2 av onnxruntime cuda.core
    cuda.bindings.driver cuda.bindings.nvrtc pytest hypothesis)
# What libnvinfer_plugin names; no kernel of theirs is used (recipe.py).
stand_ins=(libcublas.so.12 libcublasLt.so.12 libcudnn.so.8)

python310() {
    local found=${PYTHON310:-$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10.*/bin/python3.10 2>/dev/null | tail -1)}
    [ -n "$found" ] || { echo "There is no Python 3.10; name one in PYTHON310." >&2; exit 1; }
    echo "$found"
}

# split_into FOLDER: stdin in parts FOLDER/p0, FOLDER/p1, … named part-NAME-00, …
split_into() {
    local folder=$1 name=$2 number=0 tmp
    rm -rf "$folder"
    mkdir -p "$folder"
    tmp=$(mktemp -d)
    split -b "$part_bytes" -d -a 2 - "$tmp/part-$name-"
    for part in "$tmp"/part-*; do
        mkdir "$folder/p$number"
        mv "$part" "$folder/p$number/"
        number=$((number + 1))
    done
    rmdir "$tmp"
    cp "$(command -v zstd)" "$folder/p0/zstd"
    du -sh "$folder"/p*
}

pack() {
    local folder=$1 python home tmp wheel
    python=$(python310)
    home=$(dirname "$(dirname "$python")")
    tmp=$(mktemp -d)
    mkdir -p "$tmp/t/site" "$tmp/t/python"
    wheel=${HIDENERF_TENSORRT_8_6:-$tmp/wheel}
    [ -d "$wheel" ] || "$python" -m pip download -q --no-deps -d "$wheel" "tensorrt==$tensorrt"
    (cd "$tmp/t/site" && "$python" -m zipfile -e "$wheel"/tensorrt-"$tensorrt"-cp310-*.whl .)
    grep -v '^cuda\|^#' constraints.txt >"$tmp/constraints.txt"
    local install=("$python" -m pip install -q --no-compile --root-user-action ignore --target "$tmp/t/site")
    "${install[@]}" --constraint "$tmp/constraints.txt" "${packages[@]}"
    "${install[@]}" --upgrade "${cuda_packages[@]}"
    find "$tmp/t/site" \( -name tests -o -name __pycache__ \) -prune -exec rm -rf {} +
    # Libraries of CUDA are the machine's own; the stand-ins need lazy binding.
    rm -rf "$tmp"/t/site/nvidia
    printf 'import os\nimport sys\n\nsys.setdlopenflags(os.RTLD_LAZY)\n' >"$tmp/t/site/sitecustomize.py"
    tar -C "$home" -c --exclude=site-packages --exclude=test --exclude=__pycache__ --exclude='config-3.10*' \
        --exclude=idlelib --exclude=tkinter --exclude=ensurepip bin/python3.10 lib/python3.10 \
        $(cd "$home" && compgen -G 'lib/libpython3.10.so*' || true) | tar -C "$tmp/t/python" -x
    git -c advice.detachedHead=false clone -q --depth 1 --branch "v$tensorrt" --filter=blob:none --sparse \
        "${TENSORRT_REPOSITORY:-https://github.com/NVIDIA/TensorRT.git}" "$tmp/headers"
    git -C "$tmp/headers" sparse-checkout set include
    mv "$tmp/headers/include" "$tmp/t/include"
    # One window over all of it: the library of kernels repeats itself for every architecture.
    tar -C "$tmp/t" -c . | zstd -q -T0 -12 --long=31 | split_into "$folder" tensorrt
    rm -rf "$tmp"
}

# pack_bundles FOLDER NAME…: NAME is demo-fp32, demo-fp16, base-fp32, base-fp16, or tiny-fp16, a small untrained model
# that the plugin does not take, so that its engines show how the nodes' bodies do. Needs the exporter's packages.
pack_bundles() {
    local folder=$1 tmp
    shift
    tmp=$(mktemp -d)
    for name in "$@"; do
        local options=(--no-parity -o "$tmp/$name")
        [ "${name#*-}" = fp32 ] || options+=(--fp16)
        case $name in
        tiny-*) in_checkout python3 -c "
from pathlib import Path
from hidenerf.export.precision import FloatPrecision
from tests.support.bundles import write_untrained
from tests.support.tiny import TINY
write_untrained(TINY, Path('$tmp/$name'), precision=FloatPrecision('${name#*-}'))" ;;
        *) in_checkout python3 -m hidenerf.commands.export --preset "${name%-*}" "${options[@]}" ;;
        esac
    done
    tar -C "$tmp" -c . | zstd -q -T0 -9 | split_into "$folder" bundles
    rm -rf "$tmp"
}

# The checkout as the package hidenerf, on PYTHONPATH, for the command that follows.
in_checkout() {
    local package
    package=$(mktemp -d)/hidenerf
    mkdir "$package"
    ln -s "$PWD/package/__init__.py" "$package/__init__.py"
    for part in assets calibration commands export model runtime training; do ln -s "$PWD/$part" "$package/$part"; done
    PYTHONPATH="$(dirname "$package"):$PWD${PYTHONPATH:+:$PYTHONPATH}" "$@"
}

# unpack PARTS FOLDER: the parts in one folder, once.
unpack() {
    mkdir -p "$2"
    for name in tensorrt bundles; do
        if compgen -G "$1/part-$name-*" >/dev/null && [ ! -e "$2/$name-joined" ]; then
            local target=$2
            [ "$name" = tensorrt ] || target=$2/bundles
            mkdir -p "$target"
            cat "$1/part-$name"-* | "$1/zstd" -q -d --long=31 | tar -C "$target" -x
            touch "$2/$name-joined"
        fi
    done
    [ -e "$2/stand-ins" ] && return
    mkdir "$2/stand-ins"
    for name in "${stand_ins[@]}"; do
        echo 'void hidenerf_stand_in(void) {}' | gcc -shared -fPIC -x c - "-Wl,-soname,$name" -o "$2/stand-ins/$name"
    done
}

# The packed Python with the checkout, whatever Python the machine has. HIDENERF_TENSORRT_ROOT: where the pack lies.
packed_python() {
    local at=${HIDENERF_TENSORRT_ROOT:-$root} libraries
    # NVRTC and the other libraries of CUDA that PyTorch brought, if this machine has it.
    libraries=$(python3 -c 'import glob, importlib.util as u, os
there = u.find_spec("torch")
print(":".join(glob.glob(os.path.dirname(os.path.dirname(there.origin)) + "/nvidia/*/lib")) if there else "")' 2>/dev/null || true)
    export LD_LIBRARY_PATH="$at/stand-ins:$at/python/lib:$at/site/tensorrt:$libraries:/usr/local/cuda/lib64"
    # The machine's CMake may be a script of its own Python, which must not meet this one's packages.
    mkdir -p "$at/tools"
    printf '#!/bin/sh\nunset PYTHONHOME PYTHONPATH LD_LIBRARY_PATH\nexec %s "$@"\n' "$(PATH=${PATH#"$at/tools:"} command -v cmake)" >"$at/tools/cmake"
    chmod +x "$at/tools/cmake"
    export PATH="$at/tools:${PATH#"$at/tools:"}"
    export PYTHONHOME="$at/python" PYTHONPATH="$at/site" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
    # Otherwise TensorRT loads all of its kernels first.
    export CUDA_MODULE_LOADING=LAZY TENSORRT_ROOT="$at" HIDENERF_KERNEL_CACHE="$at/kernels"
    in_checkout "$at/python/bin/python3.10" "$@"
}

missing() {
    packed_python - "${modules[@]}" <<'END'
import importlib
import sys

def lacks(name):
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        return str(error)

lacking = {name: error for name in sys.argv[1:] if (error := lacks(name))}
print("\n".join(f"missing: {name} ({error})" for name, error in lacking.items()) or "Nothing is missing.")
sys.exit(bool(lacking))
END
}

# Copies what is worth keeping of a bundle to $OUT: NAME.GRAPH.json and the timing cache.
keep_results() {
    [ -n "${OUT:-}" ] || return 0
    for file in "$root/bundles/$1"/engines/*.timing "$root/bundles/$1"/engines/*/*.json; do
        [ -e "$file" ] && cp "$file" "$OUT/$1.$(basename "$file")"
    done
}

build() {
    packed_python -m hidenerf.commands.export "$root/bundles/$1" --backend tensorrt
    keep_results "$1"
}

case ${1:-} in
pack) pack "$2" ;;
pack-bundles) shift && pack_bundles "$@" ;;
keep) mkdir -p "$root/parts" && cp "$2"/* "$root/parts/" && ls -l "$root/parts" ;;
join) unpack "$root/parts" "$root" && missing ;;
missing) missing ;;
python) shift && packed_python "$@" ;;
plugin) packed_python - "$root/bundles/$2" <<'END' ;;
import sys
from pathlib import Path
from hidenerf.export.engines.plugin import describe_plugin, plugin_library
from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.kernels.sizes import RendererSizes
from hidenerf.runtime.tensorrt.library import load_library

sizes = RendererSizes.of_model(open_bundle(Path(sys.argv[1])).manifest.model.config)
path = plugin_library([sizes], load_library("tensorrt", builds=True).version)
print(path, describe_plugin(path))
END
build) build "$2" ;;
frames) packed_python benchmarks/tensorrt_frames.py "$root/bundles/$2" --out "${OUT:-$root/reports}" && keep_results "$2" ;;
cpp) packed_python benchmarks/tensorrt_cpp.py "$root/bundles/$2" --out "${OUT:-$root/reports}" ;;
tests)
    HIDENERF_GPU_BUNDLE="$root/bundles/tiny-fp16" packed_python -m pytest -q -p no:cacheprovider -m gpu \
        tests/runtime/backends/test_tensorrt_gpu.py tests/examples/cpp/test_sample_gpu.py -k "not rtx"
    ;;
detach)
    copy=$(mktemp -d)/checkout
    cp -r . "$copy"
    setsid nohup bash "$copy/benchmarks/tensorrt_session.sh" "${@:2}" >"$root/${3:-$2}.log" 2>&1 </dev/null &
    ;;
log) tail -n 40 "$root/$2.log" && keep_results "$2" ;;
all)
    for bundle in tiny-fp16 demo-fp16 demo-fp32 base-fp16; do
        [ -d "$root/bundles/$bundle" ] || continue
        bash "$0" build "$bundle" && bash "$0" frames "$bundle" && bash "$0" cpp "$bundle" || echo "FAILED: $bundle" >&2
    done
    bash "$0" tests
    ;;
try)
    parts=$(mktemp -d)
    cp "$2"/p*/* "$parts/"
    unpack "$parts" "$parts/root"
    export HIDENERF_TENSORRT_ROOT=$parts/root
    missing
    # Without a GPU this ends with one sentence; it has imported all that building and running need.
    packed_python -m hidenerf.commands.export --help >"$parts/help"
    packed_python -c 'import hidenerf.export.engines.worker, hidenerf.runtime.backends.tensorrt, sys
sys.exit("torch" in sys.modules)'
    packed_python -m pytest -q -p no:cacheprovider --collect-only -m gpu tests/runtime/backends/test_tensorrt_gpu.py \
        tests/examples/cpp/test_sample_gpu.py | tail -3
    echo "Tried without a GPU: all imports, and the tests are found."
    rm -rf "$parts"
    ;;
*) sed -n '2,27s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
