"""Up- and downsampling with a filter as its definition says: insert zeros, pad, convolve, keep every second pixel."""

import torch
import torch.nn.functional as functional


def upfirdn2d(x, kernel, up=1, down=1, pad=(0, 0)):
    n, c, h, w = x.shape
    zeros = x.new_zeros(n, c, h, up, w, up)
    zeros[:, :, :, 0, :, 0] = x
    padded = functional.pad(zeros.reshape(n, c, h * up, w * up), (*pad, *pad))
    flipped = torch.flip(kernel, (0, 1)).to(x.dtype)[None, None].expand(c, 1, *kernel.shape)
    return functional.conv2d(padded, flipped, groups=c)[:, :, ::down, ::down]
