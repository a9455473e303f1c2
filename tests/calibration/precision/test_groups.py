import pytest

from hidenerf.calibration.precision import groups as groups_module
from hidenerf.calibration.precision.groups import layer_groups
from tests.support.convolutions import layer

LAYERS = [layer("net.down.0"), layer("net.down.1", 3), layer("net.up.0", 2), layer("net.up.1"), layer("node_conv")]


@pytest.mark.parametrize(
    ("limit", "modules"),
    [
        (1, [""]),
        (2, ["net", "node_conv"]),
        (3, ["net.down", "net.up", "node_conv"]),
        # The larger of the two is split first.
        (4, ["net.down.0", "net.down.1", "net.up", "node_conv"]),
        (10, ["net.down.0", "net.down.1", "net.up.0", "net.up.1", "node_conv"]),
    ],
)
def test_the_heaviest_group_is_split_while_there_is_room(
    limit: int, modules: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups_module, "MAX_GROUPS", limit)
    groups = layer_groups("led", LAYERS)
    assert [group.module for group in groups] == modules
    assert [found for group in groups for found in group.layers] == LAYERS
    assert sum(group.flops for group in groups) == 2 * (1 + 9 + 4 + 1 + 1)


def test_a_group_that_would_not_fit_leaves_room_for_a_smaller_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups_module, "MAX_GROUPS", 4)
    layers = [*(layer(f"a.{i}", 5) for i in range(5)), layer("b.0"), layer("b.1")]
    assert [g.module for g in layer_groups("led", layers)] == ["a", "b.0", "b.1"]


def test_no_layers_no_groups() -> None:
    assert layer_groups("led", []) == []


def test_a_path_that_begins_another() -> None:
    groups = layer_groups("led", [layer("net"), layer("net.more"), layer("net.most")])
    assert sorted(found.layer for group in groups for found in group.layers) == ["net", "net.more", "net.most"]
    assert len({group.name for group in groups}) == len(groups)
