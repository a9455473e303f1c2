import pytest
import torch

from hidenerf.model.config import ModelConfig
from hidenerf.training.data.synthetic.geometry import SeccChoice
from hidenerf.training.data.synthetic.image_pairs import ImagePairs, room_for_image_pairs


@pytest.mark.parametrize(
    ("choice", "faces", "canonical", "driving"),
    [
        (SeccChoice(own_expression=False, posed=False), 3, [0, 0], [2, 1]),
        (SeccChoice(own_expression=True, posed=False), 2, [0, 1], [1, 0]),
        (SeccChoice(own_expression=False, posed=True), 4, [0, 1], [3, 2]),
        (SeccChoice(own_expression=True, posed=True), 2, [0, 1], [1, 0]),
    ],
)
def test_either_picture_as_the_source_has_its_own_seccs(
    choice: SeccChoice, faces: int, canonical: list[int], driving: list[int]
) -> None:
    assert choice.at_rest + 2 == faces
    secc = torch.arange(faces, dtype=torch.uint8).reshape(1, faces, 1, 1, 1).expand(1, -1, 3, 2, 2)
    picture = torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8)
    surface = torch.arange(4.0, dtype=torch.float16).reshape(1, 2, 2, 1, 1).repeat_interleave(3, 2)
    sight = torch.tensor([0.25, 0.75], dtype=torch.float16).reshape(1, 2, 1, 1, 1).expand(1, 2, 4, 4, 4)
    mask, camera, drawn = picture[:, :, :1], torch.zeros(1, 2, 25), torch.tensor([False])
    image_pairs = ImagePairs(picture, mask, mask, secc, camera, surface, sight, drawn)
    batch = image_pairs.batch(torch.tensor([0, 0]), torch.tensor([0, 1]), choice)
    assert (255 * batch.secc_canonical[:, 0, 0, 0]).round().tolist() == canonical
    assert (255 * batch.secc_driving[:, 0, 0, 0]).round().tolist() == driving
    assert batch.surface.flatten(1).tolist() == [[2.0] * 3, [0.0] * 3]
    assert batch.source_surface.flatten(1).tolist() == [[3.0] * 3, [1.0] * 3]
    # The target's.
    assert batch.face_sight[:, 0, 0, 0].tolist() == [0.75, 0.25]
    assert batch.face_sight.dtype == torch.float32
    assert batch.trusted.min() == 1
    # A photograph is always the source, and only mouth, eyes and brows of the drawing are to be learned.
    region = torch.tensor([0, 51], dtype=torch.uint8).reshape(1, 2, 1, 1, 1).expand(1, 2, 1, 4, 4)
    of_photograph = image_pairs._replace(region=region, photographed=torch.tensor([True]))
    batch = of_photograph.batch(torch.tensor([0, 0]), torch.tensor([0, 1]), choice)
    assert batch.face_sight[:, 0, 0, 0].tolist() == [0.75, 0.75]
    torch.testing.assert_close(batch.trusted, torch.full((2, 1, 4, 4), 0.2))


@pytest.mark.parametrize("own_expression", [False, True])
@pytest.mark.parametrize("posed", [False, True])
def test_room_is_for_what_is_put_into_it(small_config: ModelConfig, own_expression: bool, posed: bool) -> None:
    choice = SeccChoice(own_expression, posed)
    room = room_for_image_pairs(small_config, choice, 5, torch.device("cpu"))
    shapes = [(5, 2, 3, 64, 64), (5, 2, 1, 64, 64), (5, 2, 1, 64, 64), (5, choice.at_rest + 2, 3, 32, 32), (5, 2, 25)]
    shapes += [(5, 2, 6, 16, 16), (5, 2, 4, 64, 64), (5,)]
    assert [tuple(values.shape) for values in room] == shapes
    assert [values.dtype for values in room] == [
        *(4 * [torch.uint8]),
        *(torch.float32, torch.float16, torch.float16, torch.bool),
    ]
