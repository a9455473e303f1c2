"""CUDA kernels of the runtime: framework-free headers (*.cuh), and thin Python that compiles and launches them."""
