"""Prepared stills of people made up, whose every pose and expression is known."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from hidenerf.model.config import PRESETS, ModelConfig
from hidenerf.runtime.camera import canonical_camera
from hidenerf.training.data.clips.file import Clip, ClipFile, ClipFrame, encode_frame, open_clip, save_clip
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.pair_rendering import render_pairs
from hidenerf.training.data.synthetic.people import Pair, make_pair

SIZE = 128
CONFIG: ModelConfig = replace(
    PRESETS["demo"], name="small", image_size=SIZE, render_size=32, secc_size=64, plane_sizes=(16, 32, 64)
)


def frontal_pair(number: int, yaw: float = 20.0, light: float = 1.0) -> Pair:
    """Somebody seen nearly from in front, at rest, as source; and turned, as target. light: 0 is even light."""
    pair = make_pair(load_head_mesh().face_model, number)
    look = dict(pair.person.look)
    if light == 0:
        for name in ("key", "fill"):
            look[name] = np.zeros(3, np.float32)
        look["sky"] = look["ground"] = np.ones(3, np.float32)
    style = replace(pair.person.style, curtain_end=None, body=True)
    look["fading"] = np.zeros(1, np.float32)
    rest = np.zeros_like(pair.expression)
    return replace(
        pair,
        person=replace(pair.person, style=style, look=look),
        source_expression=rest,
        expression=rest,
        source_camera=canonical_camera(yaw=3, pitch=2),
        camera=canonical_camera(yaw=yaw),
    )


def write_painted_portrait(path: Path, pair: Pair) -> ClipFile:
    """The source of a pair as a prepared still."""
    model = load_head_mesh().face_model
    batch = render_pairs(CONFIG, torch.device("cpu"), [pair])
    picture, mask = (
        (255 * values[0]).round().permute(1, 2, 0).numpy().astype(np.uint8)
        for values in (batch.source_image, batch.source_mask)
    )
    clip = Clip(
        source=path.name,
        origin="made up",
        face_model=model.name,
        expression_names=model.expression_names,
        size=SIZE,
        fps=Fraction(1),
        number=np.arange(1),
        identity=pair.person.identity,
        expression=pair.source_expression[None],
        camera=pair.source_camera[None],
    )
    save_clip(clip, [encode_frame(ClipFrame(picture, mask[..., 0], np.zeros_like(mask[..., 0])))], path)
    return open_clip(path)
