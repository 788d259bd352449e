"""Half of the products of a kernel of 3: first with numbers to follow by hand, then as a layer."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from slowfast_hub.predict.onednn import Target
from slowfast_hub.predict.winograd import WinogradConv, maps, matrices

CPU = Target(torch.device("cpu"))
numbers = st.integers(-1000, 1000)


def fractions(matrix: Tensor) -> list[list[Fraction]]:
    """The matrix in exact numbers; its denominators are 24 at most."""
    return [[Fraction(value).limit_denominator(24) for value in row] for row in matrix.tolist()]


def times(matrix: list[list[Fraction]], values: list) -> list[Fraction]:
    return [sum(a * b for a, b in zip(row, values)) for row in matrix]


OUTPUTS, KERNEL, INPUTS = map(fractions, matrices())


def four_outputs(d: list[int], g: list[int]) -> list[Fraction]:
    return times(OUTPUTS, [a * b for a, b in zip(times(KERNEL, g), times(INPUTS, d))])


def test_six_products_give_four_outputs():
    assert four_outputs([1, 2, 3, 4, 5, 6], [1, 2, 3]) == [1 + 4 + 9, 2 + 6 + 12, 3 + 8 + 15, 4 + 10 + 18]
    assert four_outputs([0, 0, 1, 0, 0, 0], [5, 6, 7]) == [7, 6, 5, 0]
    assert [tuple(matrix.shape) for matrix in matrices()] == [(4, 6), (6, 3), (6, 6)]


def test_the_matrices_have_all_digits_of_float64():
    for matrix in matrices():
        assert matrix.dtype == torch.float64
        assert matrix.tolist() == [[float(value) for value in row] for row in fractions(matrix)]


@given(d=st.lists(numbers, min_size=6, max_size=6), g=st.lists(numbers, min_size=3, max_size=3))
def test_they_are_exact_for_all_whole_numbers(d: list[int], g: list[int]):
    assert four_outputs(d, g) == [sum(d[i + k] * g[k] for k in range(3)) for i in range(4)]


@pytest.mark.parametrize("length", range(1, 21))
def test_the_maps_of_an_axis_are_the_correlation_padded_by_one(length: int):
    to_terms, to_outputs = maps(length, 1)
    tiles = -(-length // 4)
    assert (to_terms.shape, to_outputs.shape) == ((6 * tiles, length), (length, 6 * tiles))
    d, g = torch.arange(1.0, length + 1) ** 2, torch.tensor([1.0, -2, 4])
    weights = (matrices()[1].float() @ g).repeat_interleave(tiles)
    padded = [0.0, *d.tolist(), 0.0]
    expected = [padded[i] - 2 * padded[i + 1] + 4 * padded[i + 2] for i in range(length)]
    assert (to_outputs @ (weights * (to_terms @ d))).tolist() == pytest.approx(expected, rel=1e-5, abs=1e-3)


def layer_and_expected(shape: tuple[int, ...], out: int, width: int) -> tuple[WinogradConv, Tensor, Tensor]:
    """A layer with a kernel of 3 by `width`, images for it, and what convolution and ReLU make of them in double."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(shape, generator=draws).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(out, shape[1], 3, width, generator=draws), torch.randn(out, generator=draws)
    expected = torch.conv2d(images.double(), weight.double(), bias.double(), padding=(1, width // 2)).relu()
    return WinogradConv(weight, bias, CPU), images, expected


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("length", range(1, 10))
def test_a_layer_is_the_convolution_and_relu(width: int, batch: int, length: int):
    conv, images, expected = layer_and_expected((batch, 5, length, 7), 6, width)
    torch.testing.assert_close(conv(images).double(), expected, rtol=1e-5, atol=1e-4)
    assert expected.min() == 0 < expected.max()


@pytest.mark.parametrize("width", [1, 3])
def test_256_channels_lose_little_of_the_largest_value_in_float32(width: int):
    """Measured 2e-6 to 4e-6; the convolution itself loses 3e-7."""
    conv, images, expected = layer_and_expected((1, 256, 9, 7), 256, width)
    assert (conv(images) - expected).abs().max() < 4e-5 * expected.max()


def test_the_maps_do_not_depend_on_the_default_type():
    torch.set_default_dtype(torch.float64)
    try:
        assert {one.dtype for one in maps(23, 1)} == {torch.float32}
    finally:
        torch.set_default_dtype(torch.float32)


def test_no_images_have_no_outputs():
    conv = WinogradConv(torch.ones(8, 8, 3, 1), torch.zeros(8), Target(torch.device("cpu")))
    assert conv(torch.zeros(0, 8, 5, 4).contiguous(memory_format=torch.channels_last)).shape == (0, 8, 5, 4)


@pytest.mark.parametrize("length", range(1, 21))
@pytest.mark.parametrize("dilation", [2, 3])
def test_the_maps_of_a_dilated_axis_see_every_second_or_third_place(length: int, dilation: int):
    to_terms, to_outputs = maps(length, dilation)
    d, g = torch.arange(1.0, length + 1) ** 2, torch.tensor([1.0, -2, 4])
    weights = (matrices()[1].float() @ g).repeat_interleave(len(to_terms) // 6)
    padded = [*[0.0] * dilation, *d.tolist(), *[0.0] * dilation]
    expected = [padded[i] - 2 * padded[i + dilation] + 4 * padded[i + 2 * dilation] for i in range(length)]
    assert (to_outputs @ (weights * (to_terms @ d))).tolist() == pytest.approx(expected, rel=1e-5, abs=1e-3)


@pytest.mark.parametrize("size", [(16, 16), (17, 29), (3, 5)])
def test_a_dilated_layer_gives_what_the_convolution_gives(size: tuple[int, int]):
    torch.manual_seed(0)
    weight, bias, images = torch.randn(6, 5, 3, 3), torch.randn(6), torch.randn(2, 5, *size)
    exact = torch.conv2d(images, weight, bias, padding=2, dilation=2).relu()
    made = WinogradConv(weight, bias, CPU, dilation=(2, 2))(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(made, exact, rtol=0, atol=1e-4)
