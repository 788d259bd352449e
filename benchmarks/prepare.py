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
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from measure import machine
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from slowfast_hub import ClipSpec, EvalTransform, sample_clip
from slowfast_hub.spec import Limits
from slowfast_hub.video.prepare import Encoding, prepare_file

SIZES = ((720, 1280), (256, 340))
FRAMES, FPS, GOP = 300, 30, 250
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


def write(path: Path, height: int, width: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=FPS, options={"crf": "23", "x264-params": f"scenecut=0:keyint={GOP}"}
        )
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number, picture in enumerate(pictures(height, width)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


class RandomClips(Dataset[Tensor]):
    """Clip number i of a file is drawn by i alone: (3, 32, 256, 256) float32."""

    def __init__(self, path: Path, clips: int) -> None:
        self._path, self._clips = path, clips

    def __len__(self) -> int:
        return self._clips

    def __getitem__(self, index: int) -> Tensor:
        draws = torch.Generator().manual_seed(index)
        return EvalTransform(SPEC)(sample_clip(self._path, SPEC, start_s="random", generator=draws).frames)


def clips_per_second(paths: Sequence[Path], clips: int, workers: int, repeats: int) -> list[float]:
    """Medians of `repeats` passes over each file, which take turns, after one that is not counted."""
    loaders = [
        DataLoader(RandomClips(path, clips), batch_size=None, num_workers=workers, persistent_workers=workers > 0)
        for path in paths
    ]
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
            write(source, height, width)
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
