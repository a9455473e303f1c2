import torch

from hidenerf.model.config import ModelConfig
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.pair_rendering import held_out_pairs, render_pairs
from hidenerf.training.data.synthetic.people import make_held_out_pair

CPU = torch.device("cpu")


def test_held_out_pairs_are_the_same_every_time(small_config: ModelConfig) -> None:
    some, all_of_them = held_out_pairs(small_config, CPU, [2, 0]), held_out_pairs(small_config, CPU, range(3))
    for found, expected in zip(some, all_of_them, strict=True):
        assert torch.equal(found, expected[[2, 0]])
    model = load_head_mesh().face_model
    given = render_pairs(small_config, CPU, [make_held_out_pair(model, 2)])
    assert torch.equal(given.target[0], some.target[0])
    shapes = {name: tuple(values.shape) for name, values in some._asdict().items()}
    assert shapes == {
        "source_image": (2, 3, 64, 64),
        "source_camera": (2, 25),
        "secc_canonical": (2, 3, 32, 32),
        "secc_driving": (2, 3, 32, 32),
        "camera": (2, 25),
        "target": (2, 3, 64, 64),
        "mask": (2, 1, 64, 64),
        "region": (2, 1, 64, 64),
        "source_mask": (2, 1, 64, 64),
        "surface": (2, 3, 16, 16),
        "source_surface": (2, 3, 16, 16),
        "face_sight": (2, 4, 64, 64),
        "trusted": (2, 1, 64, 64),
    }
