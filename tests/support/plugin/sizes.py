"""Renderers and a version of TensorRT that the product's own plugin library is built for in tests."""

import dataclasses

from hidenerf.runtime.kernels.sizes import RendererSizes

SMALL = RendererSizes(render_size=9, samples=6, rendered=5, levels=2, channels=16, finest=16, width=24, octaves=3)
OTHER = dataclasses.replace(SMALL, samples=8)
VERSION = "10.12.0.36"
