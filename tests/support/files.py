"""Files of a folder, to compare folders."""

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """Content of every file under `folder` by its path in it."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
