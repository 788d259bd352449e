"""A two-hour film through `timeline`: memory above the loaded network, time against real time, frames decoded.

    python benchmarks/timeline.py

The films are made here: small pictures, H.264, a keyframe every 250 frames. Each figure is of one fresh process; memory
is its peak above what it has with the network loaded and used once.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measure import machine, measured, write_video

LOADED = """
import sys, torch
from slowfast_hub.predict.predictor import Predictor
from slowfast_hub.predict.timeline import LONG, timeline
from slowfast_hub.video.container import Meter
predictor = Predictor(limits=LONG)
predictor(torch.zeros(64, 120, 160, 3, dtype=torch.uint8))
decoded, count = 0, Meter.decoded
def counted(self, frames):
    global decoded
    decoded += frames
    count(self, frames)
Meter.decoded = counted
"""
WORK = """
answer = timeline({path!r}, predictor, stride_s={stride_s})
print(len(answer.probs), "windows,", decoded, "of", answer.video.frames, "frames decoded", file=sys.stderr)
"""


def pictures(count: int) -> Iterator[np.ndarray]:
    """A square that goes round on a still ground, for 250 frames, again and again."""
    ground = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    turn = []
    for number in range(250):
        picture = ground.copy()
        y, x = (int(40 + 40 * wave(2 * np.pi * number / 250)) for wave in (np.sin, np.cos))
        picture[y : y + 40, x : x + 40] = 255
        turn.append(picture)
    for number in range(count):
        yield turn[number % 250]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, nargs="+", default=[5, 120])
    parser.add_argument("--folder", type=Path, help="where the films are kept for the next run")
    parser.add_argument("--stride-s", type=float, default=2.0, help="a clip is 2.13 s long")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    print(machine())
    print("\n| minutes of film | seconds | times real time | peak MB above the network |\n|---|---|---|---|")
    for minutes in arguments.minutes:
        path = folder / f"{minutes}min.mp4"
        if not path.exists():
            write_video(path, pictures(minutes * 60 * 30), options={"preset": "veryfast", "crf": "28"})
        (found,) = measured(
            {"timeline": (LOADED, WORK.format(path=str(path), stride_s=arguments.stride_s))}, 1
        ).values()
        print(
            f"| {minutes} | {found.seconds:.0f} | {60 * minutes / found.seconds:.0f} | {found.megabytes:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
