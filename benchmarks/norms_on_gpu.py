"""Norms on a GPU: errors and times of the fused norms and of PyTorch's, for each kind and size of norm in a model.

bash benchmarks/gpu_session.sh python3 benchmarks/norms_on_gpu.py [--preset demo] [--batch-size 32] [--settings]

Times are of forward and backward passes in bfloat16, channels innermost, replayed as CUDA graphs as in training. Errors
are the largest relative ones of output and gradients, against FP64.
"""

import statistics
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import click
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hidenerf.model.config import PRESETS, ModelConfig
from hidenerf.model.hidenerf import random_model
from hidenerf.model.layers import LEAK, ConvBlock, ResidualBlock
from hidenerf.model.refinement import Spade
from hidenerf.runtime.camera import canonical_camera
from hidenerf.training.kernels import norm as fused

# Reads and writes of a map, forward and backward, by PyTorch's functions and by ours; modulation counts as two maps.
PASSES = {"norm": (13, 8), "residual": (16, 11), "spade": (33, 15)}
# Assumed memory bandwidth, bytes a second.
BANDWIDTH = 4e12
# Runs in one CUDA graph.
REPEATS = 10


class Site(NamedTuple):
    """Kind and size of a norm.

    kind: "norm", "residual" or "spade".
    channels: of the map.
    side: of the map, pixels.
    """

    kind: str
    channels: int
    side: int


def sites_of(config: ModelConfig) -> Counter[Site]:
    """Number of norms of each kind and size in a forward pass of a model."""
    model, found = random_model(config, 0), Counter[Site]()
    kinds = {}
    for module in model.modules():
        if isinstance(module, ConvBlock):
            kinds[module[1]] = "norm"
        elif isinstance(module, ResidualBlock):
            kinds[module.second[1]] = "residual"
        elif isinstance(module, Spade):
            kinds[module.norm] = "spade"

    def note(kind: str, _: nn.Module, arguments: tuple[Tensor]) -> None:
        found[Site(kind, *arguments[0].shape[1:3])] += 1

    for norm, kind in kinds.items():
        norm.register_forward_pre_hook(partial(note, kind))
    picture, secc = (torch.rand(1, 3, side, side) for side in (config.image_size, config.secc_size))
    camera = torch.from_numpy(canonical_camera(0.0, 0.0))[None]
    with torch.no_grad():
        model(picture, camera, secc, secc, camera)
    return found


class Case:
    """Random inputs of one norm, computed by PyTorch's functions and by ours.

    For SPADE the inputs are x, gamma, beta and the biases of these. Ours take gamma and beta as one map, and their
    biases as one vector.
    batch: B.
    """

    def __init__(self, site: Site, batch: int) -> None:
        torch.manual_seed(0)
        shape = batch, site.channels, site.side, site.side
        maps = {"norm": 1, "residual": 2, "spade": 3}[site.kind]
        self.kind = site.kind
        self.norm = nn.BatchNorm2d(site.channels, affine=site.kind != "spade").cuda()
        self.inputs = [self._map(shape) for _ in range(maps)]
        self.our_inputs = self.inputs
        if site.kind == "spade":
            biases = [torch.randn(site.channels, device="cuda") for _ in range(2)]
            self.our_inputs = [self.inputs[0], torch.cat(self.inputs[1:], 1), torch.cat(biases)]
            self.inputs += biases
        for tensor in (*self.inputs, *self.our_inputs):
            tensor.requires_grad_()
        self.gradient = self._map(shape)

    @staticmethod
    def _map(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, device="cuda").to(torch.bfloat16, memory_format=torch.channels_last)

    def plain(self) -> list[Tensor]:
        """Output and all gradients by PyTorch's functions."""
        return self._results(self._plain, self.norm, self.inputs, self.gradient)

    def ours(self) -> list[Tensor]:
        """Output and all gradients by the fused norms, for SPADE of their own inputs."""
        return self._results(self._ours, self.norm, self.our_inputs, self.gradient)

    def exact(self) -> list[Tensor]:
        """As `plain`, in FP64."""
        norm = nn.BatchNorm2d(self.norm.num_features, affine=self.norm.affine).cuda().double()
        inputs = [tensor.detach().double().requires_grad_() for tensor in self.inputs]
        return self._results(self._plain, norm, inputs, self.gradient.double())

    def errors(self) -> tuple[float, float]:
        """Largest relative errors of `plain` and `ours`."""
        exact, ours = self.exact(), self.ours()
        if self.kind == "spade":
            out, x, modulation, biases = ours
            ours = [out, x, *modulation.chunk(2, 1), *biases.chunk(2)]
        return largest_error(self.plain(), exact), largest_error(ours, exact)

    def _plain(self, norm: nn.Module, inputs: list[Tensor]) -> Tensor:
        x = norm(inputs[0])
        if self.kind == "residual":
            x = inputs[1] + x
        elif self.kind == "spade":
            gamma, beta = (
                values + bias.to(values.dtype)[:, None, None]
                for values, bias in zip(inputs[1:3], inputs[3:], strict=True)
            )
            x = x * (1.0 + gamma) + beta
        return F.leaky_relu(x, LEAK)

    def _ours(self, norm: nn.Module, inputs: list[Tensor]) -> Tensor:
        if self.kind == "spade":
            return fused._NormLeaky.apply(inputs[0], None, None, None, *inputs[1:], norm)
        return fused.batch_norm_leaky(inputs[0], norm, *inputs[1:])

    @staticmethod
    def _results(
        work: Callable[[nn.Module, list[Tensor]], Tensor], norm: nn.Module, inputs: list[Tensor], gradient: Tensor
    ) -> list[Tensor]:
        out = work(norm, inputs)
        return [out.detach(), *torch.autograd.grad(out, [*inputs, *norm.parameters()], gradient)]


