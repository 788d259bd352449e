"""Sizes and offsets: PySlowFast's figures, and pictures small enough to check by hand."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from slowfast_hub.transforms.geometry import (
    Bilinear,
    contain,
    crop_offset,
    crop_square,
    flip,
    pad_square,
    resize,
    resize_short,
)


def places(height: int, width: int) -> torch.Tensor:
    """(2, H, W): the row and the column of each pixel."""
    return torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))


def test_golden_sizes_and_crops_of_pyslowfast(shared):
    for case in json.loads((shared / "golden" / "views.json").read_text())["crops"]:
        picture = torch.rand(1, case["height"], case["width"])
        resized = resize_short(picture, case["crop"])
        assert list(resized.shape[-2:]) == case["resized"], case
        for where, offset in zip(("left", "centre", "right"), case["offsets_yx_left_centre_right"]):
            assert crop_square(places(*case["resized"]), case["crop"], where)[:, 0, 0].tolist() == offset, case


def test_right_size_is_left_alone():
    clip = torch.rand(3, 2, 8, 10)
    assert resize_short(clip, 8) is clip


def test_resize_is_bilinear_between_pixel_centres():
    assert resize_short(torch.tensor([[0.0, 4.0]]).repeat(2, 1)[None], 4)[0, 0].tolist() == [0, 1, 3, 4]


def test_antialias_averages_what_plain_bilinear_skips():
    stripes = torch.tensor([1.0, 0, 0, 0]).repeat(4)[None, None].expand(1, 16, 16)
    assert resize_short(stripes, 4).tolist() == [[[0.0] * 4] * 4]
    assert resize_short(stripes, 4, antialias=True).mean() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(("where", "first"), [("left", 0), ("centre", 3), ("right", 5)])
def test_crop_offsets_round_the_centre_up(where, first):
    assert crop_offset(9, 4, where) == first


def test_crop_moves_along_the_longer_side():
    assert crop_square(places(4, 10), 4, "right")[:, 0, 0].tolist() == [0, 6]
    assert crop_square(places(10, 4), 4, "right")[:, 0, 0].tolist() == [6, 0]
    assert crop_square(places(10, 6), 4, "left")[:, 0, 0].tolist() == [0, 1]


def test_impossible_crops_say_why():
    with pytest.raises(ValueError, match="cannot crop 5 px from 4 px"):
        crop_square(places(4, 4), 5, "centre")
    with pytest.raises(ValueError, match="crop must be one of 'left', 'centre', 'right'; got 'center'"):
        crop_offset(9, 4, "center")
    with pytest.raises(ValueError, match="cannot pad 4x9 px to 8 px"):
        pad_square(places(4, 9), 8)


def test_contain_shows_the_whole_picture_on_zeros():
    square = contain(torch.ones(3, 2, 20, 40), 8)
    assert square.shape == (3, 2, 8, 8)
    assert square[0, 0, :, 0].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]


@given(height=st.integers(1, 300), width=st.integers(1, 300), size=st.integers(1, 64))
def test_any_picture_fits(height, width, size):
    picture = torch.ones(1, height, width)
    assert contain(picture, size).shape == (1, size, size)
    short = resize_short(picture, size)
    assert min(short.shape[-2:]) == size
    assert crop_square(short, size, "right").shape == (1, size, size)


def test_flip_mirrors_columns():
    assert flip(places(2, 3))[1].tolist() == [[2, 1, 0], [2, 1, 0]]


@given(st.tuples(*[st.integers(1, 70)] * 4))
def test_bilinear_gives_the_numbers_of_interpolate(sides):
    height, width, rows, columns = sides
    generator = torch.Generator().manual_seed(sum(sides))
    picture = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)
    resized = Bilinear((height, width), (rows, columns))(picture.numpy())
    expected = resize(picture.permute(2, 0, 1).float(), (rows, columns))
    difference = (torch.from_numpy(resized).permute(2, 0, 1) - expected).abs().max()
    assert difference / 255 / 0.225 < 1e-5  # of a normalised clip


def test_bilinear_in_film_sizes():
    for before, after in (
        ((1080, 1920), (256, 455)),
        ((720, 1280), (256, 455)),
        ((240, 320), (256, 341)),
        ((720, 1280), (224, 398)),
        ((720, 1280), (224, 398)),
    ):
        picture = torch.randint(0, 256, (*before, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        expected = functional.interpolate(
            picture.permute(2, 0, 1)[None].float(), size=after, mode="bilinear", align_corners=False
        )
        difference = torch.from_numpy(Bilinear(before, after)(picture.numpy())).permute(2, 0, 1) - expected[0]
        assert difference.abs().max() / 255 / 0.225 < 1e-5
