"""ARKit's actions and the spellings of their names."""

import pytest

from hidenerf.runtime.tracking.arkit import ARKIT_EXPRESSIONS, action_of_spelling


@pytest.mark.parametrize("name", ARKIT_EXPRESSIONS)
def test_every_action_is_found_in_every_spelling(name: str) -> None:
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    pascal = name[0].upper() + name[1:]
    short = name.replace("Left", "_L").replace("Right", "_R")
    spellings = (name, pascal, name.upper(), snake, short, f"blendShapes.{pascal}", f"ARKit_{short}", f" {name} ")
    assert {action_of_spelling(spelling) for spelling in spellings} == {name}


@pytest.mark.parametrize(
    ("spelling", "action"),
    [
        ("eyeLookIn_L", "eyeLookInLeft"),
        ("eyeLookUp_R", "eyeLookUpRight"),
        ("jaw_L", "jawLeft"),
        ("mouth_r", "mouthRight"),
        ("jawFwd", "jawForward"),
        ("browInnerUp_R", "browInnerUp"),
        ("cheekPuffLeft", "cheekPuff"),
        ("blendShapes.mouthSmile_L", "mouthSmileLeft"),
        ("face/bs:NoseSneerLeft", "noseSneerLeft"),
        ("_neutral", None),
        ("Timecode", None),
        ("HeadYaw", None),
        ("jawOpened", None),
        ("", None),
    ],
)
def test_other_spellings(spelling: str, action: str | None) -> None:
    assert action_of_spelling(spelling) == action
