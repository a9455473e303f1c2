"""What an extra of the wheel installs, among the packages of this environment.

There is no index to install from in a test. Instead, the requirements of an extra are followed through the metadata of
the packages that are installed here, and a process is started in which every other package cannot be imported.
"""

import importlib.metadata
import json
import site
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# `-S` leaves out the `.pth` files, and with them the editable install that leads to the checkout.
_BLOCK = """
import importlib.abc, json, sys
paths, blocked = json.loads(sys.argv.pop(1))
sys.path[:0] = paths
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None
sys.meta_path.insert(0, Blocked())
"""


def missing(requirements: Iterable[Requirement]) -> list[str]:
    """Requirements that are not installed here."""
    return [requirement.name for requirement in requirements if _installed(requirement.name) is None]


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """Canonical names of the installed packages that these requirements bring, directly or through others."""
    found: set[tuple[str, str]] = set()
    waiting = [(requirement.name, extra) for requirement in requirements for extra in ("", *requirement.extras)]
    while waiting:
        name, extra = waiting.pop()
        package = _installed(name)
        if package is None or (canonicalize_name(name), extra) in found:
            continue
        found.add((canonicalize_name(name), extra))
        for required in chosen(package.requires or [], extra):
            waiting += [(required.name, inner) for inner in ("", *required.extras)]
    return {name for name, _ in found}


def chosen(requirements: Iterable[str], extra: str) -> list[Requirement]:
    """The requirements of a package's metadata that hold on this machine with one extra, or with none ("")."""
    parsed = [Requirement(text) for text in requirements]
    return [one for one in parsed if one.marker is None or one.marker.evaluate({"extra": extra})]


def run_with_only(packages: set[str], folder: Path, script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a script where only these packages, the standard library and what lies in `folder` can be imported."""
    owners = importlib.metadata.packages_distributions()
    blocked = [top for top, names in owners.items() if not packages & {canonicalize_name(name) for name in names}]
    paths = json.dumps([[str(folder), *site.getsitepackages()], [top for top in blocked if top != "hidenerf"]])
    command = [sys.executable, "-I", "-S", "-c", _BLOCK + script, paths, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200, cwd=folder)


def _installed(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
