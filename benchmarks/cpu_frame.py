"""CPU frame: time of a frame by a bundle in ONNX Runtime and by PyTorch eager with the same weights, in one run.

    python benchmarks/cpu_frame.py [--bundle bundle] [--frames 20]

The contenders alternate frame by frame, with the same inputs and number of threads. The table has medians.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch

from hidenerf.calibration.parity.reference import model_of
from hidenerf.export.graph_modules import graph_modules
from hidenerf.model.hidenerf import frame_to_uint8
from hidenerf.runtime import Animator
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
from hidenerf.runtime.motion import load_motion

# What `Animator.frame_inputs` draws, in its order: that of the arguments of `HideNerf` and `Backend.render_secc`.
Drawn = dict[str, np.ndarray]


@click.command()
@click.option("--bundle", type=click.Path(path_type=Path), default=Path("bundle"), show_default=True)
@click.option("--frames", type=click.IntRange(1), default=20, show_default=True)
def main(bundle: Path, frames: int) -> None:
    """Print the median time per frame of each contender, and its ratio to the bundle's."""
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    motion = load_motion(demo_motion_path())
    with Animator(bundle) as animator, torch.inference_mode():
        source = animator.set_source(demo_source_path())
        model = model_of(animator.bundle, None)
        image = torch.from_numpy(source.picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
        source_camera = torch.from_numpy(source.camera)[None]
        canonical = torch.from_numpy(animator.draw_secc(source.expression))[None]
        encoder, led, renderer_refiner = graph_modules(model)
        hoisted = encoder.run({"source_image": image, "source_camera": source_camera, "secc_canonical": canonical})

        def run_hoisted(drawn: Drawn) -> None:
            inputs = {name: torch.from_numpy(array) for name, array in drawn.items()} | hoisted
            renderer_refiner.run({**inputs, **led.run(inputs)})

        def run_unhoisted(drawn: Drawn) -> None:
            driven = (torch.from_numpy(array) for array in drawn.values())
            frame_to_uint8(model(image, source_camera, canonical, *driven).frame)

        contenders: dict[str, Callable[[Drawn], object]] = {
            f"bundle ({animator.bundle.precision}), {animator.backend.name}": lambda drawn: (
                animator.backend.render_secc(*drawn.values())
            ),
            "PyTorch eager, hoisted": run_hoisted,
            "PyTorch eager, nothing hoisted": run_unhoisted,
        }
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for index in range(frames + 2):
            row = index % len(motion)
            drawn = animator.frame_inputs(motion.expression[row], motion.camera[row])
            for name, contender in contenders.items():
                start = time.perf_counter()
                contender(drawn)
                if index >= 2:
                    times[name].append(time.perf_counter() - start)
    ours = float(np.median(next(iter(times.values()))))
    click.echo(f"preset {animator.bundle.preset}, {threads} threads, {frames} frames, median")
    for name, values in times.items():
        click.echo(f"{name:<40}{np.median(values) * 1e3:>10.1f} ms{np.median(values) / ours:>8.2f} ×")


if __name__ == "__main__":
    main()
