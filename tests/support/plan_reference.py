"""A launch plan evaluated by PyTorch in FP64, without any rounding between."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hidenerf.model.deformation import ray_samples
from hidenerf.runtime.launch_plan import (
    BIAS,
    BilinearDoubling,
    ChannelsLast,
    Convolution,
    FramePixels,
    LaunchPlan,
    MapRead,
    RaySamples,
)


def unpacked(packed: NDArray[np.uint32], channels: list[int], kernels: list[int], outputs: int) -> list[Tensor]:
    """Weights [N, C, k, k] of each input, from the words of the kernel, by mma.cuh's description of operand B."""
    halves = packed.view(np.float16).reshape(*packed.shape, 2)
    found, first = [], 0
    for count, kernel in zip(channels, kernels, strict=True):
        weight = np.zeros((16 * packed.shape[0], -(-count // 16) * 16, kernel, kernel))
        for block in range(-(-count // 16)):
            for tap in range(kernel**2):
                step = first + block * kernel**2 + tap
                for lane in range(32):
                    quad, group = lane % 4, lane // 4
                    for word in range(4):
                        for number in range(2):
                            channel = 16 * block + 8 * (word % 2) + 2 * quad + number
                            output = np.arange(packed.shape[0]) * 16 + 8 * (word // 2) + group
                            weight[output, channel, tap // kernel, tap % kernel] = halves[:, step, lane, word, number]
        first += -(-count // 16) * kernel**2
        assert not weight[outputs:].any()
        assert not weight[:, count:].any()
        found.append(torch.from_numpy(weight[:outputs, :count]))
    assert first == packed.shape[1]
    return found


def enlarged(x: Tensor, by: bool) -> Tensor:
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2) if by else x


def doubled(x: Tensor) -> Tensor:
    return F.interpolate(x[None], scale_factor=2.0, mode="bilinear", align_corners=False)[0]


def leaky(x: Tensor, leak: float) -> Tensor:
    return torch.where(x < 0, x * leak, x)


class PlanReference:
    """maps: what each step made, [C, H, W]. outputs: frame before it becomes bytes [S, S, 3], alpha [S, S]; planes."""

    def __init__(
        self, plan: LaunchPlan, weights: Mapping[str, NDArray[Any]], inputs: Mapping[str, NDArray[Any]]
    ) -> None:
        self.plan, self.weights = plan, weights
        self.inputs = {name: torch.from_numpy(np.asarray(array, np.float64)) for name, array in inputs.items()}
        self.maps: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        for step in plan.steps:
            if isinstance(step, ChannelsLast):
                planes = [
                    self.inputs[p.input][0, p.first : p.first + p.count] * p.scale + p.offset for p in step.planes
                ]
                self.maps[step.output] = torch.cat(planes)
            elif isinstance(step, Convolution):
                self._convolve(step)
            elif isinstance(step, BilinearDoubling):
                self.maps[step.output] = doubled(self.maps[step.input])
            elif isinstance(step, RaySamples):
                self._sample(step)
            else:
                self._frame(step)

    def _read(self, one: MapRead) -> Tensor:
        return enlarged(self._map(one.map), one.enlarged)

    def _map(self, name: str) -> Tensor:
        """A map, or a concatenation of maps with zeros where they have channels that are not used."""
        if name in self.maps:
            return self.maps[name]
        parts = sorted((one.first, part) for part, one in self.plan.maps.items() if one.within == name)
        return torch.cat([F.pad(self.maps[part], (0, 0, 0, 0, 0, -len(self.maps[part]) % 8)) for _, part in parts])

    def _sample(self, step: RaySamples) -> None:
        found = ray_samples(self.inputs[step.camera], self.maps[step.features][None], step.samples, step.stride)
        for name, values in zip((step.points, step.looked_up), found, strict=True):
            self.maps[name] = values[0]

    def _convolve(self, step: Convolution) -> None:
        values = [self._read(one) for one in step.inputs]
        kernels = [step.kernel, step.second_kernel][: len(values)]
        parts = unpacked(self.weights[step.weights], [len(v) for v in values], kernels, step.channels)
        x = torch.from_numpy(self.weights[step.weights + BIAS][: step.channels].astype(np.float64))[:, None, None]
        for index, (value, part, kernel) in enumerate(zip(values, parts, kernels, strict=True)):
            pointwise = index == 1 and kernel == 1
            stride = 1 if pointwise else step.stride
            x = x + F.conv2d(value[None], part, stride=stride, padding=kernel // 2)[0]
        for one in step.sums:
            x = x + self._read(one)
        x = leaky(x, step.leak)
        self.maps[step.name] = x
        if step.planes is not None:
            self.outputs[step.planes.output] = step.planes.scale * torch.tanh(x)
        if (second := step.modulation) is not None:
            gamma, beta = (self._factor(name, second.constant, step.channels) for name in (second.gamma, second.beta))
            self.maps[second.output] = leaky(enlarged(x, second.enlarged) * gamma + beta, second.leak)

    def _factor(self, name: str, constant: bool, channels: int) -> Tensor:
        if constant:
            return torch.from_numpy(self.weights[name][:channels].astype(np.float64))[:, None, None]
        return self.maps[name]

    def _frame(self, step: FramePixels) -> None:
        head = self.maps[step.head]
        picture = torch.cat([self.inputs[step.rendered][0, :3], self.inputs[step.alpha][0]])
        while picture.shape[-1] < head.shape[-1]:
            picture = doubled(picture)
        picture = torch.cat([picture + head[:4], head[4:5]])
        if step.change is not None:
            picture = doubled(picture) + F.pixel_shuffle(self.maps[step.change], 2)
        colours = picture[:3]
        if step.own is not None and step.shown is not None:
            kept = self.inputs[step.shown][0] * torch.sigmoid(picture[4:5])
            colours = colours + kept * (self.inputs[step.own][0] - colours)
        self.outputs["frame"] = colours.permute(1, 2, 0)
        self.outputs["alpha"] = picture[3]
