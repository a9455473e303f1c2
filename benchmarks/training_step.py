"""Training step: its speed and the times of its phases on a GPU, and errors and times of the Triton kernels.

python benchmarks/training_step.py [--preset demo] [--batch-size 32] [--no-pieces] [--plain] [--adversarial]
    [--compile] [--out FOLDER]

Images are random, so the step is measured without the making of pairs. Needs an NVIDIA GPU.
"""

import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hidenerf.model.appearance import CameraToWorld, VolumeHead
from hidenerf.model.config import PRESETS, ModelConfig
from hidenerf.model.hidenerf import HideNerf, random_model
from hidenerf.model.rendering import sample_planes
from hidenerf.runtime.camera import canonical_camera
from hidenerf.training.data.batch import Batch
from hidenerf.training.kernels import field, sampling, volume
from hidenerf.training.kernels.field import Mlp, plain_field, render_field
from hidenerf.training.kernels.triton_use import without_triton
from hidenerf.training.kernels.volume import FastVolumeHead
from hidenerf.training.loop.config import LossWeights, TrainingConfig
from hidenerf.training.loop.processes import Processes
from hidenerf.training.loop.trainer import PhaseClock, Trainer

GPU = torch.device("cuda")


class RandomPairs:
    """A source of three random batches, in turn: smooth images, and cameras near the canonical one."""

    def __init__(self, config: ModelConfig, batch_size: int) -> None:
        self.batches = [self._batch(config, batch_size) for _ in range(3)]
        self.drawn = 0

    def sample(self, batch_size: int) -> Batch:
        """The next batch; batch_size must not exceed the constructor's."""
        self.drawn += 1
        return Batch(*(tensor[:batch_size] for tensor in self.batches[self.drawn % len(self.batches)]))

    @staticmethod
    def _batch(config: ModelConfig, count: int) -> Batch:
        size, secc_size = config.image_size, config.secc_size

        def smooth(channels: int, side: int) -> Tensor:
            noise = torch.rand(count, channels, 16, 16, device=GPU)
            return F.interpolate(noise, size=(side, side), mode="bilinear")

        mask = (smooth(1, size) > 0.4).float()
        weight = mask * smooth(1, size)
        return Batch(
            source_image=smooth(3, size) * mask,
            source_camera=random_cameras(count),
            secc_canonical=smooth(3, secc_size),
            secc_driving=smooth(3, secc_size),
            camera=random_cameras(count),
            target=smooth(3, size) * mask,
            mask=mask,
            region=mask * (smooth(1, size) > 0.6),
            source_mask=mask,
            surface=smooth(3, config.render_size) - 0.5,
            source_surface=smooth(3, config.render_size) - 0.5,
            face_sight=torch.cat([weight * smooth(2, size), weight, weight * smooth(1, size)], 1),
            trusted=torch.ones_like(mask),
        )


def random_cameras(count: int) -> Tensor:
    """Cameras [count, 25] with yaws up to ±30° and pitches up to ±15°, the same on every call."""
    angles = np.random.default_rng(0).uniform(-30, 30, (count, 2))
    return torch.from_numpy(np.stack([canonical_camera(yaw, pitch / 2) for yaw, pitch in angles])).to(GPU)


