"""Which GPU architectures to build for: `--sm`, what the library lists, and the GPU that is here."""

from dataclasses import dataclass

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.compile import cuda_core
from hidenerf.runtime.tensorrt.library import Library

ALL = "all"
GPUS = {
    75: "RTX 20, GTX 16, T4",
    80: "A100",
    86: "RTX 30",
    87: "Jetson Orin",
    89: "RTX 40",
    90: "H100, H200",
    120: "RTX 50",
    121: "DGX Spark",
}


@dataclass(frozen=True)
class Targets:
    """sms: architectures in ascending order. lenient: leave out those that cannot run the graphs, and say so."""

    library: Library
    sms: tuple[int, ...]
    lenient: bool


def choose_targets(library: Library, option: str | None) -> Targets:
    """The architectures to build for. option: the value of `--sm`, "75,86" or "all"; None is all that are possible.

    TensorRT-RTX builds ahead of time for what it lists, TensorRT for the GPU of this machine. Errors: not a number, an
    unknown architecture, one that the library does not build for, no GPU for TensorRT.
    """
    wanted = None if option in (None, ALL) else _parse(str(option))
    if library.backend == "tensorrt":
        return _for_this_gpu(library, option, wanted)
    listed = listed_sms(library)
    for sm in wanted or ():
        if sm not in listed:
            raise HideNerfError(
                f"--sm {sm}: {library.title} does not build for SM {sm} ({GPUS[sm]}), only for {_spelt(listed)}; "
                "leave it out, or use --backend tensorrt on a machine with that GPU."
            )
    return Targets(library, wanted or listed, lenient=wanted is None)


def listed_sms(library: Library) -> tuple[int, ...]:
    """Architectures that TensorRT-RTX can build for, ascending."""
    names = library.trt.ComputeCapability.__members__
    return tuple(sorted(int(name[2:]) for name in names if name.startswith("SM")))


def _parse(option: str) -> tuple[int, ...]:
    numbers = set()
    for part in option.split(","):
        if not part.strip().isdecimal() or int(part) not in GPUS:
            raise HideNerfError(
                f"--sm {option}: {part.strip()!r} is no GPU architecture known here; give {_spelt(GPUS)} or {ALL!r}, "
                "several separated by commas."
            )
        numbers.add(int(part))
    return tuple(sorted(numbers))


def _for_this_gpu(library: Library, option: str | None, wanted: tuple[int, ...] | None) -> Targets:
    here = _gpu_of_this_machine(library)
    if option == ALL or (wanted is not None and wanted != (here,)):
        raise HideNerfError(
            f"--sm {option}: {library.title} builds only for the GPU of this machine, SM {here}; leave out --sm, or "
            "build ahead of time with --backend tensorrt-rtx."
        )
    return Targets(library, (here,), lenient=False)


def _gpu_of_this_machine(library: Library) -> int:
    try:
        core = cuda_core()
    except HideNerfError:
        raise HideNerfError(
            "--backend tensorrt needs the Python package cuda-core to know the GPU; install it with: "
            "pip install 'hidenerf[tensorrt]'"
        ) from None
    try:
        major, minor = core.Device().compute_capability
    except Exception as error:
        raise HideNerfError(
            f"{library.title} builds engines on the GPU that is to run them, and none is usable here ({error}); run "
            "this on that machine, or build ahead of time with --backend tensorrt-rtx."
        ) from None
    return int(major) * 10 + int(minor)


def _spelt(sms: "tuple[int, ...] | dict[int, str]") -> str:
    return ", ".join(map(str, sms))
