"""How well people are cut out of portraits, against mattes of the same pictures, and how long it takes.

    python benchmarks/cut_out_quality.py PICTURES MATTES --face-landmarker face_landmarker.task [--matting isnet.onnx]
    python benchmarks/cut_out_quality.py --clip CLIP --face-landmarker face_landmarker.task

The first prints a table in Markdown, the second how much the mask flickers in a clip as it is prepared for training:
the mean over pixels of its change from frame to frame, and of its second difference, which steady motion leaves small.

Errors of portraits are those inside of the aligned crop, where the picture has pixels: the mean absolute error of the
mask, the intersection over union at one half, and, near to the matte's edge above the chin, the mean absolute error of
the length of its gradient (Rhemann et al., CVPR 2009; of a Gaussian, sigma 1.4 pixels).
"""

import argparse
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.sources.alignment import align, warp
from hidenerf.runtime.sources.cut_out import below_and_aside, grown, person_mask, triangle_mask
from hidenerf.runtime.sources.matting import cut_out_person, seen_opacity
from hidenerf.runtime.sources.matting_network import MattingNetwork, open_matting_network
from hidenerf.runtime.tracking.identity_fit import fit_face
from hidenerf.runtime.tracking.landmarker import FaceLandmarker
from hidenerf.runtime.tracking.pose import project_head
from hidenerf.runtime.tracking.search import find_faces, select_face
from hidenerf.runtime.video.pictures import read_picture_with_alpha
from hidenerf.training.data.clips.file import open_clip, save_clip
from hidenerf.training.data.clips.preparation import ClipOptions, prepare_clip

Mask = NDArray[np.uint8]
Array = NDArray[np.float64]

# Pixels this near to the matte's edge are the hair's, a share of the crop's side.
HAIR_BAND = 0.04
GRADIENT_SIGMA = 1.4


@dataclass(frozen=True)
class Portrait:
    """A picture with its fitted head, the crop of it, and its matte in the crop."""

    name: str
    picture: Mask
    matrix: Array
    crop: Mask
    inside: Mask
    vertices: Array
    matte: Mask


def read_portrait(path: Path, matte: Path, landmarker: FaceLandmarker, face_model: FaceModel, size: int) -> Portrait:
    """Fit the head and crop. Errors: those of reading and of finding the face."""
    picture, _ = read_picture_with_alpha(path)
    grey, _ = read_picture_with_alpha(matte)
    fit = fit_face(select_face(find_faces(landmarker, picture), None, str(path)), face_model, *picture.shape[:2])
    matrix = align(fit.pose, fit.intrinsics, size).matrix
    pixels = project_head(face_model.vertices(fit.identity, fit.expression), fit.pose, fit.intrinsics)
    whole = np.full(picture.shape[:2], 255, np.uint8)
    return Portrait(
        path.name,
        picture,
        matrix,
        warp(picture, matrix, size, cv2.BORDER_REPLICATE),
        warp(whole, matrix, size, cv2.BORDER_CONSTANT),
        pixels @ matrix[:, :2].T + matrix[:, 2],
        warp(np.ascontiguousarray(grey[..., 1]), matrix, size, cv2.BORDER_CONSTANT),
    )


