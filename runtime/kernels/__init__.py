"""CUDA kernels of the runtime: headers without a framework (*.cuh), and Python that compiles and launches them."""
