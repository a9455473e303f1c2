"""Engine identity: builds the engines of a bundle twice and compares their bytes; prints the time of each build.

    python benchmarks/engine_identity.py BUNDLE [--sm all]

BUNDLE is what `hidenerf-export` writes, in any preset and precision. It is copied to two folders whose names differ in
length, since engines must not depend on the bundle's path (docs/engines.md). Needs the extra tensorrt-rtx and no GPU.
Prints a line for each engine. Different bytes are not an error, because TensorRT-RTX does not promise equal ones.
With `--sm all` it also builds the engines that tests/export/engines/test_presets.py leaves out.
"""

import shutil
import tempfile
import time
from pathlib import Path

import click

from hidenerf.export.engines.targets import Targets, choose_targets
from hidenerf.export.engines.writer import write_engines
from hidenerf.runtime.bundle import GRAPH_NAMES
from hidenerf.runtime.tensorrt.engine_set import set_folder
from hidenerf.runtime.tensorrt.library import load_library
from hidenerf.runtime.tensorrt.sidecar import Layer, read_sidecar

BACKEND = "tensorrt-rtx"


@click.command(context_settings={"show_default": True})
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--sm", default="all", help="As of hidenerf-export.")
def main(bundle: Path, sm: str) -> None:
    """Build every engine of BUNDLE twice and compare."""
    targets = choose_targets(load_library(BACKEND, builds=True), sm)
    with tempfile.TemporaryDirectory(prefix="hidenerf-identity-") as folder:
        copies = [Path(folder) / name for name in ("once", "the-same-bundle-elsewhere")]
        for copy in copies:
            shutil.copytree(bundle, copy, ignore=shutil.ignore_patterns("engines"))
            started = time.perf_counter()
            write_engines(copy, targets)
            click.echo(f"built in {time.perf_counter() - started:.1f} s")
        different = [line for line in compared(copies, targets) if not line.endswith(" same")]
    click.echo(f"{len(different)} engines differ" if different else "all engines have the same bytes")


def compared(copies: list[Path], targets: Targets) -> list[str]:
    """One line for each engine, printed too: the differences between two copies of a bundle, or "same"."""
    lines = []
    for sm in targets.sms:
        sets = [set_folder(copy, BACKEND, targets.library.version, sm) for copy in copies]
        if not all(folder.is_dir() for folder in sets):
            continue
        for graph in GRAPH_NAMES:
            first, second = ((folder / f"{graph}.plan").read_bytes() for folder in sets)
            found = [] if first == second else [f"bytes ({len(first)} and {len(second)})"]
            found += [] if layers_of(sets[0], graph) == layers_of(sets[1], graph) else ["layers"]
            lines.append(f"SM {sm} {graph}: {', '.join(found) or 'same'}")
            click.echo(lines[-1])
    return lines


def layers_of(folder: Path, graph: str) -> list[Layer]:
    """Layers of an engine with their precisions, from its sidecar. folder: of the engines. graph: its name."""
    return read_sidecar(folder, graph).layers


if __name__ == "__main__":
    main()
