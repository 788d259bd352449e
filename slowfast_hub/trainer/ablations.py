"""The paper's Tables 5a, 5b and 5c in miniature: what each part of a SlowFast network is worth on one small set.

    python -m slowfast_hub.trainer.ablations run                               the set of motion.py, all tables
    python -m slowfast_hub.trainer.ablations run --set actions --data WEIZMANN ten real actions, Table 5a
    python -m slowfast_hub.trainer.ablations report                            the tables, as Markdown
    python -m slowfast_hub.trainer.ablations plot                              accuracy over cost, as in Figure 2

A finished run is one line of the results file and is not repeated, so the work can stop at any time and go on, or be
shared by processes that write to the same file: `--share 0/2` and `--share 1/2`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from slowfast_hub.models.count import count
from slowfast_hub.spec import ClipSpec
from slowfast_hub.trainer.evaluate import evaluate
from slowfast_hub.trainer.journal import Record, append_line, read_lines
from slowfast_hub.trainer.motion import FPS, motion_videos
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.trainer.samples import LabelledVideos, Sample
from slowfast_hub.trainer.train import train
from slowfast_hub.transforms.geometry import resize

# The paper's networks with 14 layers and half of the width; alpha, beta and frames are the paper's.
SMALL: dict[str, dict[str, Any]] = {
    "slowfast_r50_4x16": {"depth": 14, "width": 32, "dropout": 0.2},
    "slow_r50_4x16": {"depth": 14, "width": 32, "dropout": 0.2},
    "fast_r50_32x2": {"depth": 14, "width": 4, "dropout": 0.2},
}


@dataclass(frozen=True)
class Network:
    """A row of a table."""

    name: str  # as the paper has it
    paper: float  # its top-1 on Kinetics-400, per cent
    row: str = "slowfast_r50_4x16"
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What is run: rows of several tables can be one network."""
        return " ".join([self.row.partition("_")[0], *(f"{name}={value}" for name, value in self.changes.items())])

    def fields(self, clip: ClipSpec) -> dict[str, Any]:
        """What differs from the row of the registry, for clips of 32 frames like `clip`."""
        if self.row.startswith("slow_"):
            clip = replace(clip, frames=4, stride=8 * clip.stride)
        return {"clip": clip, **SMALL[self.row], **self.changes}


SLOW_ONLY = Network("Slow-only", 72.6, "slow_r50_4x16")
TABLES = {
    "5a": [
        SLOW_ONLY,
        Network("Fast-only", 51.7, "fast_r50_32x2"),
        Network("no lateral", 73.5, changes={"lateral": "none"}),
        Network("TtoC, sum", 74.5, changes={"lateral": "ttoc_sum"}),
        Network("TtoC, concat", 74.3, changes={"lateral": "ttoc_cat"}),
        Network("T-sample", 75.4, changes={"lateral": "tsample"}),
        Network("T-conv", 75.6),
    ],
    "5b": [
        SLOW_ONLY,
        Network("beta 1/4", 75.6, changes={"beta_inv": 4}),
        Network("beta 1/6", 75.8, changes={"beta_inv": 6}),
        Network("beta 1/8", 75.6),
        Network("beta 1/12", 75.2, changes={"beta_inv": 12}),
        Network("beta 1/16", 75.1, changes={"beta_inv": 16}),
        Network("beta 1/32", 74.2, changes={"beta_inv": 32}),
    ],
    "5c": [
        SLOW_ONLY,
        Network("RGB", 75.6),
        Network("RGB, half size, beta 1/4", 74.7, changes={"fast_input": "half", "beta_inv": 4}),
        Network("gray", 75.5, changes={"fast_input": "gray"}),
        Network("time difference", 74.5, changes={"fast_input": "diff"}),
    ],
}


@dataclass(frozen=True)
class Benchmark:
    """A set, and how every network is trained and tested on it."""

    name: str
    videos: LabelledVideos
    clip: ClipSpec  # of the Fast pathway
    recipe: Recipe
    views: str


