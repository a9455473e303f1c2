from pathlib import Path

import numpy as np

from hidenerf.runtime.secc import secc
from hidenerf.training.data.clips.drawing import clip_face_model, draw_frame_pair
from hidenerf.training.data.clips.file import open_clip
from hidenerf.training.data.clips.pairs import frame_pair
from hidenerf.training.data.synthetic.geometry import SeccChoice, seen_through
from tests.support.clips import write_clip_file


def test_a_pair_has_both_frames_and_their_seccs(tmp_path: Path) -> None:
    clip, frames = write_clip_file(tmp_path / "clip.npz")
    pair = frame_pair(open_clip(tmp_path / "clip.npz"), 3, 1)
    model = clip_face_model()
    drawn = draw_frame_pair(pair, 48, SeccChoice(own_expression=False, posed=False))
    shapes = [values.shape for values in drawn]
    pictures = [(2, 3, 32, 32), (2, 1, 32, 32), (2, 1, 32, 32), (3, 3, 48, 48)]
    assert shapes == [*pictures, (2, 25), (2, 6, 24, 24), (2, 4, 32, 32)]
    for place, index in enumerate((3, 1)):
        np.testing.assert_array_equal(drawn.mask[place, 0], frames[index].mask)
        np.testing.assert_array_equal(drawn.region[place, 0], frames[index].region)
        np.testing.assert_allclose(drawn.picture[place].transpose(1, 2, 0), frames[index].picture.astype(int), atol=12)
        np.testing.assert_array_equal(drawn.camera[place], clip.camera[index])
        driving = secc(model.vertices(clip.identity, clip.expression[index]), model, 48)
        np.testing.assert_allclose(drawn.secc[1 + place], 255 * driving, atol=0.5001)
    canonical = secc(model.vertices(clip.identity, 0 * clip.expression[0]), model, 48)
    np.testing.assert_allclose(drawn.secc[0], 255 * canonical, atol=0.5001)


def test_other_choices_of_seccs(tmp_path: Path) -> None:
    clip, _ = write_clip_file(tmp_path / "clip.npz")
    pair = frame_pair(open_clip(tmp_path / "clip.npz"), 0, 4)
    model = clip_face_model()
    own = draw_frame_pair(pair, 48, SeccChoice(own_expression=True, posed=False)).secc
    posed = draw_frame_pair(pair, 48, SeccChoice(own_expression=False, posed=True)).secc
    assert len(own) == 2
    assert len(posed) == 4
    for place, index in enumerate((0, 4)):
        face = model.vertices(clip.identity, clip.expression[index])
        np.testing.assert_allclose(own[place], 255 * secc(face, model, 48), atol=0.5001)
        seen = secc(seen_through(clip.camera[index], face), model, 48)
        np.testing.assert_allclose(posed[2 + place], 255 * seen, atol=0.5001)


def test_surface_points_are_the_faces(tmp_path: Path) -> None:
    clip, _ = write_clip_file(tmp_path / "clip.npz")
    pair = frame_pair(open_clip(tmp_path / "clip.npz"), 0, 4)
    model = clip_face_model()
    drawn = draw_frame_pair(pair, 48, SeccChoice(own_expression=True, posed=False)).surface.astype(np.float32)
    for place, (own, other) in enumerate(((0, 4), (4, 0))):
        seen = (drawn[place, :3] != 0).any(axis=0)
        assert 0.05 < seen.mean() < 0.9
        for points, index in ((drawn[place, :3, seen], own), (drawn[place, 3:, seen], other)):
            face = model.vertices(clip.identity, clip.expression[index])
            assert np.linalg.norm(points[:, None] - face, axis=-1).min(axis=1).max() < 0.06
