"""Thousands of random clips: does reading leave memory or open files behind?

    python benchmarks/soak.py --clips 5000 --workers 0
    python benchmarks/soak.py --clips 5000 --workers 2

Draws clips of several generated files (or of those in `--videos FOLDER`) with `sample_clip` and `EvalTransform`, in
this process or in the workers of a DataLoader, each of which opens its own readers. Prints the memory of all processes
and their open files after the warm-up and at the end; exit status 1 if memory grew by 20 MB or more, or files stayed
open. Reads /proc, so Linux only.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from measure import RandomClips, write_video
from torch.utils.data import DataLoader

from slowfast_hub.spec import ClipSpec

GROWTH_MB = 20.0
SPEC = ClipSpec(frames=32, stride=2, short_side=64, crop=64)

# The name says the container: (codec, pixels, B-frames, GOP).
FILES = {
    "h264.mp4": ("libx264", "yuv420p", 2, 60),
    "h264.mkv": ("libx264", "yuv420p", 0, 12),
    "mpeg4.avi": ("mpeg4", "yuv420p", 2, 12),
    "mpeg2.mpg": ("mpeg2video", "yuv420p", 2, 15),
    "vp9.webm": ("libvpx-vp9", "yuv420p", 0, 60),
    "mjpeg.mov": ("mjpeg", "yuvj420p", 0, 1),
}


@dataclass(frozen=True)
class Held:
    """What processes hold."""

    memory_mb: float  # resident, of all together
    files: int  # open ones on a disk, of all together


def soak(videos: Sequence[Path], *, clips: int, warm_up: int, workers: int) -> tuple[Held, Held]:
    """What this process and its workers hold after `warm_up` clips, and after `clips` in all."""
    loader = DataLoader(RandomClips(videos, SPEC, clips), batch_size=None, num_workers=workers)
    before = held()
    for done, _ in enumerate(loader, start=1):
        if done == warm_up:
            before = held()
        if done == clips:  # here and not below: the workers end with the loop
            return before, held()
    raise ValueError(f"clips and warm_up must be at least 1; got {clips} and {warm_up}")


def held() -> Held:
    """What this process and its children hold now."""
    processes = [Path(f"/proc/{child.pid}") for child in multiprocessing.active_children()] + [Path("/proc/self")]
    memory_kb = sum(int(re.search(r"VmRSS:\s+(\d+)", (each / "status").read_text())[1]) for each in processes)
    links = (os.readlink(link) for each in processes for link in (each / "fd").iterdir() if link.is_file())
    # Not /dev: the memory in which workers hand over tensors has descriptors, too, as many as are on their way.
    return Held(memory_kb / 1024, sum(not link.startswith("/dev/") for link in links))


def write_videos(folder: Path) -> list[Path]:
    """The files of FILES: five seconds of 160 x 120 px at 30 fps, a pattern that moves."""
    rows, columns = np.mgrid[:120, :160]
    waves = [128 + 127 * np.sin((columns + 3 * k) / 9) * np.cos((rows - 2 * k) / 7) for k in range(150)]
    pictures = [np.stack([wave, wave[::-1], wave[:, ::-1]], -1).astype(np.uint8) for wave in waves]
    for name, (codec, pixels, b_frames, gop) in FILES.items():
        write_video(folder / name, pictures, codec=codec, pixels=pixels, gop=gop, b_frames=b_frames)
    return [folder / name for name in FILES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=5000)
    parser.add_argument("--warm-up", type=int, default=500, help="clips before memory is looked at for the first time")
    parser.add_argument("--workers", type=int, default=0, help="of the DataLoader; 0 reads in this process")
    parser.add_argument("--videos", type=Path, help="a folder of videos to draw from, instead of generated ones")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        videos = sorted(options.videos.iterdir()) if options.videos else write_videos(Path(folder))
        before, after = soak(videos, clips=options.clips, warm_up=options.warm_up, workers=options.workers)
    growth_mb, left = after.memory_mb - before.memory_mb, after.files - before.files
    print(f"{options.clips} clips of {len(videos)} files, {options.workers} workers (0: this process alone)")
    print(f"resident  {before.memory_mb:8.1f} MB after {options.warm_up} clips, {after.memory_mb:8.1f} MB at the end")
    print(f"growth    {growth_mb:+8.1f} MB, to stay below {GROWTH_MB:g}")
    print(f"open files {before.files}, {after.files} at the end")
    sys.exit(growth_mb >= GROWTH_MB or left > 0)


if __name__ == "__main__":
    main()
