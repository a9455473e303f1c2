import numpy as np

from hidenerf.runtime.face_parts import SKIN
from hidenerf.training.data.synthetic.heads import BODY
from hidenerf.training.data.synthetic.skin_atlas import ATLAS_SIZE, CHARTS
from hidenerf.training.data.synthetic.skin_completion import complete, in_this_light, spread, spread_around

SKIN_COLOUR, HAIR_COLOUR = np.array([0.8, 0.6, 0.5], np.float32), np.array([0.2, 0.15, 0.1], np.float32)
NOTHING = np.zeros((ATLAS_SIZE, ATLAS_SIZE), np.float32)


def grained(seed: int = 0) -> np.ndarray:
    """Skin with a grain that is not symmetric."""
    random = np.random.default_rng(seed)
    return (SKIN_COLOUR + random.uniform(-0.05, 0.05, (ATLAS_SIZE, ATLAS_SIZE, 1))).astype(np.float32)


def test_what_was_seen_stays_and_nothing_is_a_hole() -> None:
    colour, seen = grained(), NOTHING.copy()
    seen[40:300, 100:240] = 1
    seen[360:400, 200:300] = 1
    completed, known = complete(colour, seen, NOTHING, NOTHING)
    np.testing.assert_allclose(completed[seen == 1], colour[seen == 1], atol=1e-6)
    assert np.isfinite(completed).all()
    for chart in (SKIN, BODY):
        first, rows = CHARTS[chart]
        assert completed[first : first + rows].min() > 0.3
    # Both sides count as seen.
    assert (known[40:300, ATLAS_SIZE - 240 : ATLAS_SIZE - 100] > 0.99).all()


def test_a_side_that_was_not_seen_is_the_other_s_mirror_image() -> None:
    colour, seen = grained(), NOTHING.copy()
    seen[40:300, 100:270] = 1
    completed, _ = complete(colour, seen, NOTHING, NOTHING)
    found, expected = completed[60:280, 270:400], completed[60:280, ATLAS_SIZE - 400 : ATLAS_SIZE - 270][:, ::-1]
    off_by = found - expected
    # But for a smooth shift, which is small where both sides are alike.
    assert np.abs(off_by).max() < 0.05
    assert np.std(off_by - off_by.mean()) < 0.2 * np.std(found - found.mean())


def test_symmetric_colours_stay_symmetric() -> None:
    colour = grained()
    colour = ((colour + colour[:, ::-1]) / 2).astype(np.float32)
    seen = NOTHING.copy()
    seen[40:300, 120:392] = 1
    completed, known = complete(colour, seen, NOTHING, NOTHING)
    np.testing.assert_allclose(completed, completed[:, ::-1], atol=0.02)
    np.testing.assert_array_equal(known, known[:, ::-1])
    np.testing.assert_allclose(in_this_light(colour, seen), colour, atol=1e-5)


def test_the_mirror_image_is_in_this_side_s_light() -> None:
    """One half is darker: so is what is completed there from the other half, the more so the nearer."""
    colour = np.broadcast_to(SKIN_COLOUR, (ATLAS_SIZE, ATLAS_SIZE, 3)).copy()
    colour[:, : ATLAS_SIZE // 2] -= 0.2
    seen = NOTHING.copy()
    seen[40:300, 200:420] = 1
    completed, _ = complete(colour.astype(np.float32), seen, NOTHING, NOTHING)
    expected = np.broadcast_to(SKIN_COLOUR - 0.2, (220, 25, 3))
    np.testing.assert_allclose(completed[60:280, 170:195], expected, atol=0.06)
    np.testing.assert_allclose(completed[60:280, 198:202], expected[:, :4], atol=0.03)


def test_around_means_hair_on_the_scalp_and_skin_elsewhere() -> None:
    scalp = NOTHING.copy()
    scalp[:150] = 1
    scalp[:250, :100] = scalp[:250, -100:] = 1
    colour = np.where(scalp[..., None] > 0.5, HAIR_COLOUR, SKIN_COLOUR).astype(np.float32)
    seen = NOTHING.copy()
    seen[80:300, 170:342] = 1
    completed, _ = complete(colour, seen, scalp, NOTHING)
    behind, neck = completed[200, :40], completed[330, 250:260]
    np.testing.assert_allclose(behind, np.broadcast_to(HAIR_COLOUR, behind.shape), atol=0.02)
    np.testing.assert_allclose(neck, np.broadcast_to(SKIN_COLOUR, neck.shape), atol=0.02)


def test_spreading_keeps_what_is_known_and_closes_on_itself() -> None:
    random = np.random.default_rng(0)
    values = random.random((48, 64, 3), np.float32)
    known = np.zeros((48, 64), np.float32)
    known[10:20, 60:] = 1
    for found in (spread(values, known), spread_around(values, known)):
        np.testing.assert_allclose(found[known == 1], values[known == 1], atol=1e-6)
        assert found.min() >= -1e-6
        assert found.max() <= 1 + 1e-6
    # Across the seam the nearest known values are those of the far end.
    around = spread_around(values, known)
    np.testing.assert_allclose(around[12:18, 0], values[12:18, -1], atol=0.5)
    assert np.abs(around[12:18, 0] - values[10:20, 60:].mean((0, 1))).mean() < 0.25
