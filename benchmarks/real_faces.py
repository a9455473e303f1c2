"""Real faces: scores of checkpoints on portraits, turned and driven, on clips, and on turned synthetic heads.

    python benchmarks/real_faces.py CHECKPOINT... --portraits PREPARED --clips PREPARED --out FOLDER

Both folders hold prepared clips of hidenerf-clips. CHECKPOINT may be NAME=FILE. The PyTorch networks run on the CPU,
with the same hoisting as a bundle. Needs dlib-bin and face_recognition_models; no loss uses dlib's recogniser. ID
distances are Euclidean: below 0.6 two faces are of one person. A face that is not found counts as 1.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hidenerf.commands.errors import user_errors
from hidenerf.model.alignment import SourceView, align
from hidenerf.model.checkpoint import load_checkpoint
from hidenerf.model.config import UNALIGNED, ModelConfig
from hidenerf.model.hidenerf import HideNerf, frame_to_uint8
from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.defaults import demo_motion_path
from hidenerf.runtime.face_model import default_face_model_path, load_face_model
from hidenerf.runtime.face_sight import face_sight, sight_colours
from hidenerf.runtime.motion import load_motion
from hidenerf.runtime.resting_face import with_rest_of
from hidenerf.runtime.secc import secc
from hidenerf.runtime.video.pictures import resized
from hidenerf.training.data.batch import Batch
from hidenerf.training.data.clips.file import CLIP_SUFFIX, ClipFile, open_clip
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.pair_rendering import render_pairs
from hidenerf.training.data.synthetic.people import make_held_out_pair, portrait_person
from hidenerf.training.data.synthetic.portrait_reading import read_portrait_skins
from hidenerf.training.evaluation.metrics import image_scores, rounded

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
# Scores by metric.
Scores = dict[str, list[float]]

# Yaws of turned portraits, degrees; times in the demo motion, shares of its length; yaw of synthetic heads, degrees.
YAWS = (-30, -15, 15, 30)
MOMENTS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
SYNTHETIC_YAW = 30
# Side of the pictures for dlib's detector, pixels.
DETECTOR_SIZE = 512


class Recogniser:
    """dlib's face detector, five-point predictor and face recogniser. Errors: ImportError without the packages."""

    def __init__(self) -> None:
        import dlib
        import face_recognition_models as files

        self._detect = dlib.get_frontal_face_detector()
        self._points = dlib.shape_predictor(files.pose_predictor_five_point_model_location())
        self._network = dlib.face_recognition_model_v1(files.face_recognition_model_location())

    def shape(self, picture: Picture) -> Any:
        """dlib's five points of the first face in a picture [H, W, 3]; None without a face."""
        large = self._large(picture)
        found = self._detect(large, 0)
        return self._points(large, found[0]) if len(found) else None

    def describe(self, picture: Picture, shape: Any = None) -> Floats | None:
        """Descriptor [128] of a face; None without a face.

        picture: [H, W, 3].
        shape: five points to align by; None takes those of the first face.
        """
        shape = self.shape(picture) if shape is None else shape
        if shape is None:
            return None
        return np.array(self._network.compute_face_descriptor(self._large(picture), shape), np.float32)

    @staticmethod
    def _large(picture: Picture) -> Picture:
        return np.asarray(cv2.resize(picture, (DETECTOR_SIZE, DETECTOR_SIZE), interpolation=cv2.INTER_CUBIC), np.uint8)


def distance(one: Floats | None, other: Floats) -> float:
    """ID distance of two descriptors [128]; 1 if the first is missing."""
    return 1.0 if one is None else float(np.linalg.norm(one - other))