def milliseconds(work: Callable[[], object]) -> float:
    """Median time of `work`, milliseconds, in a CUDA graph of REPEATS runs."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(REPEATS):
            work()
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(7)]
    for begin, end in marks:
        begin.record()
        graph.replay()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in marks) / REPEATS


def largest_error(found: list[Tensor], exact: list[Tensor]) -> float:
    """The largest relative error, in the Frobenius norm, of several tensors."""
    return max(float((one.double() - other).norm() / other.norm()) for one, other in zip(found, exact, strict=True))


def compare(sites: Counter[Site], batch: int) -> None:
    """Print errors and times of each norm, and the times' sums over a step."""
    totals, counted = [0.0, 0.0], [0.0, 0.0]
    print("kind      channels side  times   plain ms  fused ms  plain GB/s fused GB/s  error plain  fused")
    for site, count in sorted(sites.items(), key=lambda item: -item[0].channels * item[0].side ** 2):
        case = Case(site, batch)
        errors = case.errors()
        taken = [milliseconds(work) for work in (case.plain, case.ours)]
        passed = [passes * 2 * batch * site.channels * site.side**2 for passes in PASSES[site.kind]]
        for index in range(2):
            totals[index] += count * taken[index]
            counted[index] += count * passed[index]
        rates = [size / time / 1e6 for size, time in zip(passed, taken, strict=True)]
        print(
            f"{site.kind:9} {site.channels:8} {site.side:4}  {count:5} {taken[0]:10.3f} {taken[1]:9.3f}"
            f" {rates[0]:11.0f} {rates[1]:10.0f} {errors[0]:12.1e} {errors[1]:6.1e}",
            flush=True,
        )
    print(f"a step: plain {totals[0]:.2f} ms, fused {totals[1]:.2f} ms, saved {totals[0] - totals[1]:.2f} ms;", end=" ")
    expected = [1e3 * size / BANDWIDTH for size in counted]
    print(f"at {BANDWIDTH / 1e12:.0f} TB/s it would be {expected[0]:.2f} and {expected[1]:.2f} ms")


def compare_settings(sites: Counter[Site], batch: int) -> None:
    """Print the time of a step's fused norms for several sizes of programs."""
    chosen = fused.TILE, fused.PARTS, fused.WARPS
    for fused.TILE, fused.PARTS, fused.WARPS in (
        chosen,
        (1024, 1056, 4),
        (1024, 1056, 2),
        (2048, 1056, 4),
        (2048, 264, 4),
        (4096, 264, 4),
        (4096, 528, 8),
    ):
        total = 0.0
        for site, count in sites.items():
            total += count * milliseconds(Case(site, batch).ours)
        print(f"{fused.TILE} values, {fused.PARTS} parts, {fused.WARPS} warps: {total:.2f} ms a step", flush=True)
    fused.TILE, fused.PARTS, fused.WARPS = chosen


@click.command()
@click.option("--preset", default="demo")
@click.option("--batch-size", "batch", type=int, default=32)
@click.option("--settings", is_flag=True, help="Time other sizes of programs too.")
def main(preset: str, batch: int, settings: bool) -> None:
    """Compare the fused norms of a preset with PyTorch's."""
    print(torch.cuda.get_device_name(), "PyTorch", torch.__version__)
    torch.backends.cudnn.benchmark = True
    sites = sites_of(PRESETS[preset])
    compare(sites, batch)
    if settings:
        compare_settings(sites, batch)


if __name__ == "__main__":
    main()
