"""Videos with known pixels: the grey level of a frame is its number, so a wrong frame is a wrong number."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
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
    muxing: dict[str, str] | None = None,
) -> Path:
    """Encode (H, W, 3) uint8 frames; `times` in units of `time_base` make a rate that varies, or a late start.

    `options` are the encoder's, `muxing` those of the container.
    """
    frames, base = list(frames), time_base or 1 / Fraction(fps)
    with av.open(str(path), "w", options=muxing or {}) as container:
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


def moving(count: int, *, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """`count` frames of a pattern that wanders on a ground of grey: the mean level of frame k is 30 + 3 k, up to 70.

    Each is predicted from its neighbours, so a decoder that lacks one of those shows something else.
    """
    pattern = np.random.default_rng(0).integers(-10, 11, (height // 4 + 1, width // 4 + 1)).repeat(4, 0).repeat(4, 1)
    pattern = pattern[:height, :width] - round(pattern[:height, :width].mean())
    rolled = (np.roll(pattern, (k % height, 3 * k % width), (0, 1)) + 30 + 3 * k for k in range(count))
    return [np.repeat(picture[..., None], 3, -1).astype(np.uint8) for picture in rolled]


def with_edits(path: Path, edits: Sequence[tuple[int, int]], name: str) -> Path:
    """A copy of an MP4 of ours under another name, whose edit list shows (milliseconds, from which media time) in turn.

    A media time of -1 is an empty edit: nothing is shown for so long. Media times count in the ticks of the track.
    """
    data = path.read_bytes()
    places = [data.rindex(b"moov") - 4]  # behind the pictures, so that none of them moves
    for box in (b"trak", b"edts", b"elst"):
        places.append(data.index(box, places[-1]) - 4)
    *parents, at = places
    (old,) = struct.unpack_from(">I", data, at)
    entries = b"".join(struct.pack(">IiI", duration, media_time, 1 << 16) for duration, media_time in edits)
    elst = struct.pack(">I4sII", 16 + len(entries), b"elst", 0, len(edits)) + entries
    edited = bytearray(data[:at] + elst + data[at + old :])
    for parent in parents:
        (size,) = struct.unpack_from(">I", data, parent)
        struct.pack_into(">I", edited, parent, size + len(elst) - old)
    copy = path.with_name(name)
    copy.write_bytes(edited)
    return copy


def png_bytes(picture: np.ndarray) -> bytes:
    """An (H, W, 3) uint8 picture as a PNG file."""
    codec = av.CodecContext.create("png", "w")
    codec.height, codec.width, codec.pix_fmt, codec.time_base = *picture.shape[:2], "rgb24", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def levels(frames: torch.Tensor) -> list[int]:
    """Mean grey of (..., H, W, 3) frames, rounded: the frame numbers of a counting video."""
    return frames.float().mean((-3, -2, -1)).round().long().flatten().tolist()


class Pipe(io.RawIOBase):
    """Bytes that can be read once, forwards."""

    def __init__(self, raw: bytes) -> None:
        self._raw = io.BytesIO(raw)

    def read(self, size: int = -1) -> bytes:
        return self._raw.read(size)

    def seekable(self) -> bool:
        return False
