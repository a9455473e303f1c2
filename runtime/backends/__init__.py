"""Backends: what runs a bundle's graphs. registry.py lists them, open.py opens one, base.py is their interface."""

from hidenerf.runtime.backends.registry import BACKEND_NAMES

__all__ = ["BACKEND_NAMES"]
