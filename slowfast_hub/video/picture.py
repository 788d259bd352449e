"""A decoded frame as pixels: upright, RGB, in the size of the video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from av import VideoFrame
from av.buffer import Buffer
from av.video.reformatter import Colorspace, VideoReformatter
from torch import Tensor

from slowfast_hub.spec import VideoInfo

# What `orientation` answers for degrees anti-clockwise.
TURNS = {0: (False, 1, 1), 90: (True, -1, 1), 180: (False, -1, -1), 270: (True, 1, -1)}


class Painter:
    """Frames as (H, W, 3) uint8 RGB, upright, in the size that `info` says even where the stream changes it.

    Conversion is FFmpeg's swscale; it scales too where `info` names another size than the frame has.
    """

    def __init__(self, info: VideoInfo) -> None:
        self.info = info
        # One for the whole stream, on one thread: PyAV would make one for each frame, with threads of its own, and an
        # ordinary frame takes less time than that.
        self._reformatter = VideoReformatter()
        self._turn: tuple[bool, int, int] | None = None

    def __call__(self, frame: VideoFrame) -> Tensor:
        if self._turn is None:
            self._turn = orientation(frame)  # of the first frame, for all
        quarter, down, right = self._turn
        width, height = (self.info.height, self.info.width) if quarter else (self.info.width, self.info.height)
        rgb = self._reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        picture = rgb.to_ndarray()
        picture = picture.swapaxes(0, 1) if quarter else picture
        return torch.from_numpy(np.ascontiguousarray(picture[::down, ::right]))


def orientation(frame: VideoFrame) -> tuple[bool, int, int]:
    """How to show a frame upright: swap rows and columns or not, then the steps (1 or -1) down the rows and right."""
    # Asked of a copy of 2 x 2 px: PyAV's side data keep their frame alive until Python collects cycles, and the
    # pictures of a hundred clips would wait in memory for that. The matrix of colours is given because some cannot be
    # converted, and here it does not matter.
    small = VideoReformatter().reformat(
        frame, 2, 2, "gray", Colorspace.ITU709, Colorspace.ITU709, interpolation="POINT", threads=1
    )
    try:
        matrix = cast(Mapping[str, Buffer], small.side_data).get("DISPLAYMATRIX")  # PyAV's stub knows other keys only
    except ValueError:  # side data that PyAV does not know, such as EXIF: the angle can be had, a mirror cannot
        return TURNS[round(small.rotation / 90) * 90 % 360]
    if matrix is None:
        return False, 1, 1
    # 3x3 fixed point, row vectors: (x, y) is shown at (a x + c y, b x + d y); a mirrored one has determinant < 0.
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(matrix), np.int32)[:5])
    quarter = abs(b) > abs(a)
    right, down = (c, b) if quarter else (a, d)
    return quarter, -1 if down < 0 else 1, -1 if right < 0 else 1


def displayed_size(frame: VideoFrame) -> tuple[int, int]:
    """Width and height in px, after rotation."""
    quarter, _, _ = orientation(frame)
    return (frame.height, frame.width) if quarter else (frame.width, frame.height)
