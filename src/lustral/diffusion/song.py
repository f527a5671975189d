"""The U-Nets of score-based models, DDPM++ and NCSN++, in plain torch and with the parameter names of EDM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["SongShape", "SongUNet", "resample"]

Way = Literal["up", "down"]
_Map = Float[Tensor, "n c h w"]
_EPS = 1e-6


def resample(x: _Map, way: Way, taps: Sequence[float]) -> _Map:
    """Twice or half the size by a symmetric separable filter: (1, 1) is nearest or mean, (1, 3, 3, 1) is smooth."""
    line = torch.tensor(taps, dtype=x.dtype, device=x.device)
    line = line / line.sum()
    kernel = line.outer(line).expand(x.shape[1], 1, -1, -1)
    padding = (len(taps) - 1) // 2
    if way == "down":
        return functional.conv2d(x, kernel, stride=2, padding=padding, groups=x.shape[1])
    return functional.conv_transpose2d(x, 4 * kernel, stride=2, padding=padding, groups=x.shape[1])


@dataclass(frozen=True)
class SongShape:
    """What fixes a ``SongUNet``.

    Attributes:
        side: side of the images.
        width: channels of the first level.
        multiples: channels of each level over ``width``.
        blocks: residual blocks per level on the way down, one more on the way up.
        attention: sides of the levels with attention.
        fourier: whether the noise level is embedded by random frequencies, else by fixed ones.
        embedding: width of the embedded level over ``width``.
        encoder: how the image enters lower levels: "standard" not at all, "skip" by 1x1 convolutions of smaller images,
            "residual" by strided convolutions.
        decoder: "standard" reads the image off the last level, "skip" sums what it reads off all of them.
        taps: filter of up- and downsampling.
    """

    side: int
    width: int = 128
    multiples: tuple[int, ...] = (2, 2, 2)
    blocks: int = 4
    attention: tuple[int, ...] = (16,)
    fourier: bool = False
    embedding: int = 4
    encoder: Literal["standard", "skip", "residual"] = "standard"
    decoder: Literal["standard", "skip"] = "standard"
    taps: tuple[float, ...] = (1.0, 1.0)


class _Frequencies(nn.Module):
    """Sines and cosines of a noise level: fixed frequencies as in transformers, or the random ones of a checkpoint."""

    def __init__(self, width: int, fourier: bool) -> None:
        super().__init__()
        self.number = width // (1 if fourier else 2)
        if fourier:
            self.register_buffer("freqs", torch.zeros(self.number))

    def forward(self, noise: Float[Tensor, " n"]) -> Float[Tensor, "n e"]:
        fixed = self._buffers.get("freqs")
        if fixed is None:
            places = torch.arange(self.number, dtype=noise.dtype, device=noise.device)
            frequencies = 10_000.0 ** (-places / (self.number - 1))
        else:
            frequencies = 2 * math.pi * fixed.to(noise.dtype)
        angles = noise[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class _Conv(nn.Conv2d):
    """A convolution that may resample its input first."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, way: Way | None = None, taps: Sequence[float] = ()
    ) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.way: Way | None = way
        self.taps = taps

    def forward(self, input: _Map) -> _Map:
        return super().forward(input if self.way is None else resample(input, self.way, self.taps))


