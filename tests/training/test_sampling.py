"""The fast look-ups against the model's own (which FP64 loops pin), in FP64 in Triton's interpreter."""

import os

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed: it comes with PyTorch for CUDA")
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
