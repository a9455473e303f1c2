import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from hidenerf.model.alignment import Alignment
from hidenerf.model.growth import fill_absent, grown
from hidenerf.model.hidenerf import HideNerf
from hidenerf.runtime.errors import HideNerfError
from tests.support.tiny import TINY, aligned_config, tiny_inputs, tiny_model


def test_with_what_is_new_left_out_a_grown_model_draws_as_before() -> None:
    model = tiny_model()
    inputs = tiny_inputs(1)
    whole, said = grown(model, aligned_config("maps and picture", 8))
    assert "refiner.detail.weight" in said
    assert "left out" not in said
    with torch.no_grad():
        whole.refiner.head.bias[4] = -100.0  # type: ignore[index]
        identity = model.id_encoder(inputs["source_image"])
        own = model(**inputs)
        centre = torch.zeros(1, 3, TINY.render_size, TINY.render_size)
        everywhere = _everywhere(centre)
        found = whole.refiner(own.rendered, own.rendered_alpha, identity, everywhere, inputs["source_image"])
    torch.testing.assert_close(found, (own.frame, own.alpha), atol=1e-4, rtol=1e-4)


def _everywhere(like: Tensor) -> Alignment:
    """All of the source is shown where it was."""
    size = like.shape[-1]
    nothing = torch.zeros(1, 4, size, size)
    return Alignment(nothing[:, :2], nothing[:, :1] + 1.0, face_sight=nothing, guides=nothing)


def first_spade(model: HideNerf) -> Any:
    return model.refiner.get_submodule("blocks.0.spades.0")


def test_constants_begin_as_the_mean_of_the_old_maps() -> None:
    model = tiny_model()
    whole, _ = grown(model, aligned_config("maps", 8))
    pictures = tiny_inputs(2)["source_image"]
    fill_absent(whole, model, pictures, torch.ones(2, 1, 32, 32))
    spade, feature = first_spade(model), model.id_encoder(pictures)[-1]
    with torch.no_grad():
        expected = spade.gamma(spade.shared(feature)).mean((0, 2, 3))
    torch.testing.assert_close(first_spade(whole).absent[0], expected)


def test_only_the_alignment_may_differ() -> None:
    with pytest.raises(HideNerfError, match="other sizes"):
        grown(tiny_model(), dataclasses.replace(TINY, mlp_width=8))
    same, said = grown(tiny_model(), TINY)
    assert said == "nothing new"
    assert torch.equal(same.refiner.stem[0].weight, tiny_model().refiner.stem[0].weight)
