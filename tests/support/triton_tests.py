"""What tests of Triton kernels share: on a GPU they run there, elsewhere in Triton's interpreter.

Importing this skips the module that does where Triton is missing.
"""

import os
from unittest import mock

import pytest
import torch

EXACT = torch.float64
GPU = torch.cuda.is_available()
# Triton decides at its import whether it interprets.
with mock.patch.dict(os.environ, {} if GPU else {"TRITON_INTERPRET": "1"}):
    pytest.importorskip("triton", reason="Triton is not installed: it comes with PyTorch for CUDA")
