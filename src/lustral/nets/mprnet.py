"""MPRNet: an image is restored in quarters, then in halves, then as a whole, each stage helped by the one before."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["MPRNet"]

_LEVELS = (1, 2, 3)
_MULTIPLE = 8  # quarters are halved twice


def _plain(inputs: int, outputs: int, kernel: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)


def _split(x: Tensor, side: int) -> Tensor:
    """Both halves of images along ``side`` as images of their own, (n, ...) -> (2n, ...)."""
    return torch.cat(x.chunk(2, side))


def _joined(x: Tensor, side: int) -> Tensor:
    """The inverse of ``_split``."""
    return torch.cat(x.chunk(2), side)


class _Attention(nn.Module):
    """Channels scaled by what their means say."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        narrow = width // reduction
        self.conv_du = nn.Sequential(_plain(width, narrow), nn.ReLU(), _plain(narrow, width), nn.Sigmoid())

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x * self.conv_du(x.mean((2, 3), keepdim=True))


class _Block(nn.Module):
    """Residual block with channel attention."""

    def __init__(self, width: int, reduction: int, act: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(_plain(width, width, 3), act, _plain(width, width, 3))
        self.CA = _Attention(width, reduction)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.CA(self.body(x))


class _Down(nn.Module):
    """Half the size; the mean of 2 x 2 pixels is bilinear interpolation at that ratio."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.AvgPool2d(2), _plain(inputs, outputs))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d g v"]:
        return self.down(x)


class _Up(nn.Module):
    """Twice the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        larger = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.up = nn.Sequential(larger, _plain(inputs, outputs))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d g v"]:
        return self.up(x)


class _Encoder(nn.Module):
    """Features at three resolutions; the second stage adds those of the first one."""

    def __init__(self, widths: Sequence[int], reduction: int, act: nn.Module, fused: bool) -> None:
        super().__init__()
        self.down12 = _Down(widths[0], widths[1])
        self.down23 = _Down(widths[1], widths[2])
        for level, width in zip(_LEVELS, widths, strict=True):
            blocks = (_Block(width, reduction, act) for _ in range(2))
            self.add_module(f"encoder_level{level}", nn.Sequential(*blocks))
            if fused:
                self.add_module(f"csff_enc{level}", _plain(width, width))
                self.add_module(f"csff_dec{level}", _plain(width, width))

    def forward(self, x: Tensor, before: Sequence[tuple[Tensor, Tensor]] = ()) -> list[Tensor]:
        """Features, largest first; ``before`` are those of encoder and decoder of the stage before."""
        found: list[Tensor] = []
        for level in _LEVELS:
            if level > 1:
                x = self.get_submodule(f"down{level - 1}{level}")(found[-1])
            x = self.get_submodule(f"encoder_level{level}")(x)
            if before:
                encoded, decoded = before[level - 1]
                x = x + self.get_submodule(f"csff_enc{level}")(encoded)
                x = x + self.get_submodule(f"csff_dec{level}")(decoded)
            found.append(x)
        return found


class _Decoder(nn.Module):
    """The same three resolutions on the way up."""

    def __init__(self, widths: Sequence[int], reduction: int, act: nn.Module) -> None:
        super().__init__()
        for level, width in zip(_LEVELS, widths, strict=True):
            blocks = (_Block(width, reduction, act) for _ in range(2))
            self.add_module(f"decoder_level{level}", nn.Sequential(*blocks))
        for level in (1, 2):
            self.add_module(f"skip_attn{level}", _Block(widths[level - 1], reduction, act))
            self.add_module(f"up{level + 1}{level}", _Up(widths[level], widths[level - 1]))

    def forward(self, encoded: Sequence[Tensor]) -> list[Tensor]:
        found = [self.get_submodule("decoder_level3")(encoded[2])]
        for level in (2, 1):
            kept = self.get_submodule(f"skip_attn{level}")(encoded[level - 1])
            x = self.get_submodule(f"up{level + 1}{level}")(found[0]) + kept
            found.insert(0, self.get_submodule(f"decoder_level{level}")(x))
        return found


class _FullSize(nn.Module):
    """Blocks at the size of the image; the features of the second stage are enlarged and added."""

    def __init__(self, widths: Sequence[int], width: int, blocks: int, reduction: int, act: nn.Module) -> None:
        super().__init__()
        for level in _LEVELS:
            chain = (_Block(width, reduction, act) for _ in range(blocks))
            self.add_module(f"orb{level}", nn.ModuleDict({"body": nn.Sequential(*chain, _plain(width, width, 3))}))
            for part in ("enc", "dec"):
                self.add_module(f"conv_{part}{level}", _plain(widths[0], width))
        for part in ("enc", "dec"):
            self.add_module(f"up_{part}1", _Up(widths[1], widths[0]))
            self.add_module(f"up_{part}2", nn.Sequential(_Up(widths[2], widths[1]), _Up(widths[1], widths[0])))

    def _enlarged(self, part: str, level: int, features: Tensor) -> Tensor:
        if level > 1:
            features = self.get_submodule(f"up_{part}{level - 1}")(features)
        return self.get_submodule(f"conv_{part}{level}")(features)

    def forward(self, x: Tensor, encoded: Sequence[Tensor], decoded: Sequence[Tensor]) -> Tensor:
        for level in _LEVELS:
            x = x + self.get_submodule(f"orb{level}.body")(x)
            x = x + self._enlarged("enc", level, encoded[level - 1]) + self._enlarged("dec", level, decoded[level - 1])
        return x


class _Supervised(nn.Module):
    """An image of its own, and features weighted by it for the next stage."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _plain(width, width)
        self.conv2 = _plain(width, 3)
        self.conv3 = _plain(3, width)

    def forward(self, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        restored = image + self.conv2(x)
        return x + self.conv1(x) * self.conv3(restored).sigmoid(), restored


class MPRNet(nn.Module):
    """Three stages of restoration, for images of any size.

    Args:
        width: channels of the first resolution.
        growth: channels that every further resolution has more.
        wider: channels that the last stage has more.
        blocks: residual blocks in each of the three parts of the last stage.
        reduction: factor by which channel attention narrows.

    Shape: images (n, 3, h, w) in [0, 1] -> (n, 3, h, w), not clamped; sides are padded to multiples of 8 by reflection
        and cut back.

    Source: Zamir et al., arXiv:2102.02808, section 3. The defaults are the published network for denoising, with
        15.74 million parameters; parameters have the published names, so that published weights fit, which the
        authors give for academic use and whoever wants them fetches.
        Differs: the parts of an image go through the network together; all blocks share one PReLU, as published.
    """

    def __init__(self, width: int = 80, growth: int = 48, wider: int = 32, blocks: int = 8, reduction: int = 4) -> None:
        super().__init__()
        act = nn.PReLU()
        widths = (width, width + growth, width + 2 * growth)
        for stage in (1, 2, 3):
            shallow = nn.Sequential(_plain(3, width, 3), _Block(width, reduction, act))
            self.add_module(f"shallow_feat{stage}", shallow)
        self.stage1_encoder = _Encoder(widths, reduction, act, fused=False)
        self.stage1_decoder = _Decoder(widths, reduction, act)
        self.stage2_encoder = _Encoder(widths, reduction, act, fused=True)
        self.stage2_decoder = _Decoder(widths, reduction, act)
        self.stage3_orsnet = _FullSize(widths, width + wider, blocks, reduction, act)
        self.sam12 = _Supervised(width)
        self.sam23 = _Supervised(width)
        self.concat12 = _plain(2 * width, width, 3)
        self.concat23 = _plain(2 * width, width + wider, 3)
        self.tail = _plain(width + wider, 3, 3)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        height, width = x.shape[2:]
        down, right = -height % _MULTIPLE, -width % _MULTIPLE
        mode = "reflect" if down < height and right < width else "replicate"
        padded = functional.pad(x, (0, right, 0, down), mode=mode)
        return self.stages(padded)[-1][:, :, :height, :width]

    def stages(self, x: Float[Tensor, "n 3 h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """The images of the three stages, the last one best; sides of ``x`` are multiples of 8."""
        halves = _split(x, 2)
        quarters = self.get_submodule("shallow_feat1")(_split(halves, 3))
        encoded = [_joined(part, 3) for part in self.stage1_encoder(quarters)]
        decoded = self.stage1_decoder(encoded)
        helped, first = self.sam12(decoded[0], halves)
        shallow = torch.cat([self.get_submodule("shallow_feat2")(halves), helped], 1)
        found = self.stage2_encoder(self.concat12(shallow), list(zip(encoded, decoded, strict=True)))
        encoded = [_joined(part, 2) for part in found]
        decoded = self.stage2_decoder(encoded)
        helped, second = self.sam23(decoded[0], x)
        shallow = torch.cat([self.get_submodule("shallow_feat3")(x), helped], 1)
        third = x + self.tail(self.stage3_orsnet(self.concat23(shallow), encoded, decoded))
        return _joined(first, 2), second, third
