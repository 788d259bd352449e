"""Whole files for `mutate` to damage: small ones of many containers and codecs, made here, and those of a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from made_videos import write_video

LARGEST = 700_000  # bytes of a file taken from a folder: damage to larger ones is rarely in a place that matters

YUV = {"pixels": "yuv420p"}
X264 = {"codec": "libx264", **YUV}

# What every part of FFmpeg that readers meet most is fed with: the name says the container, the rest the codec.
MADE: dict[str, dict[str, object]] = {
    "h264.mp4": {**X264, "b_frames": 2},
    "h264_late.mp4": {**X264, "times": range(25, 70)},
    "h264_quarter_turn.mov": {**X264, "display_matrix": (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)},
    "h264.mkv": {**X264, "b_frames": 3},
    "h264.ts": {**X264, "b_frames": 2},
    "h264.flv": X264,
    "raw.h264": X264,
    "hevc.mp4": {"codec": "libx265", **YUV, "options": {"x265-params": "log-level=none"}},
    "av1.mp4": {"codec": "libsvtav1", **YUV, "options": {"preset": "12", "svtav1-params": "lp=1"}},
    "vp8.webm": {"codec": "libvpx", **YUV},
    "vp9.webm": {"codec": "libvpx-vp9", **YUV},
    "mpeg4.avi": {"codec": "mpeg4", **YUV, "b_frames": 2},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "mpeg2.mpg": {"codec": "mpeg2video", **YUV, "b_frames": 2},
    "mpeg1.mpg": {"codec": "mpeg1video", **YUV},
    "wmv2.asf": {"codec": "wmv2", **YUV},
    "vp8.ogg": {"codec": "libvpx", **YUV},
    "prores.mov": {"codec": "prores_ks", "pixels": "yuv422p10le"},
    "png.mov": {"codec": "png", "pixels": "rgb24"},
    "ffv1.mkv": {},
    "animated.gif": {"codec": "gif", "pixels": "rgb8"},
    "animated.webp": {"codec": "libwebp_anim", **YUV},
    "animated.apng": {"codec": "apng", "pixels": "rgb24"},
}


def made_parents(folder: Path) -> list[Path]:
    """The files of MADE and a fragmented one, written into `folder` unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("SVT_LOG", "1")  # errors only: the encoder of AV1 writes its settings to stderr otherwise
    for name, how in MADE.items():
        if not (folder / name).exists():
            write_video(folder / name, pictures(45), **{"gop": 12, **how})
    fragments = folder / "fragments.mp4"
    if not fragments.exists():
        write_fragments(folder / "h264.mp4", fragments)
    return [*(folder / name for name in MADE), fragments]


def write_fragments(source: Path, target: Path) -> None:
    """The same packets, with an index before each group of pictures in place of one for all."""
    with (
        av.open(str(source)) as whole,
        av.open(str(target), "w", options={"movflags": "frag_keyframe+empty_moov"}) as out,
    ):
        stream = out.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.dts is not None:  # not the empty one at the end
                packet.stream = stream
                out.mux(packet)


def parents_in(folder: Path) -> list[Path]:
    """The files of a folder, at any depth, that are no larger than LARGEST; sorted, so that seeds mean the same."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and 0 < path.stat().st_size <= LARGEST)


def pictures(count: int, *, height: int = 96, width: int = 128) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8: a pattern that moves over noise that does not, so that encoders have something to predict."""
    noise = np.random.default_rng(0).integers(0, 64, (height // 8, width // 8, 3)).repeat(8, 0).repeat(8, 1)
    rows, columns = np.mgrid[:height, :width]
    for number in range(count):
        wave = 96 + 95 * np.sin((columns + 3 * number) / 9) * np.cos((rows - 2 * number) / 7)
        yield (noise + wave[..., None]).clip(0, 255).astype(np.uint8)
