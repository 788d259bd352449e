"""Videos with known pixels: the grey level of a frame is its number, so a wrong frame is a wrong number."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

MILLISECOND = Fraction(1, 1000)


def grey(level: int, *, height: int = 48, width: int = 64) -> np.ndarray:
    """(H, W, 3) uint8 of one grey."""
    return np.full((height, width, 3), level, np.uint8)


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    fps: Fraction | int = 25,
    times: Iterable[int] | None = None,
    time_base: Fraction | None = None,
    codec: str = "ffv1",
    pixels: str = "bgr0",
    options: dict[str, str] | None = None,
    b_frames: int = 0,
    gop: int = 12,
    display_matrix: tuple[int, ...] | None = None,
) -> Path:
    """Encode (H, W, 3) uint8 frames; `times` in units of `time_base` make a rate that varies, or a late start."""
    frames, base = list(frames), time_base or 1 / Fraction(fps)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixels
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = gop, b_frames
        stream.time_base = stream.codec_context.time_base = base
        if display_matrix:
            stream.set_display_matrix(list(display_matrix))
        for time, picture in zip(times or range(len(frames)), frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_counting(path: Path, count: int, *, height: int = 48, width: int = 64, **how: object) -> Path:
    """A video of `count` frames, at most 256, whose grey level is the frame number; lossless unless `how` says else."""
    return write_video(path, (grey(level, height=height, width=width) for level in range(count)), **how)


def png_bytes(picture: np.ndarray) -> bytes:
    """An (H, W, 3) uint8 picture as a PNG file."""
    codec = av.CodecContext.create("png", "w")
    codec.height, codec.width, codec.pix_fmt, codec.time_base = *picture.shape[:2], "rgb24", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def levels(frames: torch.Tensor) -> list[int]:
    """Mean grey of (..., H, W, 3) frames, rounded: the frame numbers of a counting video."""
    return frames.float().mean((-3, -2, -1)).round().long().flatten().tolist()
