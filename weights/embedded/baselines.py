"""What no training at all reaches on the fixed split: nearest neighbours by length and size, one frame, motion energy.

    python weights/embedded/baselines.py --data ACTIONS

A network that does not pass these has learnt the crop or the background.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from protocol import RUNS, line, read_actions, split
from torch.nn import functional

from slowfast_hub.trainer.clips import hold
from slowfast_hub.trainer.samples import Sample
from slowfast_hub.transforms.geometry import contain

SIDE = 32  # px of the pictures that are compared


def gray(sample: Sample) -> torch.Tensor:
    """`(T, 32, 32)` luma in 0..1 of the whole picture, padded."""
    frames = torch.as_tensor(sample.video).permute(0, 3, 1, 2).float().mean(1, keepdim=True) / 255
    return contain(frames, SIDE, antialias=True)[:, 0]


def size_and_length(sample: Sample) -> torch.Tensor:
    frames, height, width, _ = torch.as_tensor(sample.video).shape
    return torch.tensor([frames, height, width], dtype=torch.float32).log()


def middle_frame(sample: Sample) -> torch.Tensor:
    frames = gray(sample)
    return frames[len(frames) // 2].flatten()


def motion_energy(sample: Sample) -> torch.Tensor:
    """Mean change from frame to frame (Bobick and Davis 2001), scaled to length 1."""
    return functional.normalize(gray(sample).diff(dim=0).abs().mean(0).flatten(), dim=0)


BASELINES = {"length and size": size_and_length, "middle frame": middle_frame, "motion energy": motion_energy}


def nearest(train: torch.Tensor, labels: np.ndarray, test: torch.Tensor) -> np.ndarray:
    return labels[torch.cdist(test, train).argmin(1).numpy()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    samples = [hold(sample, 10_000) for sample in read_actions(parser.parse_args().data)]
    train, test, _ = split(samples, RUNS[0])
    print("| 1-nearest neighbour, fixed split | right | accuracy | 95 % interval |\n|---|---|---|---|")
    for name, describe in BASELINES.items():
        for title, part in (("ten single actions", range(10)), ("six interactions", range(10, 16))):
            known, asked = ([s for s in side if s.labels[0] in part] for side in (train, test))
            answers = nearest(
                torch.stack([describe(s) for s in known]),
                np.array([s.labels[0] for s in known]),
                torch.stack([describe(s) for s in asked]),
            )
            right = int((answers == np.array([s.labels[0] for s in asked])).sum())
            print(line(f"{name}, {title}", right, len(asked)))


if __name__ == "__main__":
    main()