class Subject:
    """A model with one source; what depends on the source alone is computed once.

    picture: [S, S, 3]. A model of smaller frames sees it reduced, and its frames are enlarged (bicubic).
    camera: [25].
    identity: [K].
    expression: [E].
    """

    face = load_face_model(default_face_model_path())

    @torch.no_grad()
    def __init__(self, model: HideNerf, picture: Picture, camera: Floats, identity: Floats, expression: Floats) -> None:
        self._model, self._identity = model, identity
        self._size = len(picture)
        picture = resized(picture, model.config.image_size)
        self._picture = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
        view = torch.from_numpy(camera.copy())[None]
        vertices = self._vertices(expression)
        self._canonical = self._secc(vertices)
        self._planes = model.appearance(self._picture, view)
        self._maps = model.refiner.fold(model.id_encoder(self._picture))
        aligned = model.config.alignment != UNALIGNED
        self._view: SourceView | None = model.source_view(self._planes, self._canonical, view) if aligned else None
        self._colours = sight_colours(self.face, vertices, camera)

    @torch.no_grad()
    def draw(self, expression: Floats, camera: Floats) -> Picture:
        """A frame [S, S, 3] with an expression [E] and a camera [25]."""
        model, view = self._model, torch.from_numpy(np.array(camera, np.float32))[None]
        vertices = self._vertices(expression)
        deformation = model.deformation(self._secc(vertices), self._canonical, model.ray_points(view))
        rendered, alpha, place = model.renderer.placed(deformation, view, self._planes)
        alignment = None
        if self._view is not None:
            drawn = face_sight(self.face, vertices, camera, self._colours, model.config.image_size)
            alignment = align(self._view, place, alpha, torch.from_numpy(drawn)[None])
        frame, _ = model.refiner.forward_folded(rendered, alpha, self._maps, alignment, self._picture)
        return resized(np.asarray(frame_to_uint8(frame).numpy(), np.uint8), self._size)

    def _vertices(self, expression: Floats) -> Floats:
        """Of face and teeth."""
        return self.face.vertices_with_teeth(self._identity, np.asarray(expression, np.float32))

    def _secc(self, vertices: Floats) -> Tensor:
        return torch.from_numpy(secc(vertices[: len(self.face.mean)], self.face, self._model.config.secc_size))[None]


def turned(camera: Floats, degrees: float) -> Floats:
    """A camera [25] rotated about the vertical axis through the head."""
    changed = camera.copy()
    angle = np.radians(degrees)
    turn = np.eye(4, dtype=np.float32)
    turn[0, 0] = turn[2, 2] = np.cos(angle)
    turn[0, 2], turn[2, 0] = np.sin(angle), -np.sin(angle)
    changed[:16] = (turn @ changed[:16].reshape(4, 4)).ravel()
    return changed


def portraits(model: HideNerf, files: list[ClipFile], recogniser: Recogniser) -> tuple[Scores, list[Picture]]:
    """ID distances of portraits, and a row of pictures for each: source, own pose, YAWS, every other one of MOMENTS.

    files: prepared clips; the first frame of each is a portrait. Portraits without a detected face are left out.
    """
    motion = load_motion(demo_motion_path())
    moments = [int(len(motion.expression) * moment) for moment in MOMENTS]
    figures: Scores = {}
    rows = []
    for file in files:
        clip, source = file.clip, file.frame(0).read().picture
        expected = recogniser.describe(source)
        if expected is None:
            click.echo(f"{file.path.name}: dlib finds no face in the portrait")
            continue
        expression, camera = clip.expression[0], clip.camera[0]
        subject = Subject(model, source, camera, clip.identity, expression)
        own = subject.draw(expression, camera)
        views = [subject.draw(expression, turned(camera, yaw)) for yaw in YAWS]
        expressions = [
            with_rest_of(expression, motion.expression[moment], motion.expression_names) for moment in moments
        ]
        cameras = (motion.camera[moment] for moment in moments)
        driven = [subject.draw(*pose) for pose in zip(expressions, cameras, strict=True)]
        by_yaw = {yaw: distance(recogniser.describe(view), expected) for yaw, view in zip(YAWS, views, strict=True)}
        found = {
            "ID own": distance(recogniser.describe(own), expected),
            "ID ±15°": (by_yaw[-15] + by_yaw[15]) / 2,
            "ID ±30°": (by_yaw[-30] + by_yaw[30]) / 2,
            "ID driven": float(np.mean([distance(recogniser.describe(frame), expected) for frame in driven])),
        }
        for name, value in found.items():
            figures.setdefault(name, []).append(value)
        rows.append(np.hstack([source, own, *views, *driven[::2]]))
    return figures, rows


