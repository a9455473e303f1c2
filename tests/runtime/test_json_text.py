from typing import Any

import pytest

from hidenerf.runtime.json_text import GARBLED, parse_json


def test_what_json_is() -> None:
    assert parse_json('{"a": [1, 2.5, null, true, "\\u00e4"]}') == {"a": [1, 2.5, None, True, "ä"]}
    assert parse_json("\ufeff[1]".encode("utf-8-sig").removeprefix(b"\xef\xbb\xbf")) == [1]
    assert parse_json('"ä"'.encode()) == "ä"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("NaN", "NaN is no number of JSON"),
        ('{"a": -Infinity}', "-Infinity is no number of JSON"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"a":' * 100_000, "it is nested too deeply"),
        (b"\xff\xfe\xfd", "utf"),
        ("", "Expecting value"),
        ("1" * 5000, "4300 digits"),
    ],
)
def test_what_it_is_not_is_a_value_error(text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_json(text)


def test_conversions_of_odd_values_raise_what_is_named_here() -> None:
    nothing: Any = None
    for convert in (
        lambda: int(float("inf")),
        lambda: [][0],
        lambda: dict[str, int]()["x"],
        lambda: int("x"),
        lambda: nothing["x"],
        lambda: nothing.x,
    ):
        with pytest.raises(GARBLED):
            convert()
