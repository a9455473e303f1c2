"""The shipped source and motion."""

import importlib.resources
from pathlib import Path


def demo_source_path() -> Path:
    """The shipped prepared source: a synthetic head."""
    return Path(str(importlib.resources.files("hidenerf.runtime.data") / "demo_source.npz"))


def demo_motion_path() -> Path:
    """The shipped motion, five seconds."""
    return Path(str(importlib.resources.files("hidenerf.runtime.data") / "demo_motion.npz"))