def clips(model: HideNerf | None, files: list[ClipFile], frames: int, recogniser: Recogniser) -> Scores:
    """Self-reenactment scores of clips: the first frame is the source, later ones are driving frames and truths.

    model: None scores the source itself as output.
    frames: of each clip, evenly spread.
    """
    figures: Scores = {}
    for file in files:
        clip, first = file.clip, file.frame(0).read()
        subject = model and Subject(model, first.picture, clip.camera[0], clip.identity, clip.expression[0])
        rows: Scores = {}
        for index in np.unique(np.linspace(1, len(clip) - 1, frames).astype(int)):
            truth = file.frame(int(index)).read()
            out = subject.draw(clip.expression[index], clip.camera[index]) if subject else first.picture
            inside, region = truth.mask > 127, truth.region > 127
            shape = recogniser.shape(truth.picture)
            found = {
                "clip PSNR-M": psnr(out, truth.picture, inside),
                "clip SSIM-M": float(ssim_map(out, truth.picture)[inside].mean()),
                "clip mouth+eyes": psnr(out, truth.picture, region),
                "clip energy": energy(out, inside) / energy(truth.picture, inside),
            }
            if shape is not None:
                found["clip ID"] = distance(recogniser.describe(out, shape), recogniser.describe(truth.picture, shape))  # type: ignore[arg-type]
            for name, value in found.items():
                rows.setdefault(name, []).append(value)
        for name, values in rows.items():
            figures.setdefault(name, []).append(float(np.mean(values)))
    return figures


def psnr(picture: Picture, truth: Picture, inside: NDArray[np.bool_]) -> float:
    """PSNR of a picture [S, S, 3] within a mask [S, S], dB."""
    error = ((picture.astype(float) - truth)[inside] ** 2).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def ssim_map(picture: Picture, truth: Picture) -> NDArray[np.float64]:
    """SSIM by pixel [S, S], mean over the channels; Gaussian windows with σ 1.5 (Wang et al. 2004)."""
    one, other = picture.astype(np.float64), truth.astype(np.float64)

    def blurred(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5), np.float64)

    means = blurred(one), blurred(other)
    variances = [blurred(values * values) - mean**2 for values, mean in zip((one, other), means, strict=True)]
    covariance = blurred(one * other) - means[0] * means[1]
    above = (2 * means[0] * means[1] + 6.5025) * (2 * covariance + 58.5225)
    below = (means[0] ** 2 + means[1] ** 2 + 6.5025) * (variances[0] + variances[1] + 58.5225)
    return np.asarray((above / below).mean(2), np.float64)


def energy(picture: Picture, inside: NDArray[np.bool_]) -> float:
    """Gradient energy of a picture [S, S, 3]: mean Sobel magnitude of its grey values within a mask [S, S]."""
    grey = picture.astype(np.float64).mean(2)
    return float(np.hypot(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1))[inside].mean())


def turned_heads(config: ModelConfig, people: int, skins: Path | None) -> Batch:
    """Pairs of held-out synthetic people: the source is frontal, the target is turned by SYNTHETIC_YAW to either side.

    people: their number.
    skins: folder of prepared stills whose skin the heads get; None for painted skin.
    """
    device, model = torch.device("cpu"), load_head_mesh().face_model
    portraits = None if skins is None else read_portrait_skins(skins, config, 1.0, 1)
    pairs = []
    for index in range(people):
        pair = make_held_out_pair(model, index)
        yaw = SYNTHETIC_YAW * (1 - 2 * (index % 2))
        if portraits is not None:
            number = index * len(portraits.portraits) // people
            random = np.random.default_rng(index)
            person = portrait_person(portraits.portraits[number], number, pair.person.look, random)
            pair = dataclasses.replace(pair, person=person)
        pairs.append(dataclasses.replace(pair, source_camera=canonical_camera(), camera=canonical_camera(yaw)))
    return render_pairs(config, device, pairs, skins=portraits)


