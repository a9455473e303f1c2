"""A person made up, photographed, and made a portrait of: what is drawn of it is that person."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from hidenerf.commands.train import main
from hidenerf.runtime.camera import project
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.data.batch import Batch
from hidenerf.training.data.clips.file import ClipFile
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.pair_rendering import render_pairs
from hidenerf.training.data.synthetic.people import Pair, make_pair, make_portrait_pair, photographed, portrait_person
from hidenerf.training.data.synthetic.portrait_reading import read_portrait_skins
from hidenerf.training.data.synthetic.portraits import PortraitSkin, PortraitSkins, make_portrait_skin
from hidenerf.training.data.synthetic.replay import PairReplay
from hidenerf.training.data.synthetic.skin_atlas import ATLAS_SIZE
from tests.support.painted_portraits import CONFIG, SIZE, frontal_pair, write_painted_portrait

CPU = torch.device("cpu")
NUMBERS = (1, 6)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return [frontal_pair(number) for number in NUMBERS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("portraits")


@pytest.fixture(scope="module")
def files(pairs: list[Pair], folder: Path) -> list[ClipFile]:
    return [write_painted_portrait(folder / f"{number}.npz", pair) for number, pair in enumerate(pairs)]


@pytest.fixture(scope="module")
def made(files: list[ClipFile]) -> list[PortraitSkin]:
    return [make_portrait_skin(file) for file in files]


@pytest.fixture(scope="module")
def skins(made: list[PortraitSkin]) -> PortraitSkins:
    portraits, textures, photographs = zip(*made, strict=True)
    return PortraitSkins(portraits, np.stack(textures), np.stack(photographs))


def as_portrait(pair: Pair, skins: PortraitSkins, number: int, relighting: float = 0.0) -> Pair:
    person = portrait_person(skins.portraits[number], number, pair.person.look, np.random.default_rng(0))
    person.look["relighting"][:] = relighting
    return replace(pair, person=replace(person, identity=skins.portraits[number].identity))


@pytest.fixture(scope="module")
def truth(pairs: list[Pair]) -> Batch:
    return render_pairs(CONFIG, CPU, pairs)


@pytest.fixture(scope="module")
def drawn(pairs: list[Pair], skins: PortraitSkins) -> Batch:
    return render_pairs(CONFIG, CPU, [as_portrait(pair, skins, n) for n, pair in enumerate(pairs)], skins=skins)


def inside(*masks: torch.Tensor, margin: int = 5) -> np.ndarray:
    """Where all masks [1, S, S] have only the person, this far from the edge."""
    both = torch.stack(masks).amin(0)[0].numpy() > 0.99
    return cv2.erode(both.astype(np.uint8), np.ones((2 * margin + 1,) * 2)) > 0


@pytest.mark.slow
def test_the_portrait_s_camera_sees_the_portrait(truth: Batch, drawn: Batch) -> None:
    for n in range(len(NUMBERS)):
        difference = (drawn.source_image[n] - truth.source_image[n]).abs().amax(0).numpy()
        # Eyes and mouth are the generator's own, and it knows no brow or lash of the portrait there.
        seen = inside(drawn.source_mask[n], truth.source_mask[n]) & ~near_mouth_and_eyes()
        assert seen.mean() > 0.05
        # Two look-ups between pixels, and JPEG: finer detail than that is lost.
        assert np.median(difference[seen]) < 0.02
        assert np.sqrt((difference[seen] ** 2).mean()) < 0.05


def near_mouth_and_eyes() -> np.ndarray:
    """In a picture [S, S] of a frontal head, which spans ±1.03 units."""
    region = np.zeros((SIZE, SIZE), bool)
    region[44:66, 30:98] = region[74:104, 40:88] = True
    return region


def test_turned_heads_have_the_person_s_colours(truth: Batch, drawn: Batch) -> None:
    """Where the generator knows what the turned head looks like, the portrait's head looks so too, nearly."""
    for n in range(len(NUMBERS)):
        seen = inside(drawn.mask[n], truth.mask[n])
        off = (drawn.target[n] - truth.target[n]).square().mean(0).numpy()[seen].mean()
        still = (truth.source_image[n] - truth.target[n]).square().mean(0).numpy()[seen].mean()
        assert off < 0.3 * still


def test_nothing_is_a_hole_and_everything_is_over_black(drawn: Batch) -> None:
    for picture, mask in ((drawn.source_image, drawn.source_mask), (drawn.target, drawn.mask)):
        assert (picture <= mask + 1.01 / 255).all()
        for n in range(len(NUMBERS)):
            assert (picture[n].amax(0).numpy()[inside(mask[n])] > 0.01).mean() > 0.99


def test_light_from_the_other_side_lights_the_other_side(pairs: list[Pair], skins: PortraitSkins) -> None:
    lit = []
    for side in (0.9, -0.9):
        pair = as_portrait(pairs[0], skins, 0, relighting=1.0)
        direction = np.array([side, 0.0, np.sqrt(1 - side**2)], np.float32)
        look = {**pair.person.look, "key_direction": direction, "fill": np.zeros(3, np.float32)}
        lit.append(replace(pair, person=replace(pair.person, look=look)))
    left, right = render_pairs(CONFIG, CPU, lit, skins=skins).source_image[:, :, 66:80].mean((1, 2))
    # The subject's left is the picture's right.
    assert left[72:84].mean() / right[72:84].mean() > 1.15 * left[44:56].mean() / right[44:56].mean()