def errors(found: Mask, one: Portrait, face_model: FaceModel) -> tuple[float, float, float]:
    """Mean absolute error, intersection over union, and gradient error at the hair, each times 100."""
    shown = one.inside > 250
    opacity, matte = found / 255, one.matte / 255
    person, reference = (opacity > 0.5) & shown, (matte > 0.5) & shown
    below, _ = below_and_aside(triangle_mask(one.vertices, face_model.triangles, len(found)))
    edge = cv2.morphologyEx(reference.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    hair = (grown(np.asarray(edge, np.uint8), HAIR_BAND) > 0) & (below < 0) & shown
    return (
        100 * float(np.abs(opacity - matte)[shown].mean()),
        100 * float((person & reference).sum() / max(1, (person | reference).sum())),
        100 * float(np.abs(gradient(opacity) - gradient(matte))[hair].mean()),
    )


def gradient(opacity: Array) -> Array:
    """The length of an opacity's gradient, per pixel."""
    smooth = cv2.GaussianBlur(opacity, (0, 0), GRADIENT_SIGMA)
    across, down = (cv2.Sobel(smooth, cv2.CV_64F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    return np.asarray(np.hypot(across, down))


def ways(
    shipped: MattingNetwork, other: MattingNetwork | None, model: FaceModel
) -> dict[str, Callable[[Portrait], Mask]]:
    """Ways to cut a portrait out, by name."""

    def by_colour(one: Portrait) -> Mask:
        return np.minimum(person_mask(one.crop, one.inside, one.vertices, model), one.inside)

    def unrefined(one: Portrait) -> Mask:
        opacity, _ = seen_opacity(shipped, one.picture, one.matrix, len(one.crop))
        return np.minimum((255 * opacity).round().astype(np.uint8), one.inside)

    def by(network: MattingNetwork) -> Callable[[Portrait], Mask]:
        return lambda one: cut_out_person(one.picture, one.matrix, one.crop, one.inside, one.vertices, model, network)

    found = {"GrabCut": by_colour, "shipped network alone": unrefined, "shipped network, refined": by(shipped)}
    return found if other is None else found | {f"{other.path.name}, refined": by(other)}


def flicker(
    clip: Path, landmarker: FaceLandmarker, model: FaceModel, network: MattingNetwork | None
) -> tuple[float, float]:
    """Mean absolute change and second difference of a prepared clip's masks, shares of 1."""
    prepared = prepare_clip(clip, model, landmarker, ClipOptions(256), network=network)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.npz"
        save_clip(prepared.clip, prepared.frames, path)
        file = open_clip(path)
        masks = np.array([file.frame(index).read().mask for index in range(len(file.clip))]) / 255
    return float(np.abs(np.diff(masks, axis=0)).mean()), float(np.abs(np.diff(masks, 2, axis=0)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="?")
    parser.add_argument("mattes", type=Path, nargs="?", help="a matte of the same stem, .png, for each picture")
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--face-landmarker", type=Path)
    parser.add_argument("--matting", type=Path, help="another network to compare")
    parser.add_argument("--every", type=int, default=7, help="take every N-th picture")
    parser.add_argument("--size", type=int, default=512, help="side of the crop")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    model = load_face_model(default_face_model_path())
    shipped = open_matting_network()
    if shipped is None:
        raise SystemExit("onnxruntime is not installed")
    if arguments.clip is not None:
        with FaceLandmarker(arguments.face_landmarker, model.expression_names) as landmarker:
            for name, network in (("GrabCut", None), ("shipped network", shipped)):
                change, second = flicker(arguments.clip, landmarker, model, network)
                print(f"{name}: changes by {100 * change:.3f} %, second difference {100 * second:.3f} %")
        return
    other = open_matting_network(arguments.matting) if arguments.matting else None
    measured: dict[str, list[tuple[float, ...]]] = {name: [] for name in ways(shipped, other, model)}
    with FaceLandmarker(arguments.face_landmarker, model.expression_names) as landmarker:
        for path in sorted(arguments.pictures.iterdir())[:: arguments.every]:
            matte = arguments.mattes / f"{path.stem}.png"
            try:
                one = read_portrait(path, matte, landmarker, model, arguments.size)
            except HideNerfError as error:
                print(error)
                continue
            for name, way in ways(shipped, other, model).items():
                began = time.perf_counter()
                mask = way(one)
                seconds = time.perf_counter() - began
                measured[name].append((*errors(mask, one, model), seconds))
    count = len(measured["GrabCut"])
    print(f"{count} portraits, crops of {arguments.size} × {arguments.size}; mean (worst)\n")
    print("| | mean absolute error, % | IoU, % | gradient error at the hair, % | time over GrabCut's |")
    print("|---|---|---|---|---|")
    usual = np.median([row[3] for row in measured["GrabCut"]])
    for name, rows in measured.items():
        table = np.array(rows)
        worst = table[:, 0].max(), table[:, 1].min(), table[:, 2].max()
        cells = [f"{mean:.2f} ({end:.2f})" for mean, end in zip(table[:, :3].mean(axis=0), worst, strict=True)]
        print(f"| {name} | {' | '.join(cells)} | {np.median(table[:, 3]) / usual:.2f} |")


if __name__ == "__main__":
    main()
