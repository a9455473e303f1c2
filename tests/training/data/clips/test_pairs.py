"""Batches of real clips: two frames of one clip each, what is wrong with a folder said, and training on them."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from hidenerf.commands.train import main
from hidenerf.model.config import PRESETS
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.secc import secc
from hidenerf.runtime.tracking.landmarker import FaceLandmarker
from hidenerf.training.data.batch import Batch, mirrored, mirrored_secc
from hidenerf.training.data.clips.drawing import clip_face_model
from hidenerf.training.data.clips.file import ClipFile, save_clip
from hidenerf.training.data.clips.pairs import ClipPairs, likelihoods, read_clips, shown_pairs
from hidenerf.training.data.clips.preparation import ClipOptions, prepare_clip
from hidenerf.training.data.synthetic.geometry import SeccChoice
from hidenerf.training.loop.trainer import PhaseClock
from tests.support.clips import write_clip_file
from tests.support.media import read_bgr
from tests.support.tiny import TINY
from tests.support.tiny_training import CPU, tiny_trainer

DEVICE = torch.device("cpu")
SIZE, SECC = TINY.image_size, TINY.secc_size


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[ClipFile]:
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "below").mkdir()
    for seed, name in enumerate(("a", "below/b", "c")):
        write_clip_file(folder / f"{name}.npz", frames=12, size=SIZE, seed=seed)
    (folder / ".half.1.part.npz").write_bytes(b"half written")
    return read_clips(folder, TINY)


def test_a_clip_counts_by_its_frames_up_to_a_bound(tmp_path: Path) -> None:
    for name, frames in (("long", 40), ("short", 4), ("still", 1)):
        write_clip_file(tmp_path / f"{name}.npz", frames=frames, size=SIZE, seed=0)
    # 16 of 40 frames count.
    assert likelihoods(read_clips(tmp_path, TINY)).tolist() == pytest.approx([16 / 21, 4 / 21, 1 / 21])


def check(batch: Batch, count: int) -> None:
    """Shapes, kinds and ranges of `Batch`'s docstring."""
    expected = {
        "source_image": (count, 3, SIZE, SIZE),
        "source_camera": (count, 25),
        "secc_canonical": (count, 3, SECC, SECC),
        "secc_driving": (count, 3, SECC, SECC),
        "camera": (count, 25),
        "target": (count, 3, SIZE, SIZE),
        "mask": (count, 1, SIZE, SIZE),
        "region": (count, 1, SIZE, SIZE),
        "source_mask": (count, 1, SIZE, SIZE),
        "surface": (count, 3, SECC // 2, SECC // 2),
        "source_surface": (count, 3, SECC // 2, SECC // 2),
        "face_sight": (count, 4, SIZE, SIZE),
        "trusted": (count, 1, SIZE, SIZE),
    }
    assert {name: tuple(values.shape) for name, values in batch._asdict().items()} == expected
    for name, values in batch._asdict().items():
        assert values.dtype == torch.float32, name
        if "surface" in name:
            assert 0.3 < values.abs().max() <= 1, name
        elif "camera" not in name:
            assert values.min() == (name == "trusted"), name
            assert 0.3 < values.max() <= 1, name


def test_clips_are_found_in_folders_below(clips: list[ClipFile]) -> None:
    assert [file.path.name for file in clips] == ["a.npz", "b.npz", "c.npz"]


def test_draws_are_pairs_of_frames_of_one_clip(clips: list[ClipFile]) -> None:
    with ClipPairs(clips, TINY, DEVICE, capacity=64, workers=1, seed=3) as pairs:
        pairs.warm_up(64)
        batch = pairs.sample(256)
        made = pairs.pairs_made
        assert pairs.pairs_per_second > 0
    check(batch, 256)
    # The pairs that the seed stands for, either way round and mirrored.
    random = np.random.default_rng(3)
    known: list[tuple[int, int, int]] = []
    for _ in range(made // 2 + 200):
        clip = int(random.choice(len(clips), p=likelihoods(clips)))
        first, second = random.choice(12, 2, replace=False).tolist()
        known += [(clip, first, second), (clip, second, first)]
    cameras = torch.from_numpy(np.stack([file.clip.camera for file in clips]))
    drawn = []
    for row in range(256):
        one = Batch(*(values[row : row + 1] for values in batch))
        # `canonical_camera` turns to the left only, so that x of the camera tells a mirror image.
        flip = bool(one.source_camera[0, 3] + one.camera[0, 3] > 0) != bool(cameras[0, 1, 3] > 0)
        one = mirrored(one, torch.tensor([flip]))
        source = ((cameras - one.source_camera).abs().amax(-1) < 1e-5).nonzero().tolist()
        target = ((cameras - one.camera).abs().amax(-1) < 1e-5).nonzero().tolist()
        assert len(source) == len(target) == 1
        assert source[0][0] == target[0][0]
        drawn.append((source[0][0], source[0][1], target[0][1], flip))
        for (clip, index), picture, mask in (
            (source[0], one.source_image, one.source_mask),
            (target[0], one.target, one.mask),
        ):
            frame = clips[clip].frame(index).read()
            expected = torch.from_numpy(frame.picture.copy()).permute(2, 0, 1) / 255
            torch.testing.assert_close(picture[0], expected)
            torch.testing.assert_close(mask[0, 0], torch.from_numpy(frame.mask.copy()) / 255)
    assert {pair[:3] for pair in drawn} <= set(known)
    assert all(first != second for _, first, second, _ in drawn)
    assert {clip for clip, *_ in drawn} == {0, 1, 2}
    assert 0.35 < np.mean([flip for *_, flip in drawn]) < 0.65


def test_seccs_are_the_person_s_without_and_with_the_target_s_expression(clips: list[ClipFile]) -> None:
    batch = shown_pairs(clips, TINY, DEVICE, 6, SeccChoice(own_expression=False, posed=False))
    check(batch, 6)
    model = clip_face_model()
    for row in range(6):
        clip = clips[row // 2].clip
        (index,) = (torch.from_numpy(clip.camera) - batch.camera[row]).abs().amax(-1).lt(1e-6).nonzero()[0].tolist()
        for found, expression in (
            (batch.secc_canonical[row], 0 * clip.expression[0]),
            (batch.secc_driving[row], clip.expression[index]),
        ):
            expected = torch.from_numpy(secc(model.vertices(clip.identity, expression), model, SECC))
            torch.testing.assert_close(found, expected, atol=0.5 / 255 + 1e-6, rtol=0)
    again = shown_pairs(clips, TINY, DEVICE, 6, SeccChoice(own_expression=False, posed=False))
    assert all(torch.equal(one, other) for one, other in zip(batch, again, strict=True))
    own = shown_pairs(clips, TINY, DEVICE, 6, SeccChoice(own_expression=True, posed=False))
    assert torch.equal(own.secc_driving, batch.secc_driving)
    assert not torch.equal(own.secc_canonical, batch.secc_canonical)
    assert torch.equal(mirrored(own, torch.ones(6).bool()).secc_canonical, mirrored_secc(own.secc_canonical))


def refusal(folder: Path) -> str:
    with pytest.raises(HideNerfError) as error:
        read_clips(folder, TINY)
    return str(error.value)


def test_a_still_is_paired_with_itself_alone(tmp_path: Path) -> None:
    for seed in range(5, 8):
        write_clip_file(tmp_path / f"{seed}.npz", frames=1, size=SIZE, seed=seed)
    stills = read_clips(tmp_path, TINY)
    assert len(stills) == 3
    with ClipPairs(stills, TINY, DEVICE, capacity=64, workers=1, seed=3) as pairs:
        pairs.warm_up(64)
        batch = pairs.sample(128)
    check(batch, 128)
    assert torch.equal(batch.source_camera, batch.camera)
    assert torch.equal(batch.source_image, batch.target)
    assert torch.equal(batch.secc_canonical, batch.secc_driving)


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere")
    assert "not a folder" in refusal(Path(__file__))
    assert "no prepared clips in this folder; make some with hidenerf-clips" in refusal(tmp_path)
    path = tmp_path / "clip.npz"
    write_clip_file(path, size=64)
    message = refusal(tmp_path)
    assert "prepared for pictures of 64 pixels, but the preset tiny takes 32" in message
    clip, _ = write_clip_file(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **{**arrays, "face_model": "bfm2009"})
    assert "clip.npz: this clip was prepared with another face model (bfm2009) than anny" in refusal(tmp_path)
    np.savez(path, **{**arrays, "identity": clip.identity[:-1]})
    assert "prepared with another face model" in refusal(tmp_path)
    path.write_bytes(b"nonsense")
    assert "clip.npz: not a readable prepared clip" in refusal(tmp_path)


def test_damage_met_while_drawing_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "clip.npz"
    write_clip_file(path, frames=2)
    files = read_clips(tmp_path, TINY)
    content = bytearray(path.read_bytes())
    content[files[0].frame(1).start + 20] ^= 255
    path.write_bytes(content)
    with (
        ClipPairs(files, TINY, DEVICE, capacity=8, workers=1, seed=0) as pairs,
        pytest.raises(HideNerfError, match=r"clip\.npz: the prepared clip is damaged at byte"),
    ):
        pairs.warm_up(8)


def test_a_worker_that_dies_is_an_error(clips: list[ClipFile]) -> None:
    with ClipPairs(clips, TINY, DEVICE, capacity=8, workers=1, seed=0) as pairs:
        pairs.warm_up(8)
        (worker,) = pairs._workers._workers
        worker.process.kill()
        with pytest.raises(HideNerfError, match="A process that reads clips ended with code -9"):
            wait_for_error(pairs)


def wait_for_error(pairs: ClipPairs) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        pairs.sample(1)
        time.sleep(0.05)


def test_too_little_room_is_refused(clips: list[ClipFile]) -> None:
    with pytest.raises(HideNerfError, match="room for 3 training pairs"):
        ClipPairs(clips, TINY, DEVICE, capacity=3, workers=1, seed=0)
    with pytest.raises(HideNerfError, match="read by 0 workers"):
        ClipPairs(clips, TINY, DEVICE, capacity=8, workers=0, seed=0)


@pytest.fixture(scope="module")
def real_clips(shared_data: Path, face_landmarker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four frames of each real clip, prepared for the tiny model."""
    folder = tmp_path_factory.mktemp("real")
    model = clip_face_model()
    with FaceLandmarker(face_landmarker, model.expression_names) as landmarker:
        for name in ("drv_d0.mp4", "drv_d10.mp4"):
            prepared = prepare_clip(shared_data / name, model, landmarker, ClipOptions(SIZE, every=5, limit=4))
            save_clip(prepared.clip, prepared.frames, folder / f"{name}.npz")
    return folder


@pytest.mark.slow
def test_the_trainer_learns_from_real_clips(real_clips: Path) -> None:
    trainer = tiny_trainer(60, learning_rate=4e-3)
    clock = PhaseClock(CPU.device)
    with ClipPairs(read_clips(real_clips, TINY), TINY, DEVICE, capacity=32, workers=1, seed=0) as pairs:
        pairs.warm_up(32)
        terms = [{name: float(value) for name, value in trainer.train_step(pairs, clock).items()} for _ in range(60)]
    assert float(trainer.skipped) == 0
    for name in ("absolute_refined", "absolute_rendered"):
        first, last = (np.mean([row[name] for row in part]) for part in (terms[:5], terms[-5:]))
        assert last < 0.8 * first, name


def train(folder: Path, out: Path, *options: str) -> list[str]:
    arguments = ["--out", str(out), "--preset", "tiny", "--clips", str(folder), "--device", "cpu", "--steps", "2"]
    arguments += ["--batch-size", "2", "--workers", "1", "--capacity", "16", "--warm-up", "8", *options]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


@pytest.mark.slow
def test_the_command_trains_on_clips_and_shows_them(
    real_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    said = train(real_clips, tmp_path / "out")
    assert "step 2" in said[-2]
    picture = read_bgr(tmp_path / "out" / "samples.png")[..., ::-1]
    shown = shown_pairs(read_clips(real_clips, TINY), TINY, DEVICE, 6)
    sources = torch.from_numpy(picture[:, :SIZE].copy()).unflatten(0, (6, SIZE)).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(sources, shown.source_image, atol=0.5 / 255 + 1e-6, rtol=0)


@pytest.mark.slow
def test_the_command_mixes_clips_with_synthetic_pairs(
    real_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    assert "step 2" in train(real_clips, tmp_path / "out", "--synthetic-share", "0.5")[-2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clips", "nowhere"], "nowhere: no such folder; give one that hidenerf-clips filled"),
        (["--synthetic-share", "0.5"], "--synthetic-share 0.5: all pairs are synthetic without --clips"),
    ],
)
def test_the_command_refuses_in_a_sentence(tmp_path: Path, arguments: Sequence[str], message: str) -> None:
    result = CliRunner().invoke(main, ["--out", str(tmp_path / "out"), "--steps", "1", *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "out").exists()
