"""Shapes of layers for which tiles are chosen."""

from hidenerf.runtime.kernels.convolution_tiles import LayerShape

# Kinds of layers of the refiners of `demo`, `demo512` and `base`, and of LED.
LAYERS = {
    "demo's first": LayerShape(64, 64, 48, (40,), 3, 1, 0),
    "demo's coarsest": LayerShape(16, 16, 128, (128,), 3, 1, 0),
    "demo's downwards": LayerShape(16, 16, 128, (96,), 3, 2, 0),
    "demo's skip": LayerShape(32, 32, 96, (96, 128), 3, 1, 1),
    "demo's detail": LayerShape(256, 256, 32, (8,), 3, 1, 0),
    "enlarger": LayerShape(256, 256, 32, (24, 16), 3, 1, 3),
    "base's coarsest": LayerShape(32, 32, 256, (256,), 3, 1, 0),
    "base's downwards": LayerShape(32, 32, 256, (128,), 3, 2, 0),
    "base's finest": LayerShape(512, 512, 32, (64,), 3, 1, 0),
    "base's head": LayerShape(512, 512, 8, (32,), 3, 1, 0),
    "demo's concatenation in LED": LayerShape(64, 64, 128, (224,), 3, 1, 0),
    "demo's coarsest in LED": LayerShape(8, 8, 160, (160,), 3, 1, 0),
    "demo's enlargement in LED": LayerShape(16, 16, 128, (160, 128), 3, 1, 3),
    "base's enlargement in LED": LayerShape(128, 128, 96, (128, 96), 3, 1, 3),
    "base's head in LED": LayerShape(128, 128, 144, (96,), 3, 1, 0),
    "looked up": LayerShape(128, 128, 8, (64,), 1, 1, 0),
    "one by one": LayerShape(64, 64, 96, (96,), 1, 1, 0),
    "five by five": LayerShape(64, 64, 48, (8,), 5, 2, 0),
}