def milliseconds(work: Callable[[], object], repeats: int = 10) -> float:
    """Median time of `work` on the GPU, milliseconds."""
    for _ in range(3):
        work()
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for begin, end in marks:
        begin.record()
        work()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in marks)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Relative error of a tensor in the Frobenius norm."""
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm())


def check_and_time_networks(config: ModelConfig, batch: int) -> None:
    """Print errors and times of the finest level's sum of products and of the field, in bfloat16. batch: B."""
    torch.manual_seed(0)
    side, terms, depth = config.plane_sizes[-1], config.volume_terms, config.volume_depths[-1]
    maps = [torch.randn(batch, side, side, terms, n, device=GPU).bfloat16() for n in (config.plane_channels, depth)]
    head = FastVolumeHead(8, config.plane_channels, depth, terms)

    def sum_up(kind: type[VolumeHead], given: list[Tensor]) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16, enabled=given[0].dtype != torch.float64):
            return kind.sum_of_products(head, *given)

    compare("volume", partial(sum_up, FastVolumeHead), partial(sum_up, VolumeHead), [one[:1] for one in maps])
    chosen = volume.BLOCK, volume.WARPS
    for volume.BLOCK, volume.WARPS in ((8, 2), (8, 4), (16, 4), (16, 8), (32, 8)):
        print_times(
            f"sum of products, {volume.BLOCK} pixels {volume.WARPS} warps", partial(sum_up, FastVolumeHead), maps
        )
    volume.BLOCK, volume.WARPS = chosen
    print_times("sum of products, plain", partial(sum_up, VolumeHead), maps)

    rays, samples = config.render_size**2, config.samples_per_ray
    renderer = random_model(config, 0).renderer.to(GPU)
    points = torch.rand(batch, samples, 3, rays, device=GPU) * 2 - 1
    moved = torch.rand(batch, samples, 3, rays, device=GPU) * 2 - 1
    length = torch.rand(batch, 1, rays, device=GPU) * 0.1
    weights = [renderer.first.weight, renderer.first.bias, renderer.second.weight, renderer.second.bias]
    features = torch.randn(batch, samples, rays, len(config.plane_sizes) * config.plane_channels, device=GPU).bfloat16()

    def render(kernels: bool, given: list[Tensor]) -> Tensor:
        features, *weights = given
        few, kind = len(features), torch.float64 if features.dtype == torch.float64 else torch.float32
        steps = render_field if kernels else plain_field
        with torch.autocast("cuda", torch.bfloat16, enabled=kind == torch.float32):
            places = points[:few].to(kind), moved[:few].to(kind)
            rendered, alpha, place = steps(features, *places, length[:few].to(kind), Mlp(*weights), renderer.octaves)
        return torch.cat([rendered, alpha[:, None], place], 1)

    compare("field", partial(render, True), partial(render, False), [features[:2], *weights])
    chosen = field.BLOCK, field.WARPS
    for field.BLOCK, field.WARPS in ((16, 4), (32, 4), (32, 8), (64, 4), (64, 8)):
        rays = field.rays_a_program(features.shape[-1])
        print_times(f"field, {rays} rays {field.WARPS} warps", partial(render, True), [features, *weights])
    field.BLOCK, field.WARPS = chosen
    print_times("field, plain", partial(render, False), [features, *weights])


