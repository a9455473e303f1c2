"""Runs that break off: killed at random moments, or on disks of every size.

    python -m tests.support.break_off kill run -n 100
    python -m tests.support.break_off full run -n 30

Commands are `run`, `export` and `clips`, on a small untrained model. Each run replaces an earlier output. After a kill
(SIGKILL) the output must be the earlier one or the new one, whole. On a disk that is too small the command must end in
one sentence with exit code 2 and leave the earlier output, and nothing else. What it prints stands in
docs/reliability.md. `full` needs the permission to mount a tmpfs.
"""

import argparse
import collections
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av

from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.defaults import demo_source_path
from hidenerf.runtime.sources.source import load_source
from hidenerf.runtime.video.pictures import write_picture
from hidenerf.training.data.clips.file import open_clip
from tests.support.bundles import write_untrained
from tests.support.checkpoints import write_small_checkpoint
from tests.support.tiny import TINY


@dataclass(frozen=True)
class Case:
    """A command and how its output is judged.

    name: of the output, in a folder of its own. arguments: of the command, but for `-o`. earlier, later: more, for the
    earlier output and for the one that replaces it. whole: what the output is, in words; raises where it is damaged.
    """

    command: str
    name: str
    arguments: list[str]
    earlier: list[str]
    later: list[str]
    whole: Callable[[Path], str]

    def process(self, folder: Path, *, earlier: bool = False) -> list[str]:
        """The command line. folder: of the output."""
        module, more = f"hidenerf.commands.{self.command}", self.earlier if earlier else self.later
        return [sys.executable, "-m", module, *self.arguments, *more, "-o", str(folder / self.name)]


def frames_of(path: Path) -> str:
    with av.open(str(path)) as container:
        return f"{sum(1 for _ in container.decode(video=0))} frames"


def bundle_of(path: Path) -> str:
    return f"a bundle in {open_bundle(path).precision}"


def clips_of(path: Path) -> str:
    # Hidden ones are what a killed process left; the readers of such folders pass over them.
    files = [file for file in path.glob("*.npz") if not file.name.startswith(".")]
    return f"{sum(len(open_clip(file).clip) > 0 for file in files)} clips"


def case_of(command: str, folder: Path) -> Case:
    """The case of a command; what it reads is made in `folder`."""
    if command == "run":
        bundle = write_untrained(TINY, folder / "bundle")
        common = ["--bundle", str(bundle), "--backend", "onnxruntime-cpu"]
        return Case(command, "o.mp4", common, ["--frames", "10"], [], frames_of)
    if command == "export":
        checkpoint = write_small_checkpoint(folder / "small.safetensors")
        return Case(command, "bundle", [str(checkpoint), "--no-parity"], [], ["--fp16"], bundle_of)
    pictures = folder / "pictures"
    pictures.mkdir()
    for name in "abc":
        write_picture(load_source(demo_source_path()).picture, pictures / f"{name}.png")
    return Case(command, "clips", [str(pictures)], [], [], clips_of)


def earlier_output(case: Case, folder: Path) -> Path:
    """An earlier output, in a folder of its own."""
    place = folder / "earlier"
    place.mkdir()
    subprocess.run(case.process(place, earlier=True), check=True, capture_output=True)
    return place / case.name


def restore(earlier: Path, path: Path) -> None:
    """Put a copy of an earlier output to `path`."""
    if earlier.is_file():
        shutil.copyfile(earlier, path)
    else:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(earlier, path)


def kilobytes(path: Path) -> int:
    """Of a file, or of the files in a folder, in pages of 4 KB as a tmpfs counts."""
    return sum(4 * -(-file.stat().st_size // 4096) for file in (path, *path.rglob("*")) if file.is_file())


def killed(case: Case, folder: Path, count: int) -> None:
    """Kill `count` runs at random moments of the time that a whole one takes."""
    outputs = folder / "outputs"
    outputs.mkdir()
    start = time.monotonic()
    subprocess.run(case.process(outputs), check=True, capture_output=True)
    lasts = time.monotonic() - start
    earlier = earlier_output(case, folder)
    generator = random.Random(1)
    found: collections.Counter[str] = collections.Counter()
    for _ in range(count):
        # Clips that are there are not prepared again.
        if case.command == "clips":
            shutil.rmtree(outputs / case.name, ignore_errors=True)
        else:
            restore(earlier, outputs / case.name)
        process = subprocess.Popen(case.process(outputs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(generator.uniform(0, 1.1 * lasts))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        ended = "killed" if process.returncode < 0 else "ended before"
        found[f"{ended}; {case.whole(outputs / case.name)}"] += 1
    left = sum(1 for path in outputs.iterdir() if path.name != case.name)
    subprocess.run(case.process(outputs), check=True, capture_output=True)
    print(f"{case.command}: {count} runs of about {lasts:.1f} s, {left} hidden files left; then one run to its end")
    for outcome, times in found.most_common():
        print(f"  {times:4} {outcome}")


def full(case: Case, folder: Path, count: int) -> None:
    """Run on disks from nothing to what a whole run takes, in `count` steps."""
    outputs = folder / "outputs"
    outputs.mkdir()
    subprocess.run(case.process(outputs), check=True, capture_output=True)
    earlier = earlier_output(case, folder)
    has, needs = (kilobytes(path) for path in (earlier, outputs / case.name))
    found: collections.Counter[str] = collections.Counter()
    for step in range(count):
        size = (0 if case.command == "clips" else has) + 4 + 3 * needs * step // (2 * count)
        disk = folder / "disk"
        disk.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)], check=True)
        try:
            if case.command != "clips":
                restore(earlier, disk / case.name)
            process = subprocess.run(case.process(disk), capture_output=True, text=True)
            errors = [line for line in process.stderr.splitlines() if line.startswith("Error: ")]
            assert "Traceback" not in process.stderr, process.stderr
            assert process.returncode == 0 or (process.returncode, len(errors)) == (2, 1), process.stderr
            whole = case.whole(disk / case.name)
            assert {path.name for path in disk.iterdir()} <= {case.name}, list(disk.iterdir())
            found[f"exit code {process.returncode}; {whole}; {errors[0][-60:] if errors else ''}"] += 1
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    print(f"{case.command}: {count} disks with up to {3 * needs // 2} KB free")
    for outcome, times in found.most_common():
        print(f"  {times:4} {outcome}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("how", choices=["kill", "full"])
    parser.add_argument("command", choices=["run", "export", "clips"])
    parser.add_argument("-n", "--count", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case = case_of(arguments.command, folder)
        (killed if arguments.how == "kill" else full)(case, folder, arguments.count)


if __name__ == "__main__":
    main()
