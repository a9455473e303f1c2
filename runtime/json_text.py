"""JSON of our files: numbers as JSON has them, and what text of any kind can raise."""

import json
from typing import Any, NoReturn

# What the conversion of values of another kind raises.
GARBLED = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError)


def parse_json(text: str | bytes) -> Any:
    """The value in a JSON text; bytes are UTF-8. Errors: `ValueError`, also for NaN, infinities and endless nesting."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
