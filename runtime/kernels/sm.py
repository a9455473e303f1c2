"""The GPU's SM: its compute capability as a number, 86 for 8.6."""

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.compile import cuda_core


class NoGpuError(HideNerfError):
    """No GPU is usable. reason: what CUDA says of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"No NVIDIA GPU is usable ({reason}); run with --backend onnxruntime-cpu.")
        self.reason = reason


def gpu_sm() -> int:
    """SM of the first GPU, which becomes current for this thread.

    Errors: `NoGpuError` without a usable GPU, another `HideNerfError` without cuda-core.
    """
    core = cuda_core()
    try:
        device = core.Device()
        device.set_current()
        major, minor = device.compute_capability
    except Exception as error:  # cuda-core raises its own types
        raise NoGpuError(str(error)) from None
    return 10 * int(major) + int(minor)
