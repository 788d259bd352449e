"""RoIAlign in plain torch against torchvision's."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_networks import TINY, tiny_network
from torch import nn
from torchvision.ops import roi_align

from slowfast_hub.models.heads import RoIHead
from slowfast_hub.models.roi_align import plain_roi_align
from slowfast_hub.spec import RoISpec

sides = st.integers(1, 24)
places = st.integers(-64, 192).map(lambda step: step / 128)  # of a box, as shares of the picture


@st.composite
def cases(draw):
    height, width = draw(sides), draw(sides)
    rows = []
    for _ in range(draw(st.integers(0, 4))):
        (left, right), (top, bottom) = (sorted((draw(places), draw(places))) for _ in range(2))
        rows.append(
            [draw(st.integers(0, 1)), left * width * 16, top * height * 16, right * width * 16, bottom * height * 16]
        )
    rois = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)
    maps = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    return maps, rois, draw(st.integers(1, 9)), draw(st.booleans())


@settings(max_examples=200, deadline=None)
@given(cases())
def test_agrees_with_torchvision_wherever_a_box_lies(case):
    maps, rois, grid, aligned = case
    exact = roi_align(maps.double(), rois.double(), grid, 1 / 16, 0, aligned)
    torch.testing.assert_close(
        plain_roi_align(maps.double(), rois.double(), grid, 1 / 16, aligned), exact, rtol=0, atol=1e-9
    )
    torch.testing.assert_close(plain_roi_align(maps, rois, grid, 1 / 16, aligned), exact.float(), rtol=0, atol=1e-5)


def test_one_bin_on_one_place_is_the_value_there():
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    roi = torch.tensor([[0.0, 16, 32, 32, 48]])  # the place (row 2, column 1) of maps at 1/16
    assert plain_roi_align(maps, roi, 1, 1 / 16, True).item() == 9.0
    assert plain_roi_align(maps, roi, 1, 1 / 16, False).item() == 11.5  # half a place further right and down


def test_gradients_reach_the_maps_as_in_torchvision():
    maps = torch.randn(1, 2, 6, 7, dtype=torch.double, requires_grad=True)
    roi = torch.tensor([[0.0, 10, 20, 70, 60]], dtype=torch.double)
    (ours,) = torch.autograd.grad(plain_roi_align(maps, roi, 3, 1 / 16, True).sum(), maps)
    (theirs,) = torch.autograd.grad(roi_align(maps, roi, 3, 1 / 16, 0, True).sum(), maps)
    torch.testing.assert_close(ours, theirs)


class Alone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = RoIHead(4, 3, RoISpec(aligned=True), dropout=0.0).eval()

    def forward(self, maps: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        return self.head([maps], rois)


def test_an_exported_head_needs_no_operator_of_torchvision_and_takes_any_number_of_boxes():
    maps, rois = torch.randn(1, 4, 2, 8, 10), torch.tensor([[0.0, 8, 8, 90, 100], [0, 0, 0, 160, 128]])
    model = Alone()
    program = torch.export.export(model, (maps, rois), dynamic_shapes=(None, {0: torch.export.Dim("boxes")}))
    assert "torchvision" not in str(program.graph)
    for boxes in (rois, rois[:1], rois.repeat(4, 1)):
        torch.testing.assert_close(program.module()(maps, boxes), model(maps, boxes), rtol=0, atol=1e-5)


def test_half_precision_sees_boxes_to_the_pixel():
    head = RoIHead(4, 0, RoISpec(aligned=True), dropout=0.0)
    maps = torch.randn(1, 4, 1, 40, 40).bfloat16()
    rois = torch.tensor([[0.0, 257, 129, 515, 307]])  # of these numbers bfloat16 has none
    assert torch.equal(head([maps], rois), head([maps.float()], rois).bfloat16())


def test_reversed_boxes_are_refused_and_not_sampled():
    head = RoIHead(4, 3, RoISpec(), dropout=0.0)
    with pytest.raises(ValueError, match=r"x1 <= x2 and y1 <= y2; got \[50.0, 0.0, 10.0, 10.0\]"):
        head([torch.zeros(1, 4, 1, 8, 8)], torch.tensor([[0.0, 50, 0, 10, 10]]))


def test_an_exported_detector_takes_any_number_of_clips_and_boxes():
    model = tiny_network(roi=RoISpec(aligned=True), clip=replace(TINY.clip, short_side=32, crop=32))
    clips, rois = torch.randn(2, 3, 8, 32, 32), torch.tensor([[0.0, 2, 2, 20, 30], [1, 0, 0, 32, 32], [1, 5, 5, 9, 9]])
    several = ({0: torch.export.Dim("clips")}, {0: torch.export.Dim("boxes")})
    program = torch.export.export(model, (clips, rois), dynamic_shapes=several).module()
    more = torch.randn(3, 3, 8, 32, 32)
    for batch, boxes in ((clips, rois), (more, torch.cat([rois, torch.tensor([[2.0, 1, 1, 30, 9]])]))):
        torch.testing.assert_close(program(batch, boxes), model(batch, boxes), rtol=0, atol=1e-4)
