"""A small set and a small network to train; as a program, one process of a run.

python made_training.py RUN [key=value ...] [step=N: stop as if by SIGTERM after step N] [kill=N: die in step N]
    [people=true: pairs of bars, each in a box]
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slowfast_hub.spec import ClipSpec, SlowFastArch
from slowfast_hub.trainer.keyframes import KeyFrame, LabelledPeople, Person
from slowfast_hub.trainer.recipe import Recipe, as_pair
from slowfast_hub.trainer.samples import LabelledVideos, Sample
from slowfast_hub.trainer.train import train
from slowfast_hub.zoo.registry import register_model

NAME = "tiny_for_training"


def register_tiny() -> None:
    clip = ClipSpec(frames=8, stride=2, short_side=32, crop=32)
    register_model(NAME, SlowFastArch(clip, depth=14, width=8, beta_inv=2, dropout=0.0))


def moving_bars(count: int) -> tuple[Sample, ...]:
    """Bars that move right (class 0) or left (class 1): no single frame tells them apart."""
    samples = []
    for i in range(count):
        frames = np.zeros((16, 32, 32, 3), np.uint8)
        for t in range(16):
            frames[t, :, (5 * i + (2 * t if i % 2 == 0 else -2 * t)) % 32] = 255
        samples.append(Sample(frames, (i % 2,), fps=30.0))
    return tuple(samples)


def bars(train_count: int = 8, val_count: int = 0) -> LabelledVideos:
    return LabelledVideos(("right", "left"), moving_bars(train_count), moving_bars(val_count))


def pairs_of_bars(count: int) -> tuple[KeyFrame, ...]:
    """Bars above each other, of which each moves right or left on its own; every third picture has the upper one alone.

    In a box of the upper or the lower half of the picture.
    """
    frames = []
    for i in range(count):
        upper, lower = moving_bars(2 * count)[i::count][:2]
        video = np.concatenate([upper.video[:, :16], lower.video[:, 16:]], axis=1)
        people = (Person((0.0, 0.0, 1.0, 0.5), upper.labels), Person((0.0, 0.5, 1.0, 1.0), lower.labels))
        frames.append(KeyFrame(video, 8 / 30, people[: 1 if i % 3 == 2 else 2], fps=30.0, title=f"pair {i}"))
    return tuple(frames)


def people(train_count: int = 8, val_count: int = 0) -> LabelledPeople:
    return LabelledPeople(("right", "left"), pairs_of_bars(train_count), pairs_of_bars(val_count))


def detecting(**changes: Any) -> Recipe:
    """The same for people. beta_inv: at 2 a detector has one layer less than a network that classifies clips."""
    return small(changes={"roi": {"grid": 2, "aligned": True}, "beta_inv": 4}, **changes)


def small(**changes: Any) -> Recipe:
    """Four clips a step, two steps an epoch."""
    values: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 4,
        "optimizer": "adamw",
        "lr": 3e-3,
        "warmup_epochs": 1,
        "jitter": (30, 34),
        "flip": 0.0,
        "workers": 0,
    }
    return Recipe(NAME, **(values | changes))


def main() -> None:
    torch.set_num_threads(1)
    register_tiny()
    run, *pairs = sys.argv[1:]
    given = dict(map(as_pair, pairs))
    stop, die, boxes = given.pop("step", None), given.pop("kill", None), given.pop("people", False)
    first_life = not (Path(run) / "died").exists()

    def log(record: dict[str, Any]) -> None:
        if record["kind"] == "step" and record["step"] == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        if record["kind"] == "step" and record["step"] == die and first_life:
            (Path(run) / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    if boxes:
        train(detecting(**given), people(16), out=run, log=log)
    else:
        train(small(**given), bars(16, 4), out=run, log=log)


if __name__ == "__main__":
    main()
