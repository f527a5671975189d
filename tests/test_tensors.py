"""The borders: what counts as an image batch, and how floats become 8 bits."""

import numpy as np
import pytest
import torch

from lustral.tensors import check_images, from_uint8, quantise, to_uint8


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.zeros((1, 3, 4, 4)), TypeError, "use from_uint8"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), TypeError, "divide 8-bit images by 255"),
        (torch.zeros(3, 4, 4), ValueError, r"add a batch dimension with x\[None\]"),
        (torch.zeros(1, 4, 4, 3), ValueError, "move channels first"),
        (torch.zeros(1, 1, 4, 4), ValueError, r"shape \(n, 3, h, w\)"),
        (torch.zeros(0, 3, 4, 4), ValueError, "must not be empty"),
        (torch.full((1, 3, 2, 2), torch.nan), ValueError, "must be finite"),
        (torch.full((1, 3, 2, 2), torch.inf), ValueError, "must be finite"),
        (torch.full((1, 3, 2, 2), 200.0), ValueError, "divide by 255"),
        (torch.full((1, 3, 2, 2), -1.5), ValueError, "normalisation belongs inside the target"),
    ],
)
def test_what_is_no_image_batch_is_refused_with_advice(value, error, message):
    with pytest.raises(error, match=message):
        check_images(value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_floating_precision_is_an_image(dtype):
    check_images(torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)).to(dtype))


def test_float_error_at_the_borders_is_tolerated():
    check_images(torch.tensor([-3e-8, 1 + 1e-7, 0.5]).view(1, 3, 1, 1))


def test_all_256_levels_survive_the_round_trip():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    assert torch.equal(to_uint8(from_uint8(levels)), levels)
    array = levels.permute(0, 2, 3, 1).numpy()
    assert torch.equal(from_uint8(array), from_uint8(levels))


def test_eight_bits_are_rounded_not_truncated():
    x = torch.tensor([0.999, 0.5 / 255 + 1e-4, 127.49 / 255]).view(1, 3, 1, 1)
    assert to_uint8(x).flatten().tolist() == [255, 1, 127]


@pytest.mark.parametrize("bad", [np.zeros((1, 4, 4, 3), np.float32), torch.zeros(1, 3, 4, 4)])
def test_from_uint8_refuses_other_types(bad):
    with pytest.raises(TypeError, match="uint8"):
        from_uint8(bad)


def test_from_uint8_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"\(n, h, w, 3\)"):
        from_uint8(np.zeros((4, 4, 3), np.uint8))


def test_quantise_gives_the_nearest_8_bit_image():
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(quantise(x), to_uint8(x).float() / 255)
    assert float((quantise(x) - x).abs().max()) <= 0.5 / 255 + 1e-6
