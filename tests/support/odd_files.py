"""Bytes of JSON files and archives that went wrong, as hypothesis draws them: damage, and odd structure."""

import copy
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.support.motion_file_bytes import damaged, npy_bytes, odd_arrays, packed

# Values of another kind, very large, or that break what they are put into.
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, 2**31, 2**63, 10**400, float("nan"), float("inf"), -0.0, 1e300),
    *(
        "",
        " ",
        "x",
        "..",
        "../x",
        "/etc/passwd",
        "\x00",
        "\n",
        "\ud800",
        "nan",
        "inf",
        "1e400",
        "a" * 5000,
        "fp16",
        "FP32",
    ),
    *([], [[]], [None], {}, {"": {}}, {"x": 1}, [1] * 40),
)


@st.composite
def odd_json(draw: st.DrawFn, good: Any) -> bytes:
    """Good content with values exchanged, left out or put in at places, or with damaged bytes; or nesting alone."""
    kind = draw(st.sampled_from(("structure",) * 8 + ("bytes", "bytes", "noise", "nesting")))
    if kind == "noise":
        return draw(st.binary(max_size=300))
    if kind == "nesting":
        depth = draw(st.sampled_from((10, 2000, 100_000)))
        return draw(st.sampled_from((b"[" * depth, b'{"a":' * depth, b"[" * depth + b"]" * depth)))
    content = json.loads(json.dumps(good))
    if kind == "bytes":
        return draw(damaged(json.dumps(content).encode(), 4))
    for _ in range(draw(st.integers(1, 3))):
        content = _changed(draw, content)
    return json.dumps(content).encode("utf-8", "surrogatepass")


def _changed(draw: st.DrawFn, content: Any) -> Any:
    """The content with a change at a place that is drawn."""
    holder: Any = None
    key: Any = None
    place = content
    while isinstance(place, (dict, list)) and place:
        holder, key = place, draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        place = holder[key]
        if draw(st.integers(0, 3)) == 0:
            break
    value = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
    if holder is None:
        return value
    kind = draw(st.sampled_from(("other", "other", "other", "missing", "more", "twice")))
    if kind == "other":
        holder[key] = value
    elif kind == "missing":
        del holder[key]
    elif isinstance(holder, list):
        holder.append(holder[key] if kind == "twice" else value)
    else:
        holder[draw(st.sampled_from(("x", "", "file", "name", "kind")))] = value
    return content


@st.composite
def odd_archive(draw: st.DrawFn, good: Mapping[str, np.ndarray]) -> bytes:
    """A good archive with damaged bytes, or with arrays exchanged, missing or damaged within right checksums."""
    members = {name: npy_bytes(array) for name, array in good.items()}
    if draw(st.integers(0, 3)) == 0:
        return draw(damaged(packed(members)))
    for name in draw(st.lists(st.sampled_from(sorted(members)), min_size=1, max_size=3, unique=True)):
        kind = draw(st.sampled_from(("other", "like", "like", "missing", "damaged", "bytes")))
        if kind == "missing":
            del members[name]
        elif kind == "other":
            members[name] = npy_bytes(draw(odd_arrays()))
        elif kind == "like":
            members[name] = npy_bytes(_like(draw, good[name]))
        elif kind == "damaged":
            members[name] = draw(damaged(members[name], 4))
        else:
            members[name] = draw(st.binary(max_size=80))
    return packed(members)


def _like(draw: st.DrawFn, array: np.ndarray) -> np.ndarray:
    """An array of the same kind with other sizes, another type, or odd values."""
    kind = draw(st.sampled_from(("values", "type", "cut", "axis", "empty")))
    if kind == "axis":
        return array[None] if draw(st.booleans()) or not array.ndim else array[..., 0]
    if kind == "cut" and array.ndim and len(array):
        return array[: draw(st.integers(0, len(array) - 1))]
    if kind == "empty":
        return array[:0] if array.ndim else np.zeros(0, array.dtype)
    if kind == "type" and array.dtype.kind in "fiub":
        with np.errstate(all="ignore"):
            return array.astype(draw(st.sampled_from(("f2", "f8", "i1", "i8", "u4", "c8", "U8"))))
    result = array.copy()
    if array.dtype.kind == "f" and array.size:
        result.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from((np.nan, np.inf, -np.inf, 6e4)))
    elif array.dtype.kind in "iu" and array.size:
        odd = np.iinfo(array.dtype)
        result.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from((odd.min, odd.max)))
    elif array.dtype.kind == "U":
        result = np.full_like(array, "")
    return result
