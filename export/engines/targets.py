"""`choose_targets`: which SMs to build for, from `--sm`, the library's list, and this machine's GPU."""

from collections.abc import Iterable
from dataclasses import dataclass

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.sm import NoGpuError, gpu_sm
from hidenerf.runtime.tensorrt.library import Library

ALL = "all"
# Known SMs, with examples of their GPUs.
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
    """What to build for.

    library: what builds.
    sms: SMs in ascending order.
    lenient: whether an SM that cannot run the graphs is left out, with a log record, instead of an error.
    """

    library: Library
    sms: tuple[int, ...]
    lenient: bool


def choose_targets(library: Library, option: str | None) -> Targets:
    """Choose the SMs to build for. TensorRT-RTX builds for SMs that it lists, TensorRT for this machine's GPU.

    library: what builds.
    option: the value of `--sm`, such as "75,86" or "all"; None means all that are possible.
    Errors: not a number, an unknown SM, one that the library does not build for, no GPU for TensorRT.
    """
    sms = None if option in (None, ALL) else _parse(str(option))
    if library.backend == "tensorrt":
        return _for_this_gpu(library, option, sms)
    listed = listed_sms(library)
    for sm in sms or ():
        if sm not in listed:
            raise HideNerfError(
                f"--sm {sm}: {library.title} does not build for SM {sm} ({GPUS[sm]}), only for {_joined(listed)}; "
                "leave it out, or use --backend tensorrt on a machine with that GPU."
            )
    return Targets(library, sms or listed, lenient=sms is None)


def listed_sms(library: Library) -> tuple[int, ...]:
    """SMs that TensorRT-RTX can build for, ascending."""
    names = library.trt.ComputeCapability.__members__
    return tuple(sorted(int(name[2:]) for name in names if name.startswith("SM")))


def _parse(option: str) -> tuple[int, ...]:
    numbers = set()
    for part in option.split(","):
        if not part.strip().isdecimal() or int(part) not in GPUS:
            raise HideNerfError(
                f"--sm {option}: {part.strip()!r} is no SM known here; give {_joined(GPUS)} or {ALL!r}, "
                "several separated by commas."
            )
        numbers.add(int(part))
    return tuple(sorted(numbers))


def _for_this_gpu(library: Library, option: str | None, sms: tuple[int, ...] | None) -> Targets:
    here = _sm_of_this_machine(library)
    if option == ALL or (sms is not None and sms != (here,)):
        raise HideNerfError(
            f"--sm {option}: {library.title} builds only for the GPU of this machine, SM {here}; leave out --sm, or "
            "build ahead of time with --backend tensorrt-rtx."
        )
    return Targets(library, (here,), lenient=False)


def _sm_of_this_machine(library: Library) -> int:
    try:
        return gpu_sm()
    except NoGpuError as error:
        raise HideNerfError(
            f"{library.title} builds engines on the GPU that is to run them, and none is usable here ({error.reason}); "
            "run this on that machine, or build ahead of time with --backend tensorrt-rtx."
        ) from None
    except HideNerfError:
        raise HideNerfError(
            "--backend tensorrt needs the Python package cuda-core to know the GPU; install it with: "
            "pip install 'hidenerf[tensorrt]'"
        ) from None


def _joined(sms: Iterable[int]) -> str:
    return ", ".join(map(str, sms))
