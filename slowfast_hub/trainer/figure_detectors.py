"""Slow-only beside SlowFast on figures side by side: the comparison of the paper's Table 9 in miniature.

python -m slowfast_hub.trainer.figure_detectors [--seeds 0,1,2]    the table, as Markdown
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch

from slowfast_hub.spec import ClipSpec
from slowfast_hub.trainer.figures import FPS, HEIGHT, figures
from slowfast_hub.trainer.keyframes import LabelledPeople
from slowfast_hub.trainer.people_eval import PeopleMetrics, evaluate_people, measure_people
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.trainer.train import train

CLIP = ClipSpec(frames=16, stride=1, fps=FPS, short_side=HEIGHT, crop=HEIGHT)
DETECTOR: dict[str, Any] = {"roi": {"grid": 4, "aligned": True}, "dropout": 0.2}
# The embedded network as a detector, and its Slow pathway alone, which sees two frames 8 apart.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "Slow-only": (
        "slow_det_r50_4x16",
        {**DETECTOR, "depth": 14, "width": 16, "clip": replace(CLIP, frames=2, stride=8)},
    ),
    "SlowFast": ("slowfast_r14_4x16_w16", {**DETECTOR, "clip": CLIP}),
}
RECIPE = Recipe(
    "slowfast_r14_4x16_w16",
    optimizer="adamw",
    lr=4e-3,
    weight_decay=0.05,
    batch_size=8,
    clip_grad=5.0,
    epochs=3,
    warmup_epochs=0.3,
    jitter=(64, 72),
    workers=0,
)


def small_set(seed: int = 0) -> LabelledPeople:
    """What a network learns from in about two minutes on one core, and other videos to test it on."""
    return figures(train=200, test=60, seed=seed)


def tried(name: str, people: LabelledPeople, *, seed: int = 0, **changes: Any) -> PeopleMetrics:
    """Train one of NETWORKS on a set and test it. changes: of the recipe."""
    row, fields = NETWORKS[name]
    model = train(replace(RECIPE, model=row, changes=fields, seed=seed, **changes), people)
    return measure_people(evaluate_people(model, people.test, classes=people.classes, name=name))


def table(found: dict[str, list[PeopleMetrics]]) -> str:
    """Markdown: average precision of each class, mean over runs, in per cent."""
    (first, *_), *_ = found.values()
    rows = [["class", "people", *found], ["---"] * (2 + len(found))]
    for label, known in enumerate(first.classes):
        rows.append([known.name, str(known.people), *(percent(runs, label) for runs in found.values())])
    rows.append(["mean", str(first.people), *(percent(runs, None) for runs in found.values())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def percent(runs: Sequence[PeopleMetrics], label: int | None) -> str:
    """Mean over runs of a class, or of the mean of all."""
    values = [run.mean_ap if label is None else run.classes[label].average_precision for run in runs]
    return f"{100 * fmean(value or 0.0 for value in values):.1f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default="0,1,2")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    people, found = small_set(), dict[str, list[PeopleMetrics]]()
    for name in NETWORKS:
        for seed in given.seeds:
            begin = time.perf_counter()
            metrics = tried(name, people, seed=seed)
            found.setdefault(name, []).append(metrics)
            sys.stderr.write(f"{name}, seed {seed}: {metrics.line}, {time.perf_counter() - begin:.0f} s\n")
    sys.stdout.write(table(found) + "\n")


if __name__ == "__main__":
    main()