def test_a_portrait_and_its_pairs_depend_on_seeds_alone(
    files: list[ClipFile], made: list[PortraitSkin], skins: PortraitSkins
) -> None:
    again = make_portrait_skin(files[0])
    assert np.array_equal(again.texture, made[0].texture)
    assert again.texture.shape == (ATLAS_SIZE, ATLAS_SIZE, 4)
    assert again.portrait.style == made[0].portrait.style
    model = load_head_mesh().face_model
    chosen = [make_portrait_pair(model, skins.portraits, 0.5, number, 3) for number in range(40)]
    real = [pair.person.look["portrait"][0] for pair in chosen]
    assert set(real) == {0.0, 1.0, 2.0}
    assert 8 < np.count_nonzero(real) < 32
    same = make_portrait_pair(model, skins.portraits, 0.5, 7, 3)
    assert np.array_equal(same.person.identity, chosen[7].person.identity)
    assert all(np.array_equal(same.photo[name], chosen[7].photo[name]) for name in same.photo)
    # Those who are made up are the same with and without portraits.
    number = real.index(0.0)
    assert np.array_equal(chosen[number].person.identity, make_pair(model, number, 3).person.identity)
    assert make_portrait_pair(model, (), 1.0, number, 3).person.look["portrait"] == 0


def test_some_pairs_of_portraits_begin_from_the_photograph(skins: PortraitSkins) -> None:
    model = load_head_mesh().face_model
    pairs = [make_portrait_pair(model, skins.portraits, 1.0, number, 3) for number in range(60)]
    chosen = [pair for pair in pairs if pair.photograph]
    assert 12 < len(chosen) < 36
    for pair in chosen:
        portrait = skins.portraits[pair.photograph - 1]
        assert pair.person.look["portrait"][0] == pair.photograph
        assert np.array_equal(pair.person.identity, portrait.identity)
        assert np.array_equal(pair.source_camera, portrait.camera)
        assert np.array_equal(pair.source_expression, portrait.expression)
    assert any(np.array_equal(pair.camera, pair.source_camera) for pair in chosen)
    assert all(pair.person.look["relighting"] == 0 for pair in chosen)


def test_a_photograph_is_the_source_as_it_is(pairs: list[Pair], files: list[ClipFile], skins: PortraitSkins) -> None:
    """And what is drawn of the person is to be learned only where the photograph does not show it."""
    look = as_portrait(pairs[1], skins, 1).person.look
    pair = photographed(pairs[1], look, skins.portraits[1], 1)
    batch = render_pairs(CONFIG, CPU, [pair, as_portrait(pairs[0], skins, 0)], skins=skins)
    stored = files[1].frame(0).read()
    assert np.array_equal((255 * batch.source_image[0]).round().byte().permute(1, 2, 0), stored.picture)
    assert np.array_equal((255 * batch.source_mask[0, 0]).round().byte(), stored.mask)
    assert torch.equal(batch.trusted[0], batch.region[0])
    assert batch.trusted[0].mean() < 0.05
    shown = batch.face_sight[0, 3] >= 0.99 * batch.face_sight[0, 2]
    assert batch.trusted[0, 0][shown].max() < 0.03
    assert batch.trusted[1].min() == 1
    # The eyes are not the person's. Where the photograph shows no teeth, those of an opened mouth are to be learned.
    irises = load_head_mesh().left_iris * np.array([[1, 1, 1], [-1, 1, 1]])
    column, row = np.floor(project(irises, pair.camera) * SIZE).astype(int).T
    assert batch.trusted[0, 0, row, column].max() == 0
    opened = np.array([0.9 * (name == "jawOpen") for name in load_head_mesh().face_model.expression_names], np.float32)
    wide = render_pairs(CONFIG, CPU, [replace(pair, expression=opened, camera=pair.source_camera)], skins=skins)
    inside_mouth = wide.face_sight[0, 3] < -0.1
    assert inside_mouth.sum() > 20
    assert wide.trusted[0, 0][inside_mouth].mean() > 0.8
    # The drawn target has the photograph's colours.
    seen = inside(batch.mask[0], batch.source_mask[0], margin=12)
    drawn, photograph = (one[0].numpy()[:, seen].mean(1) for one in (batch.target, batch.source_image))
    np.testing.assert_allclose(drawn, photograph, rtol=0.15)


@pytest.mark.slow
def test_a_pair_looks_the_same_in_any_batch(skins: PortraitSkins) -> None:
    model = load_head_mesh().face_model
    pairs = [make_portrait_pair(model, skins.portraits, 0.7, number, 0) for number in range(4)]
    batch = render_pairs(CONFIG, CPU, pairs, skins=skins)
    for found, expected in zip(render_pairs(CONFIG, CPU, [pairs[2], pairs[0]], skins=skins), batch, strict=True):
        torch.testing.assert_close(found, expected[[2, 0]], atol=1.01 / 255, rtol=0)


@pytest.mark.slow
def test_the_replay_draws_portraits(files: list[ClipFile], folder: Path) -> None:
    skins = read_portrait_skins(folder, CONFIG, 1.0, workers=1)
    assert len(skins.portraits) == len(files)
    with PairReplay(CONFIG, CPU, capacity=8, workers=1, seed=5, skins=skins) as replay:
        replay.warm_up(4)
        batch = replay.sample(4)
    assert batch.target.shape == (4, 3, SIZE, SIZE)
    assert 0.05 < batch.mask.mean() < 0.8


def test_options_that_do_not_go_together_are_refused(folder: Path, tmp_path: Path) -> None:
    def refusal(*options: object) -> str:
        result = CliRunner().invoke(main, ["--out", str(tmp_path), "--steps", "1", *map(str, options)])
        assert result.exit_code == 2
        return result.output

    assert "there is no real skin without --skins" in refusal("--skin-share", 0.5)
    assert "no pairs are synthetic with --clips alone" in refusal("--clips", folder, "--skins", folder)
    with pytest.raises(HideNerfError, match="no such folder"):
        read_portrait_skins(tmp_path / "nowhere", CONFIG, 1.0, 1)
