"""Random training clips per second, before and after `slowfast-hub data prepare`.

    python benchmarks/prepare.py

Each clip is 32 frames of a span of 64 at a random place of a 10 s, 30 fps H.264 file with a keyframe every 250 frames,
decoded and made ready for a network (`sample_clip`, `EvalTransform`) in the workers of a DataLoader: the same places
before and after.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from measure import RandomClips, machine, write_video
from torch.utils.data import DataLoader

from slowfast_hub.spec import ClipSpec, Limits
from slowfast_hub.video.prepare import Encoding, prepare_file

SIZES = ((720, 1280), (256, 340))
FRAMES, GOP = 300, 250
H264 = {"crf": "23", "x264-params": f"scenecut=0:keyint={GOP}"}
SPEC = ClipSpec(frames=32, stride=2, fps=30)


def pictures(height: int, width: int) -> Iterator[np.ndarray]:
    """A camera that moves over a surface with coarse and fine detail, before which a disc goes round."""
    draw = np.random.default_rng(0)
    surface = np.zeros((height + FRAMES, width + 2 * FRAMES, 3))
    for grain in (64, 16, 4):
        tiles = draw.random((surface.shape[0] // grain + 1, surface.shape[1] // grain + 1, 3))
        surface += np.kron(tiles, np.ones((grain, grain, 1)))[: surface.shape[0], : surface.shape[1]] * 255 / 3
    rows, columns = np.mgrid[:height, :width]
    for number in range(FRAMES):
        picture = surface[number : number + height, 2 * number : 2 * number + width].astype(np.uint8)
        centre = height / 2 + height / 4 * np.sin(number / 9), width / 2 + width / 4 * np.cos(number / 9)
        picture[(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (height / 8) ** 2] = (200, 40, 60)
        yield picture


def clips_per_second(paths: Sequence[Path], clips: int, workers: int, repeats: int) -> list[float]:
    """Medians of `repeats` passes over each file, which take turns, after one that is not counted."""
    sets = [RandomClips([path], SPEC, clips) for path in paths]
    loaders = [DataLoader(each, batch_size=None, num_workers=workers, persistent_workers=workers > 0) for each in sets]
    rates: list[list[float]] = []
    for _ in range(repeats + 1):
        rates.append([])
        for loader in loaders:
            begin = time.perf_counter()
            for _ in loader:
                pass
            rates[-1].append(clips / (time.perf_counter() - begin))
    return [statistics.median(found) for found in zip(*rates[1:])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--clips", type=int, default=20, help="in one pass over a file")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of the DataLoader")
    arguments = parser.parse_args()
    print(machine())
    how = f"DataLoader with {arguments.workers} workers, median of {arguments.repeats} passes over {arguments.clips}"
    print(f"random clips, {how}\n")
    print("| file | clips/s | prepared: clips/s | gain | MB | prepared: MB | s to prepare |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for height, width in SIZES:
            source, made = Path(folder, f"{height}.mp4"), Path(folder, f"{height}.small.mp4")
            write_video(source, pictures(height, width), options=H264)
            begin = time.perf_counter()
            prepare_file(source, made, Encoding(), Limits())
            spent = time.perf_counter() - begin
            before, after = clips_per_second((source, made), arguments.clips, arguments.workers, arguments.repeats)
            megabytes = " | ".join(f"{path.stat().st_size / 1e6:.2f}" for path in (source, made))
            print(
                f"| {width}x{height}, GOP {GOP} | {before:.2f} | {after:.2f} | {after / before:.1f} | "
                f"{megabytes} | {spent:.1f} |"
            )


if __name__ == "__main__":
    main()