RECIPE = Recipe(
    "slowfast_r50_4x16",
    optimizer="adamw",
    lr=2e-3,
    weight_decay=0.05,
    batch_size=16,
    clip_grad=5.0,
    label_smoothing=0.1,
    workers=0,
)
MOTION_CLIP = ClipSpec(frames=32, stride=1, fps=FPS, short_side=32, crop=32)
ACTIONS_CLIP = ClipSpec(frames=32, stride=2, short_side=32, crop=32)
TEST_PEOPLE = ("ira", "lyova", "shahar")  # the split that the embedded network's card has, too
FOLLOWED = 80  # px, square round a figure of about 60
HELD = 40  # px that it is resized to
MOVED = 30  # of 255: a larger change is no noise


def motion() -> Benchmark:
    """Twelve motions of a disc. Training clips are many and seen twice: motion is learnt from variety."""
    # A flip would make a wrong label of left and right; the generator has drawn all the rest.
    recipe = replace(RECIPE, epochs=2, warmup_epochs=0.2, flip=0.0, jitter=(32, 32))
    return Benchmark("motion", motion_videos(train=4000, test=1200), MOTION_CLIP, recipe, "centre")


def actions(root: Path) -> Benchmark:
    """The Weizmann set, `root/<class>/<person>_<class>.avi`: ten actions of nine people, three of them in the test."""
    classes = sorted(path.name for path in root.iterdir() if path.is_dir())
    samples = [
        followed(Sample(path, (label,), group=path.stem.partition("_")[0]))
        for label, name in enumerate(classes)
        for path in sorted((root / name).glob("*.avi"))
    ]
    parts = [tuple(s for s in samples if (s.group in TEST_PEOPLE) is side) for side in (False, True)]
    if not all(parts):
        raise ValueError(f"{root}: expected <class>/<person>_<class>.avi, of {', '.join(TEST_PEOPLE)} and others")
    recipe = replace(RECIPE, epochs=100, warmup_epochs=2, batch_size=8, jitter=(32, 40), light=0.2, speed=0.2)
    return Benchmark("actions", LabelledVideos(tuple(classes), parts[0], test=parts[1]), ACTIONS_CLIP, recipe, "5x1")


def followed(sample: Sample) -> Sample:
    """The part of a video round what moves, decoded and resized: as a camera shows it that follows a figure.

    On whole pictures of this size, where a figure is 18 px high, no network learns much from 60 clips. The camera of
    the set stands still: what differs from the median in time has moved.
    """
    reader = sample.open()
    frames = torch.stack(list(reader.stream(range(reader.info.frames))))
    if min(frames.shape[1:3]) < FOLLOWED:
        raise ValueError(f"{sample.name}: pictures of the Weizmann set are 180 x 144 px; got {reader.info}")
    still = frames[::4].median(0).values  # a median of all frames takes four times as long
    moved = ((frames.float() - still).abs().amax(-1) > MOVED).float()
    down = cuts(moved.sum(2), around=len(moved)).tolist()
    right = cuts(moved.sum(1), around=7).tolist()
    cut = torch.stack([frame[y : y + FOLLOWED, x : x + FOLLOWED] for frame, y, x in zip(frames, down, right)])
    small = resize(cut.permute(0, 3, 1, 2).float(), (HELD, HELD), antialias=True)
    return replace(sample, video=small.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous(), fps=reader.info.fps)


def cuts(moved: Tensor, *, around: int) -> Tensor:
    """Where along one side of the picture the cut of each frame begins, `(T,)` long, from its moved pixels `(T, side)`.

    around: frames before and after that count too, so that it does not jump.
    """
    near = functional.avg_pool1d(moved.T, 2 * around + 1, 1, around, count_include_pad=False).T
    middle = (near * torch.arange(moved.shape[1])).sum(1) / near.sum(1).clamp(min=1e-6)
    return (middle - FOLLOWED / 2).round().long().clamp(0, moved.shape[1] - FOLLOWED)


