"""The one exception type for what a user can cause and mend."""


class HideNerfError(Exception):
    """One sentence: what is wrong, with the value, and what to do. The commands print it and exit with code 2."""
