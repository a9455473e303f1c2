"""The one exception type for what a user can cause and mend."""


class HideNerfError(Exception):
    """One sentence: what is wrong, with the value, and what to do. The commands print it and exit with code 2."""


def shown(value: object, most: int = 60) -> str:
    """A value from a file as it may stand in a sentence: printable, on one line, at most so many characters."""
    text = " ".join(str(value).split())
    text = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return text if len(text) <= most else text[: most - 3] + "..."