def check_and_time_lookups(config: ModelConfig, batch: int) -> None:
    """Print errors of the look-ups against FP64, and times of ours and of the model's functions. batch: B."""
    torch.manual_seed(0)
    channels, depth = config.plane_channels, config.volume_depths[-1]
    camera = random_cameras(batch)
    for kind in (torch.float32, torch.bfloat16):
        few = 2
        planes = [torch.randn(few, 3, channels, r, r, device=GPU, dtype=kind) for r in config.plane_sizes]
        points = torch.rand(few, config.samples_per_ray, 3, 1024, device=GPU) * 2.2 - 1.1
        volume = torch.randn(few, channels, depth, 64, 64, device=GPU, dtype=kind)
        exact_inputs = [t.double().requires_grad_() for t in (points, *planes)]
        inputs = [t.clone().requires_grad_() for t in (points, *planes)]
        found = sampling.plane_features(inputs[1:], inputs[0])
        by_axis = exact_inputs[0].transpose(1, 2)
        exact = torch.cat([sample_planes(p, by_axis) for p in exact_inputs[1:]], 1).permute(0, 2, 3, 1)
        gradient = torch.randn_like(found)
        pairs = [(found, exact)]
        pairs += zip(
            torch.autograd.grad(found, inputs, gradient),
            torch.autograd.grad(exact, exact_inputs, gradient.double()),
            strict=True,
        )
        print(kind, "planes: out, points, planes:", *(f"{relative_error(a, b):.1e}" for a, b in pairs))
        size, samples = config.plane_sizes[-1], config.plane_samples[-1]
        one, other = volume.clone().requires_grad_(), volume.double().requires_grad_()
        found = sampling.resample_volume(one, camera[:few], size, samples)
        exact = CameraToWorld(size, samples)(other, camera[:few].double())
        gradient = torch.randn_like(found)
        back = torch.autograd.grad(found, one, gradient)[0], torch.autograd.grad(exact, other, gradient.double())[0]
        print(kind, f"volume: out {relative_error(found, exact):.1e}, volume {relative_error(*back):.1e}")

    bf16 = torch.bfloat16
    planes = [
        torch.randn(batch, r, r, 3, channels, device=GPU, dtype=bf16).permute(0, 3, 4, 1, 2) for r in config.plane_sizes
    ]
    rays = config.render_size**2
    points = torch.rand(batch, config.samples_per_ray, 3, rays, device=GPU) * 2 - 1
    side = config.plane_sizes[-1]
    flat = torch.randn(batch, channels * depth, side, side, device=GPU, dtype=bf16)
    flat = flat.to(memory_format=torch.channels_last)

    def features(given: list[Tensor]) -> Tensor:
        return sampling.plane_features(given[1:], given[0])

    def plain_features(given: list[Tensor]) -> Tensor:
        return torch.cat([sample_planes(p, given[0].transpose(1, 2)) for p in given[1:]], 1)

    def resampled(given: list[Tensor]) -> Tensor:
        volume = given[0].reshape(batch, channels, depth, side, side)
        return sampling.resample_volume(volume, camera, side, config.plane_samples[-1])

    def plain_resampled(given: list[Tensor]) -> Tensor:
        volume = given[0].reshape(batch, channels, depth, side, side).float()
        return CameraToWorld(side, config.plane_samples[-1])(volume, camera)

    chosen = sampling.BLOCK, sampling.WARPS
    for sampling.BLOCK, sampling.WARPS in ((32, 2), (32, 4), (64, 2), (64, 4), (128, 4), (128, 8), (256, 8)):
        print_times(f"planes, {sampling.BLOCK} points {sampling.WARPS} warps", features, [points, *planes])
        print_times(f"volume, {sampling.BLOCK} cells {sampling.WARPS} warps", resampled, [flat])
    sampling.BLOCK, sampling.WARPS = chosen
    print_times("planes, F.grid_sample", plain_features, [points, *planes])
    print_times("volume, F.grid_sample", plain_resampled, [flat])


def compare(
    name: str, ours: Callable[[list[Tensor]], Tensor], plain: Callable[[list[Tensor]], Tensor], inputs: list[Tensor]
) -> None:
    """Print errors of ours and of PyTorch's functions against FP64: of the result and of each input's gradient."""
    exact_inputs = [one.detach().double().requires_grad_() for one in inputs]
    exact = plain(exact_inputs)
    gradient = torch.randn_like(exact)
    expected = [exact, *torch.autograd.grad(exact, exact_inputs, gradient)]
    for kind, work in (("ours", ours), ("plain", plain)):
        given = [one.detach().clone().requires_grad_() for one in inputs]
        out = work(given)
        found = [out, *torch.autograd.grad(out, given, gradient.to(out.dtype))]
        print(name, kind, *(f"{relative_error(a, b):.1e}" for a, b in zip(found, expected, strict=True)), flush=True)


def print_times(name: str, work: Callable[[list[Tensor]], Tensor], inputs: list[Tensor]) -> None:
    """Print the times of `work`, forward and backward."""
    inputs = [one.detach().requires_grad_() for one in inputs]
    gradient = torch.randn_like(work(inputs))
    forward = milliseconds(lambda: work(inputs))
    both = milliseconds(lambda: torch.autograd.grad(work(inputs), inputs, gradient))
    print(f"{name:44s} forward {forward:8.2f} ms, backward {both - forward:8.2f} ms", flush=True)