class _ConvThenDown(nn.Conv2d):
    """A convolution and a downsampling fused: zeros are padded once, for both."""

    def __init__(self, inputs: int, outputs: int, taps: Sequence[float]) -> None:
        super().__init__(inputs, outputs, 3, padding=1 + (len(taps) - 1) // 2)
        self.taps = taps

    def forward(self, input: _Map) -> _Map:
        line = torch.tensor(self.taps, dtype=input.dtype, device=input.device)
        line = line / line.sum()
        kernel = line.outer(line).expand(self.out_channels, 1, -1, -1)
        return functional.conv2d(super().forward(input), kernel, stride=2, groups=self.out_channels)


class _Resample(nn.Module):
    def __init__(self, way: Way, taps: Sequence[float]) -> None:
        super().__init__()
        self.way: Way = way
        self.taps = taps

    def forward(self, x: _Map) -> _Map:
        return resample(x, self.way, self.taps)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, channels // 4), channels, eps=_EPS)


class _Block(nn.Module):
    """Residual block, with self-attention after it if asked for; every sum is scaled by the square root of 1/2."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        level: int,
        taps: Sequence[float],
        way: Way | None = None,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.attention = inputs, outputs, attention
        self.norm0 = _norm(inputs)
        self.conv0 = _Conv(inputs, outputs, 3, way, taps)
        self.affine = nn.Linear(level, outputs)
        self.norm1 = _norm(outputs)
        self.conv1 = _Conv(outputs, outputs, 3)
        self.skip = nn.Identity() if inputs == outputs and way is None else _Conv(inputs, outputs, 1, way, taps)
        if attention:
            self.norm2 = _norm(outputs)
            self.qkv = _Conv(outputs, 3 * outputs, 1)
            self.proj = _Conv(outputs, outputs, 1)

    def forward(self, x: _Map, level: Float[Tensor, "n e"]) -> _Map:
        y = self.conv0(functional.silu(self.norm0(x))) + self.affine(level)[:, :, None, None]
        y = self.conv1(functional.silu(self.norm1(y)))
        x = (self.skip(x) + y) * math.sqrt(0.5)
        return (x + self._attend(x)) * math.sqrt(0.5) if self.attention else x

    def _attend(self, x: _Map) -> _Map:
        n, channels, height, width = x.shape
        parts = self.qkv(self.norm2(x)).reshape(n, channels, 3, height * width)  # q, k, v take turns
        query, key, value = parts.unbind(2)  # (n, c, pixels)
        weights = (query.transpose(1, 2) @ key / math.sqrt(channels)).softmax(dim=2)  # (n, pixels, pixels)
        return self.proj((value @ weights.transpose(1, 2)).reshape(n, channels, height, width))


class SongUNet(nn.Module):
    """DDPM++ or NCSN++, told the noise level by one number per image.

    Shape: images (n, 3, h, w) and labels (n,) -> (n, 3, h, w). Sides must be divisible by ``2 ** (levels - 1)``.

    Source: Song et al., arXiv:2011.13456, appendix H; names and order of the parameters as in EDM (arXiv:2206.00364),
        into which those of score_sde translate. Differs: no augmentation labels and no class labels (they are folded
        into biases on conversion), no dropout, no compiled operators.
    """

    def __init__(self, shape: SongShape) -> None:
        super().__init__()
        level = shape.embedding * shape.width
        self.map_noise = _Frequencies(shape.width, shape.fourier)
        self.map_layer0 = nn.Linear((2 if shape.fourier else 1) * shape.width, level)
        self.map_layer1 = nn.Linear(level, level)
        self.enc = nn.ModuleDict(_encoder(shape, level))
        skips = [_outputs(part) for name, part in self.enc.items() if "aux" not in name]
        self.dec = nn.ModuleDict(_decoder(shape, level, skips))

    def forward(self, x: Float[Tensor, "n 3 h w"], noise: Float[Tensor, " n"]) -> Float[Tensor, "n 3 h w"]:
        level = functional.silu(self.map_layer0(self.map_noise(noise).to(x.dtype)))
        level = functional.silu(self.map_layer1(level))
        return self._up(*self._down(x, level), level)

    def _down(self, x: Tensor, level: Tensor) -> tuple[Tensor, list[Tensor]]:
        image, skips = x, list[Tensor]()
        for name, part in self.enc.items():
            if name.endswith("aux_down"):
                image = part(image)
            elif name.endswith("aux_skip"):
                x = skips[-1] = x + part(image)
            elif name.endswith("aux_residual"):
                x = skips[-1] = image = (x + part(image)) * math.sqrt(0.5)
            else:
                x = part(x, level) if isinstance(part, _Block) else part(x)
                skips.append(x)
        return x, skips

    def _up(self, x: Tensor, skips: list[Tensor], level: Tensor) -> Tensor:
        image = normed = torch.zeros((), dtype=x.dtype, device=x.device)
        for name, part in self.dec.items():
            if name.endswith("aux_up"):
                image = part(image)
            elif name.endswith("aux_norm"):
                normed = part(x)
            elif name.endswith("aux_conv"):
                image = image + part(functional.silu(normed))
            else:
                x = part(torch.cat([x, skips.pop()], dim=1) if "_block" in name else x, level)
        return image


def _outputs(part: nn.Module) -> int:
    outputs = part.outputs if isinstance(part, _Block) else part.out_channels
    assert isinstance(outputs, int)
    return outputs


def _encoder(shape: SongShape, level: int) -> dict[str, nn.Module]:
    parts: dict[str, nn.Module] = {}
    now, image = shape.width, 3
    for depth, multiple in enumerate(shape.multiples):
        side = shape.side >> depth
        prefix = f"{side}x{side}_"
        if depth == 0:
            parts[prefix + "conv"] = _Conv(3, now, 3)
        else:
            parts[prefix + "down"] = _Block(now, now, level, shape.taps, "down")
            if shape.encoder == "skip":
                parts[prefix + "aux_down"] = _Resample("down", shape.taps)
                parts[prefix + "aux_skip"] = _Conv(image, now, 1)
            elif shape.encoder == "residual":
                parts[prefix + "aux_residual"] = _ConvThenDown(image, now, shape.taps)
                image = now
        for index in range(shape.blocks):
            before, now = now, shape.width * multiple
            parts[f"{prefix}block{index}"] = _Block(
                before, now, level, shape.taps, attention=side in shape.attention
            )  # fmt: skip
    return parts


def _decoder(shape: SongShape, level: int, skips: list[int]) -> dict[str, nn.Module]:
    parts: dict[str, nn.Module] = {}
    deepest = len(shape.multiples) - 1
    now = shape.width * shape.multiples[-1]
    for depth in range(deepest, -1, -1):
        side = shape.side >> depth
        prefix = f"{side}x{side}_"
        if depth == deepest:
            parts[prefix + "in0"] = _Block(now, now, level, shape.taps, attention=True)
            parts[prefix + "in1"] = _Block(now, now, level, shape.taps)
        else:
            parts[prefix + "up"] = _Block(now, now, level, shape.taps, "up")
        for index in range(shape.blocks + 1):
            before, now = now + skips.pop(), shape.width * shape.multiples[depth]
            attention = index == shape.blocks and side in shape.attention
            parts[f"{prefix}block{index}"] = _Block(before, now, level, shape.taps, attention=attention)
        if shape.decoder == "skip" and depth < deepest:
            parts[prefix + "aux_up"] = _Resample("up", shape.taps)
        if shape.decoder == "skip" or depth == 0:
            parts[prefix + "aux_norm"] = _norm(now)
            parts[prefix + "aux_conv"] = _Conv(now, 3, 3)
    return parts