def run(benchmark: Benchmark, network: Network, seed: int) -> Record:
    """Train and test one network; the line of the results file."""
    begin, videos = time.perf_counter(), benchmark.videos
    recipe = replace(benchmark.recipe, model=network.row, changes=network.fields(benchmark.clip), seed=seed)
    model = train(recipe, videos)
    evaluation = evaluate(model, videos.test, classes=videos.classes, views=benchmark.views)
    labels, answers = evaluation.targets.int().argmax(1), evaluation.probs.argmax(1)
    right, of = (
        found.bincount(minlength=len(videos.classes)).tolist() for found in (labels[labels == answers], labels)
    )
    return {
        "set": benchmark.name,
        "network": network.key,
        "seed": seed,
        "multiply_adds": count(model.arch).multiply_adds,
        "right": dict(zip(videos.classes, right)),
        "of": dict(zip(videos.classes, of)),
        "train_clips": len(videos.train),
        "epochs": recipe.epochs,
        "views": benchmark.views,
        "seconds": round(time.perf_counter() - begin),
        "torch": torch.__version__,
    }


def run_all(benchmark: Benchmark, runs: Iterable[tuple[int, Network]], results: Path) -> Iterator[Record]:
    """Every run, a seed and a network, that has no line in `results` yet; its line is added and given."""
    for seed, network in runs:
        if seed not in [line["seed"] for line in lines_of(read_lines(results), benchmark.name, network)]:
            line = run(benchmark, network, seed)
            append_line(results, line)
            yield line


def distinct(tables: Iterable[str]) -> list[Network]:
    """The networks of the tables, each once."""
    return list({network.key: network for table in tables for network in TABLES[table]}.values())


def lines_of(lines: Iterable[Record], name: str, network: Network) -> list[Record]:
    """The runs of one network on one set."""
    return [line for line in lines if (line["set"], line["network"]) == (name, network.key)]


def accuracies(lines: Iterable[Record]) -> list[float]:
    """Of each run, per cent of the test clips that are right."""
    return [100 * sum(line["right"].values()) / sum(line["of"].values()) for line in lines]


def report(lines: Sequence[Record]) -> str:
    """Markdown: each table on each set so far as it was run, and the classes of Table 5a."""
    parts = []
    for name in sets_in(lines):
        parts += [table_text(lines, name, table) for table in TABLES if any_run(lines, name, table)]
        parts.append(classes_text(lines, name))
    return "\n\n".join(parts)


def sets_in(lines: Iterable[Record]) -> list[str]:
    return list(dict.fromkeys(line["set"] for line in lines))


def any_run(lines: Sequence[Record], name: str, table: str) -> bool:
    """Whether a network that no other table has was run; the real actions have Table 5a alone."""
    others = {network.key for other in TABLES if other != table for network in TABLES[other]}
    return any(lines_of(lines, name, network) for network in TABLES[table] if network.key not in others)


def table_text(lines: Sequence[Record], name: str, table: str) -> str:
    """One of the paper's tables beside what was measured."""
    rows = [
        f"| Table {table}, {name} | accuracy | lowest to highest | runs | million multiply-adds | paper, Kinetics |",
        "|---|---|---|---|---|---|",
    ]
    for network in TABLES[table]:
        found = lines_of(lines, name, network)
        if found:
            shares = accuracies(found)
            cost = found[0]["multiply_adds"] / 1e6
            spread = f"{min(shares):.1f} to {max(shares):.1f}"
            rows.append(
                f"| {network.name} | {fmean(shares):.1f} | {spread} | {len(found)} | {cost:.1f} | {network.paper} |"
            )
    return "\n".join(rows)


def classes_text(lines: Sequence[Record], name: str) -> str:
    """Per cent right of each class, by the networks of Table 5a: which motions a pathway sees."""
    columns = {network.name: found for network in TABLES["5a"] if (found := lines_of(lines, name, network))}
    rows = ["| " + " | ".join([f"classes, {name}", *columns]) + " |", "|---" * (len(columns) + 1) + "|"]
    for label in next(line for line in lines if line["set"] == name)["of"]:
        shares = [
            sum(run["right"][label] for run in runs) / sum(run["of"][label] for run in runs)
            for runs in columns.values()
        ]
        rows.append("| " + " | ".join([label, *(f"{100 * share:.0f}" for share in shares)]) + " |")
    return "\n".join(rows)


SERIES = {  # of the plot: networks, mark, and the side of it where their names stand
    "Slow-only": ([SLOW_ONLY], "s", "right"),
    "Fast-only": (TABLES["5a"][1:2], "D", "right"),
    "SlowFast with T-conv, beta (5b)": (TABLES["5b"][1:], "o-", "right"),
    "SlowFast with other laterals (5a)": (TABLES["5a"][2:-1], "o", "right"),
    "SlowFast, weak Fast input (5c)": (TABLES["5c"][2:], "^", "left"),
}


