"""Published networks as plain functions over their own parameter names, straight from the papers; parameters appear
when they are first used. ``device="meta"`` tells the names and shapes of networks of full size."""

import math

import torch
import torch.nn.functional as functional
from torch.nn.functional import silu

from tests.diffusion.upfirdn import upfirdn2d


class Parameters:
    def __init__(self, seed=0, device="cpu", dtype=torch.float64):
        self.state = {}
        self.device, self.dtype = device, dtype
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, name, *shape):
        if name not in self.state:
            if self.device == "meta":
                self.state[name] = torch.empty(shape, device="meta")
            else:
                spread = 0.8 / math.sqrt(math.prod(shape[1:]))
                tensor = torch.randn(shape, generator=self.generator, dtype=self.dtype)
                self.state[name] = tensor * spread if len(shape) > 1 else 0.3 * tensor + name.endswith("weight")
        assert self.state[name].shape == shape, name
        return self.state[name]

    def conv(self, name, x, width, kernel=3, stride=1, padding=None):
        weight = self(f"{name}.weight", width, x.shape[1], *(kernel,) * (x.ndim - 2))
        convolve = functional.conv2d if x.ndim == 4 else functional.conv1d
        return convolve(x, weight, self(f"{name}.bias", width), stride, kernel // 2 if padding is None else padding)

    def linear(self, name, x, width):
        return functional.linear(x, self(f"{name}.weight", width, x.shape[1]), self(f"{name}.bias", width))

    def norm(self, name, x, eps, groups=32):
        return functional.group_norm(
            x, groups, self(f"{name}.weight", x.shape[1]), self(f"{name}.bias", x.shape[1]), eps
        )


def attend(q, k, v):
    """One head, (n, c, pixels) each."""
    return torch.einsum("nqk,nck->ncq", (torch.einsum("ncq,nck->nqk", q, k) / math.sqrt(q.shape[1])).softmax(2), v)


def angles(t, count, last):
    rates = torch.exp(-math.log(10_000) * torch.arange(count, dtype=torch.float64, device=t.device) / last)
    return t[:, None].double() * rates


def adm(  # noqa: C901 one function reads like the paper
    p,
    x,
    t,
    *,
    width,
    multiples,
    blocks,
    attended,
    head,
    order,
    updown=True,
    scale_shift=True,
    label=None,
    classes=5,
    out=6,
):
    """arXiv:2105.05233 with the blocks of appendix B; ``order`` of queries, keys and values: legacy or new."""
    a = angles(t, width // 2, width // 2)
    e = p.linear("time_embed.0", torch.cat([a.cos(), a.sin()], 1).to(x.dtype), 4 * width)
    e = p.linear("time_embed.2", silu(e), 4 * width)
    if label is not None:
        e = e + p("label_emb.weight", classes, 4 * width)[label]

    def residual(name, x, width, way=None):
        change = {None: lambda y: y, "down": lambda y: functional.avg_pool2d(y, 2), "up": double}[way]
        y = p.conv(f"{name}.in_layers.2", change(silu(p.norm(f"{name}.in_layers.0", x, 1e-5))), width)
        level = p.linear(f"{name}.emb_layers.1", silu(e), width * (2 if scale_shift else 1))[:, :, None, None]
        if scale_shift:
            scale, shift = level.chunk(2, 1)
            y = p.norm(f"{name}.out_layers.0", y, 1e-5) * (1 + scale) + shift
        else:
            y = p.norm(f"{name}.out_layers.0", y + level, 1e-5)
        y = p.conv(f"{name}.out_layers.3", silu(y), width)
        x = change(x)
        return y + (x if x.shape[1] == width else p.conv(f"{name}.skip_connection", x, width, 1))

    def attention(name, x):
        n, c, h, w = x.shape
        flat = x.reshape(n, c, h * w)
        qkv = p.conv(f"{name}.qkv", p.norm(f"{name}.norm", flat, 1e-5), 3 * c, 1)
        size = head or c
        if order == "legacy":
            parts = [
                torch.cat([qkv[:, (3 * i + j) * size : (3 * i + j + 1) * size] for i in range(c // size)], 1)
                for j in range(3)
            ]
        else:
            parts = [qkv[:, j * c : (j + 1) * c] for j in range(3)]
        heads = [attend(*(part[:, i : i + size] for part in parts)) for i in range(0, c, size)]
        return x + p.conv(f"{name}.proj_out", torch.cat(heads, 1), c, 1).reshape(n, c, h, w)

    x = p.conv("input_blocks.0.0", x, width * multiples[0])
    skips, index = [x], 1
    for level, multiple in enumerate(multiples):
        for _ in range(blocks):
            x = residual(f"input_blocks.{index}.0", x, width * multiple)
            x = attention(f"input_blocks.{index}.1", x) if level in attended else x
            skips.append(x)
            index += 1
        if level < len(multiples) - 1:
            name = f"input_blocks.{index}.0"
            x = residual(name, x, x.shape[1], "down") if updown else p.conv(f"{name}.op", x, x.shape[1], stride=2)
            skips.append(x)
            index += 1
    x = residual("middle_block.0", x, x.shape[1])
    x = residual("middle_block.2", attention("middle_block.1", x), x.shape[1])
    index = 0
    for level in reversed(range(len(multiples))):
        for block in range(blocks + 1):
            x = residual(f"output_blocks.{index}.0", torch.cat([x, skips.pop()], 1), width * multiples[level])
            x = attention(f"output_blocks.{index}.1", x) if level in attended else x
            if level and block == blocks:
                name = f"output_blocks.{index}.{2 if level in attended else 1}"
                x = residual(name, x, x.shape[1], "up") if updown else p.conv(f"{name}.conv", double(x), x.shape[1])
            index += 1
    return p.conv("out.2", silu(p.norm("out.0", x, 1e-5)), out)


def double(x):
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def ddpm(p, x, t, *, width, multiples, blocks, attended):
    """arXiv:2006.11239, appendix B, under the names of the PyTorch port."""
    a = angles(t, width // 2, width // 2 - 1)
    e = p.linear("temb.dense.0", torch.cat([a.sin(), a.cos()], 1).to(x.dtype), 4 * width)
    e = p.linear("temb.dense.1", silu(e), 4 * width)

    def residual(name, x, width):
        y = p.conv(f"{name}.conv1", silu(p.norm(f"{name}.norm1", x, 1e-6)), width)
        y = y + p.linear(f"{name}.temb_proj", silu(e), width)[:, :, None, None]
        y = p.conv(f"{name}.conv2", silu(p.norm(f"{name}.norm2", y, 1e-6)), width)
        return y + (x if x.shape[1] == width else p.conv(f"{name}.nin_shortcut", x, width, 1))

    def attention(name, x):
        y = p.norm(f"{name}.norm", x, 1e-6)
        y = attend(*(p.conv(f"{name}.{part}", y, x.shape[1], 1).flatten(2) for part in "qkv"))
        return x + p.conv(f"{name}.proj_out", y.reshape(x.shape), x.shape[1], 1)

    x = p.conv("conv_in", x, width)
    skips = [x]
    for level, multiple in enumerate(multiples):
        for block in range(blocks):
            x = residual(f"down.{level}.block.{block}", x, width * multiple)
            x = attention(f"down.{level}.attn.{block}", x) if level in attended else x
            skips.append(x)
        if level < len(multiples) - 1:
            x = p.conv(
                f"down.{level}.downsample.conv", functional.pad(x, (0, 1, 0, 1)), x.shape[1], stride=2, padding=0
            )
            skips.append(x)
    x = residual("mid.block_1", x, x.shape[1])
    x = residual("mid.block_2", attention("mid.attn_1", x), x.shape[1])
    for level in reversed(range(len(multiples))):
        for block in range(blocks + 1):
            x = residual(f"up.{level}.block.{block}", torch.cat([x, skips.pop()], 1), width * multiples[level])
            x = attention(f"up.{level}.attn.{block}", x) if level in attended else x
        if level:
            x = p.conv(f"up.{level}.upsample.conv", double(x), x.shape[1])
    return p.conv("conv_out", silu(p.norm("norm_out", x, 1e-6)), 3)


SMOOTH = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


def score_sde(  # noqa: C901 one function reads like the paper
    p, x, label, *, width, multiples, blocks, attended, fir, fourier=False, enters=None, leaves=None
):
    """arXiv:2011.13456, appendix H: modules numbered in the order of use. ``x`` is centred already.

    Args:
        enters: how the image enters lower levels: None, "residual" or "input_skip"; leaves: None or "output_skip".
    """
    count = iter(range(10_000))

    def name():
        return f"all_modules.{next(count)}"

    def norm(name, x):
        return p.norm(name, x, 1e-6, min(32, x.shape[1] // 4))

    def smaller(x):
        return upfirdn2d(x, SMOOTH, down=2, pad=(1, 1)) if fir else functional.avg_pool2d(x, 2)

    def larger(x):
        return upfirdn2d(x, 4 * SMOOTH, up=2, pad=(2, 1)) if fir else double(x)

    def residual(x, width, way=None):
        here = name()
        change = {None: lambda y: y, "down": smaller, "up": larger}[way]
        y = change(silu(norm(f"{here}.GroupNorm_0", x)))
        y = p.conv(f"{here}.Conv_0", y, width) + p.linear(f"{here}.Dense_0", silu(e), width)[:, :, None, None]
        y = silu(norm(f"{here}.GroupNorm_1", y))
        y, x = p.conv(f"{here}.Conv_1", y, width), change(x)
        return (y + (x if x.shape[1] == width and not way else p.conv(f"{here}.Conv_2", x, width, 1))) / math.sqrt(2)

    def attention(x):
        here, width = name(), x.shape[1]
        y = norm(f"{here}.GroupNorm_0", x)

        def mix(part, y):
            return (
                torch.einsum("nchw,cd->ndhw", y, p(f"{here}.NIN_{part}.W", width, width))
                + p(f"{here}.NIN_{part}.b", width)[:, None, None]
            )

        found = attend(*(mix(part, y).flatten(2) for part in range(3))).reshape(x.shape)
        return (x + mix(3, found)) / math.sqrt(2)

    if fourier:
        a = label.log()[:, None] * p(f"{name()}.W", width) * 2 * math.pi
    else:
        a = angles(label, width // 2, width // 2 - 1)
    e = p.linear(name(), torch.cat([a.sin(), a.cos()], 1).to(x.dtype), 4 * width)
    e = p.linear(name(), silu(e), 4 * width)
    image, x = x, p.conv(name(), x, width)
    skips = [x]
    for level, multiple in enumerate(multiples):
        if level:
            x = residual(x, x.shape[1], "down")
            if enters == "residual":
                padded = upfirdn2d(image, SMOOTH, pad=(2, 2))
                image = x = (p.conv(f"{name()}.Conv2d_0", padded, x.shape[1], stride=2, padding=0) + x) / math.sqrt(2)
            elif enters == "input_skip":
                image = smaller(image)
                x = p.conv(f"{name()}.Conv_0", image, x.shape[1], 1) + x
            skips.append(x)
        for _ in range(blocks):
            x = residual(x, width * multiple)
            x = attention(x) if level in attended else x
            skips.append(x)
    x = residual(x, x.shape[1])
    x = residual(attention(x), x.shape[1])
    image = 0
    for level in reversed(range(len(multiples))):
        x = residual(x, x.shape[1], "up") if level < len(multiples) - 1 else x
        for _ in range(blocks + 1):
            x = residual(torch.cat([x, skips.pop()], 1), width * multiples[level])
        x = attention(x) if level in attended else x
        if leaves or level == 0:
            image = larger(image) if level < len(multiples) - 1 and leaves else image
            normed = silu(norm(name(), x))
            image = image + p.conv(name(), normed, 3)
    return image