def compile_networks(model: HideNerf) -> None:
    """Apply torch.compile to the convolutional networks. `hidenerf-train` does not: it takes longer than it saves."""
    networks: list[nn.Module] = [model.appearance.extractor, *model.appearance.volume_heads]
    for network in (*networks, model.deformation, model.id_encoder, model.refiner):
        network.compile()


def time_steps(config: ModelConfig, batch: int, kind: str, out: Path | None) -> None:
    """Print pairs a second of whole steps, and the time of each phase.

    batch: pairs in a batch.
    kind: "", "plain", "adversarial" or "compiled".
    out: folder for a profile; None for none.
    """
    losses = LossWeights(adversarial=0.02 if kind == "adversarial" else 0.0)
    settings = TrainingConfig(steps=10**6, batch_size=batch, losses=losses, adversarial_start=0.0)
    # Reference cycles keep the previous trainer in memory.
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    trainer = Trainer(config, settings, Processes(GPU))
    pairs = RandomPairs(config, batch)
    clock = PhaseClock(GPU)
    begun = time.monotonic()
    if kind == "compiled":
        compile_networks(trainer.model)
    errors = [float(trainer.train_step(pairs, clock)["absolute_refined"]) for _ in range(6)]
    clock.take()
    ready = time.monotonic() - begun
    count, begun = 40, time.monotonic()
    for _ in range(count):
        trainer.train_step(pairs, clock)
    phases = clock.take()
    spent = time.monotonic() - begun
    errors.append(float(trainer.train_step(pairs, clock)["absolute_refined"]))
    print(
        f"batch {batch}{kind and ' '}{kind}: {count * batch / spent:.0f} pairs/s, {1e3 * spent / count:.1f} ms a step:",
        end=" ",
    )
    print(", ".join(f"{name} {value:.1f}" for name, value in phases.items()), end="; ")
    print(f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB, first steps {ready:.0f} s,", end=" ")
    print(f"error {errors[0]:.3f} to {errors[-1]:.3f}, skipped {float(trainer.skipped):.0f}", flush=True)
    if out is not None:
        with torch.profiler.profile() as profile:
            for _ in range(3):
                trainer.train_step(pairs, clock)
            torch.cuda.synchronize()
        name = f"profile-{batch}{kind and '-'}{kind}.txt"
        table = profile.key_averages().table(sort_by="self_cuda_time_total", row_limit=70, max_name_column_width=110)
        (out / name).write_text(table)


@click.command()
@click.option("--preset", default="demo")
@click.option("--eager/--no-eager", default=True, help="Time steps of the paper's losses without torch.compile.")
@click.option("--batch-size", "batches", type=int, multiple=True, default=(32,))
@click.option("--compile", "compiled", is_flag=True, help="Time compiled networks too.")
@click.option("--adversarial", is_flag=True, help="Time steps with discriminators too.")
@click.option("--plain", is_flag=True, help="Time steps without our Triton kernels too.")
@click.option("--pieces/--no-pieces", default=True, help="Check and time the Triton kernels on their own.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for profiles.")
def main(
    preset: str,
    eager: bool,
    batches: tuple[int, ...],
    compiled: bool,
    adversarial: bool,
    plain: bool,
    pieces: bool,
    out: Path | None,
) -> None:
    """Check and time the Triton kernels and whole steps."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    print(torch.cuda.get_device_name(), "PyTorch", torch.__version__)
    config = PRESETS[preset]
    if pieces:
        check_and_time_networks(config, batches[0])
        check_and_time_lookups(config, batches[0])
    for batch in batches if eager else ():
        time_steps(config, batch, "", out)
        if plain:
            with without_triton():
                time_steps(config, batch, "plain", out)
    if adversarial:
        time_steps(config, batches[0], "adversarial", out)
    if compiled:
        time_steps(config, batches[0], "compiled", out)


if __name__ == "__main__":
    main()