def synthetic(model: HideNerf, heads: Batch, name: str) -> tuple[Scores, list[Picture]]:
    """Scores of `turned_heads`, and a row of pictures for each: source, truth, frame. name: prefix of the metrics."""
    figures: Scores = {}
    rows = []
    for index in range(len(heads.camera)):
        batch = Batch(*(values[index : index + 1] for values in heads))
        with torch.no_grad():
            output = model(
                *(batch.source_image, batch.source_camera, batch.secc_canonical, batch.secc_driving),
                *(batch.camera, batch.face_sight),
            )
        frame = output.frame.clamp(0, 1)
        for found in image_scores(frame, output.alpha, batch):
            for kind in ("PSNR masked", "SSIM masked", "PSNR mouth+eyes", "silhouette IoU", "gradient energy"):
                figures.setdefault(f"{name} 30° {kind}", []).append(found[kind])
        together = torch.cat([batch.source_image, batch.target, frame], 3)
        rows += list(rounded(together))
    return figures, rows


@click.command(context_settings={"show_default": True})
@click.argument("checkpoints", nargs=-1, required=True)
@click.option("--portraits", "portrait_folder", type=click.Path(path_type=Path), help="Prepared pictures.")
@click.option("--clips", "clip_folder", type=click.Path(path_type=Path), help="Prepared clips.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for tables and sheets.")
@click.option("--count", type=int, default=12, help="Portraits, evenly spread.")
@click.option("--frames", type=int, default=8, help="Of each clip.")
@click.option("--people", type=int, default=12, help="Synthetic people.")
@click.option("--skins", type=click.Path(path_type=Path), help="Stills for real skin on further synthetic people.")
@click.option("--still", is_flag=True, help="Also the source of each clip held still.")
@user_errors()
def main(
    checkpoints: tuple[str, ...],
    portrait_folder: Path | None,
    clip_folder: Path | None,
    out: Path,
    count: int,
    frames: int,
    people: int,
    skins: Path | None,
    still: bool,
) -> None:
    """Score checkpoints on real faces: print the table, and write FOLDER/real-faces.json and a sheet a checkpoint."""
    # More threads wait for each other where other work shares the cores.
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    recogniser = Recogniser()
    subjects = _prepared(portrait_folder)
    subjects = [subjects[number * len(subjects) // count] for number in range(min(count, len(subjects)))]
    clip_files = _prepared(clip_folder)
    path = out / "real-faces.json"
    results: dict[str, Scores] = json.loads(path.read_text()) if path.exists() else {}
    if still and clip_files:
        results["source held still"] = clips(None, clip_files, frames, recogniser)
    heads: dict[str, Batch] = {}
    for given in checkpoints:
        name, _, file = given.rpartition("=")
        name = name or Path(file).stem
        model = load_checkpoint(Path(file))
        figures: Scores = {}
        if subjects:
            found, rows = portraits(model, subjects, recogniser)
            figures |= found
            _sheet(rows, out / f"{name}.portraits.png")
        if clip_files:
            figures |= clips(model, clip_files, frames, recogniser)
        for kind, folder in (("painted", None), ("real skin", skins)):
            if people and (folder is not None or kind == "painted"):
                if kind not in heads:
                    heads[kind] = turned_heads(model.config, people, folder)
                found, rows = synthetic(model, heads[kind], kind)
                figures |= found
                _sheet(rows, out / f"{name}.{kind.replace(' ', '-')}.png")
        results[name] = {**results.get(name, {}), **figures}
        path.write_text(json.dumps(results, indent=1) + "\n")
        click.echo(table({name: results[name]}))
    click.echo(table(results))


def table(results: dict[str, Scores]) -> str:
    """Mean scores as a Markdown table. results: scores by checkpoint."""
    columns = list(dict.fromkeys(column for figures in results.values() for column in figures))
    lines = [["checkpoint", *columns], ["---"] * (len(columns) + 1)]
    for name, figures in results.items():
        lines.append([name, *(f"{np.nanmean(figures[c]):.3f}" if c in figures else "–" for c in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _prepared(folder: Path | None) -> list[ClipFile]:
    return [] if folder is None else [open_clip(path) for path in sorted(folder.rglob(f"*{CLIP_SUFFIX}"))]


def _sheet(rows: list[Picture], path: Path) -> None:
    if rows:
        cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])


if __name__ == "__main__":
    main()