def plot(lines: Sequence[Record], out: Path) -> None:
    """Accuracy over multiply-adds as the paper's Figure 2 has them; bars reach from the lowest to the highest seed.

    out: a picture in a format that matplotlib writes, by its ending.
    """
    from matplotlib.figure import Figure

    names = sets_in(lines)
    figure = Figure(figsize=(8 * len(names), 6), layout="constrained")
    for name, axes in zip(names, figure.subplots(1, len(names), squeeze=False)[0]):
        for title, (networks, mark, side) in SERIES.items():
            points = [(network.name, found) for network in networks if (found := lines_of(lines, name, network))]
            if points:
                draw(axes, title, mark, side, points)
        axes.set(title=name, xlabel="million multiply-adds of a clip", ylabel="test accuracy, %")
        axes.legend(loc="lower right")
    figure.savefig(out)


def draw(axes: Any, title: str, mark: str, side: str, points: Sequence[tuple[str, list[Record]]]) -> None:
    """One series, with the name of each point on one side of it."""
    costs = [runs[0]["multiply_adds"] / 1e6 for _, runs in points]
    shares = [accuracies(runs) for _, runs in points]
    means = list(map(fmean, shares))
    below = [mean - min(each) for mean, each in zip(means, shares)]
    above = [max(each) - mean for mean, each in zip(means, shares)]
    axes.errorbar(costs, means, yerr=(below, above), fmt=mark, capsize=3, label=title)
    beside = {"right": ((5, 4), "left"), "left": ((-5, 4), "right")}[side]
    for cost, mean, (label, _) in zip(costs, means, points):
        axes.annotate(label, (cost, mean), beside[0], textcoords="offset points", ha=beside[1], fontsize=8)


def seeds(text: str) -> list[int]:
    return [int(seed) for seed in text.split(",")]


def share(text: str) -> slice:
    """Which runs "i/n" means."""
    first, _, step = text.partition("/")
    if not (first.isdecimal() and step.isdecimal() and int(first) < int(step)):
        raise argparse.ArgumentTypeError(f"a share is i/n with i from 0 to n - 1; got {text!r}")
    return slice(int(first), None, int(step))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="every run that has no line yet")
    running.add_argument("--set", choices=("motion", "actions"), default="motion")
    running.add_argument("--data", type=Path, help="folder of the set `actions`")
    running.add_argument("--table", choices=TABLES, help="one table; otherwise all of motion, and 5a of actions")
    running.add_argument("--seeds", type=seeds, default="0,1,2")
    running.add_argument(
        "--share", type=share, default="0/1", help="i/n: every n-th run, beginning with the i-th from 0"
    )
    running.add_argument("--threads", type=int, default=torch.get_num_threads())
    plotting = commands.add_parser("plot", help="accuracy over multiply-adds")
    plotting.add_argument("--out", type=Path, default=Path("ablations.svg"))
    for command in (running, plotting, commands.add_parser("report", help="the tables, as Markdown")):
        command.add_argument("--results", type=Path, default=Path("ablations.jsonl"))
    parsed = parser.parse_args(arguments)
    if parsed.command == "run" and (parsed.set == "actions") != (parsed.data is not None):
        parser.error("--set actions and --data FOLDER belong together")
    return parsed


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse(arguments)
    if given.command == "run":
        torch.set_num_threads(given.threads)
        tables = [given.table] if given.table else list(TABLES) if given.set == "motion" else ["5a"]
        runs = [(seed, network) for seed in given.seeds for network in distinct(tables)][given.share]
        for line in run_all(motion() if given.set == "motion" else actions(given.data), runs, given.results):
            accuracy = accuracies([line])[0]
            sys.stdout.write(f"{line['network']}, seed {line['seed']}: {accuracy:.1f} %, {line['seconds']} s\n")
            sys.stdout.flush()
        return
    lines = read_lines(given.results)
    if not lines:
        raise SystemExit(f"{given.results} has no runs: begin with the command run, or give --results FILE")
    if given.command == "report":
        sys.stdout.write(report(lines) + "\n")
    else:
        plot(lines, given.out)


if __name__ == "__main__":
    main()
