"""The lean runtime: no torch, no onnx. `from hidenerf.runtime import Animator` is the Python API."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hidenerf.runtime.animator import AnimatedFrame, Animator
    from hidenerf.runtime.errors import HideNerfError
    from hidenerf.runtime.retarget import View

__all__ = ["AnimatedFrame", "Animator", "HideNerfError", "View"]


def __getattr__(name: str) -> Any:
    """Import on first use: the command line must not wait for OpenCV to print its help."""
    if name in ("Animator", "AnimatedFrame"):
        from hidenerf.runtime import animator

        return getattr(animator, name)
    if name == "HideNerfError":
        from hidenerf.runtime.errors import HideNerfError

        return HideNerfError
    if name == "View":
        from hidenerf.runtime.retarget import View

        return View
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
