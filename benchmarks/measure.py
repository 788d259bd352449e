"""What the benchmarks share: the machine in words, work measured in processes of its own, videos and clips of them."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from slowfast_hub import ClipSpec, EvalTransform, sample_clip
from slowfast_hub.predict.bench import processor

# Printed by every measured process: seconds, and peak MB above the time after the imports.
MEASURE = """
import sys, time, warnings
warnings.simplefilter("ignore")
def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1e3 for line in file if line.startswith(field))
def measured(imports, work):
    exec(imports, globals())
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
    before, begin = status("VmRSS"), time.perf_counter()
    exec(work, globals())
    print(time.perf_counter() - begin, status("VmHWM") - before)
"""


class Figures(NamedTuple):
    """Medians of several fresh processes."""

    seconds: float
    megabytes: float  # peak above what the process has after its imports


def measured(works: dict[str, tuple[str, str]], repeats: int) -> dict[str, Figures]:
    """Run each (imports, work), both Python, `repeats` times in fresh processes.

    They take turns, so that all of them see the same noise.
    """
    rows: dict[str, list[Figures]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, (imports, work) in works.items():
            code = f"{MEASURE}\nmeasured({imports!r}, {work!r})"
            done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
            rows[name].append(Figures(*map(float, done.stdout.split()[-2:])))
    return {name: Figures(*map(statistics.median, zip(*found))) for name, found in rows.items()}


def write_video(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    gop: int = 250,
    b_frames: int | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode (H, W, 3) uint8 pictures at 30 fps; b_frames: the most in a row, None for the codec's own choice."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options or {})
        stream.pix_fmt, stream.codec_context.gop_size = pixels, gop
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        for number, picture in enumerate(pictures):
            if not number:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class RandomClips(Dataset[Tensor]):
    """Clip number i is drawn by i alone, whichever worker reads it: (3, T, S, S) float32."""

    def __init__(self, videos: Sequence[Path], spec: ClipSpec, clips: int) -> None:
        self._videos, self._transform, self._clips = list(videos), EvalTransform(spec), clips

    def __len__(self) -> int:
        return self._clips

    def __getitem__(self, index: int) -> Tensor:
        draws = torch.Generator().manual_seed(index)
        video = self._videos[int(torch.randint(len(self._videos), (), generator=draws))]
        return self._transform(sample_clip(video, self._transform.spec, start_s="random", generator=draws).frames)


def machine() -> str:
    """Date, processor, threads and versions, for the head of a table."""
    threads = f"{torch.get_num_threads()} threads"
    return f"{date.today()}, {processor()}, {threads}, torch {torch.__version__}, Python {platform.python_version()}"
