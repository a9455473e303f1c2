"""hidenerf: HiDe-NeRF talking heads on edge GPUs. The parts of the package are the checkout's top folders."""

__version__ = "0.2.0"
