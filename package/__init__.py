"""The package `hidenerf`: HiDe-NeRF talking heads on edge GPUs. Its parts are the other top folders of the checkout."""

__version__ = "0.2.0"
