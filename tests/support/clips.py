"""Small prepared clips, made without the tracker: squares in random colours before black."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from hidenerf.runtime.camera import canonical_camera
from hidenerf.training.data.clips.drawing import clip_face_model
from hidenerf.training.data.clips.file import Clip, ClipFrame, encode_frame, save_clip


def make_clip(frames: int = 5, size: int = 32, seed: int = 0) -> tuple[Clip, list[ClipFrame]]:
    """A clip of one person whose head turns, and its frames."""
    random = np.random.default_rng(seed)
    model = clip_face_model()
    clip = Clip(
        source=f"{seed}.mp4",
        origin="made up",
        face_model=model.name,
        expression_names=model.expression_names,
        size=size,
        fps=Fraction(30000, 1001),
        number=np.arange(frames) * 3,
        identity=random.uniform(-0.5, 0.5, len(model.identity_names)).astype(np.float32),
        expression=random.uniform(0, 0.5, (frames, len(model.expression_names))).astype(np.float32),
        camera=np.array([canonical_camera(yaw=5 * index + seed) for index in range(frames)]),
    )
    return clip, [_frame(random, size) for _ in range(frames)]


def _frame(random: np.random.Generator, size: int) -> ClipFrame:
    mask = np.zeros((size, size), np.uint8)
    mask[size // 4 : -size // 4, size // 4 : -size // 4] = 255
    mask[size // 4] = 100
    region = np.zeros_like(mask)
    region[size // 2 : size // 2 + 3, size // 3 : size // 2] = 255
    # One colour a frame, so that JPEG changes little.
    picture = np.broadcast_to(random.integers(40, 256, 3), (size, size, 3)) * (mask[..., None] / 255)
    return ClipFrame(picture.astype(np.uint8), mask, region)


def write_clip_file(path: Path, frames: int = 5, size: int = 32, seed: int = 0) -> tuple[Clip, list[ClipFrame]]:
    """The same, in a file."""
    clip, pictures = make_clip(frames, size, seed)
    save_clip(clip, [encode_frame(frame) for frame in pictures], path)
    return clip, pictures
