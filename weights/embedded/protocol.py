"""How the embedded network is trained and tested: every run of the model card.

    python weights/embedded/protocol.py pretrain             rendered figures; needs nothing but this file's folder
    python weights/embedded/protocol.py pretrain --variant V --epochs 3     the same for the comparison; V: VARIANTS
    python weights/embedded/protocol.py run --data ACTIONS   every run of RUNS that has no line in results.jsonl yet
    python weights/embedded/protocol.py report               the tables of the card from results.jsonl

ACTIONS holds `weizmann/<class>/<person>_<class>.avi` and `ut_interaction/<class>/set<k>_seq<NN>_<class>_<i>.mp4`.
A finished run is one line, so the work can stop at any time and go on, or be shared: `--share 0/2` and `--share 1/2`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from slowfast_hub.models import VideoModel
from slowfast_hub.spec import FAST_KERNELS, ResNet3DArch
from slowfast_hub.trainer.clips import hold
from slowfast_hub.trainer.evaluate import evaluate
from slowfast_hub.trainer.journal import append_line
from slowfast_hub.trainer.recipe import Recipe, read_recipe
from slowfast_hub.trainer.samples import LabelledVideos, Sample
from slowfast_hub.trainer.train import train
from slowfast_hub.video.reader import Video
from slowfast_hub.zoo.describe import Description, to_header
from slowfast_hub.zoo.manifest import read_labels
from slowfast_hub.zoo.registry import DEFAULT_MODEL, find_arch, register_model
from slowfast_hub.zoo.save import save_tensors

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
RUNS_FOLDER = HERE / "runs"  # git-ignored: pre-trained and trained weights

PEOPLE = ("daria", "denis", "eli", "ido", "ira", "lena", "lyova", "moshe", "shahar")
TEST_PEOPLE = ("ira", "lyova", "shahar")  # the fixed split
SEEDS = (0, 1, 2)
LONGEST = 96  # px of the pictures that training keeps in memory; tests read the files
RENDERED = 100  # clips per class
SHORTER = {"ut1": 30.0, "ut2": 30.0}  # epochs of twenty folds that would take an hour else
PAPER_TESTS = "5x1"  # the network sees whole pictures, so one crop is all there is

# Each pathway of the embedded network on its own, with a head of its own.
CLIP = find_arch(DEFAULT_MODEL).clip
VARIANTS = {
    "slowfast": DEFAULT_MODEL,
    "slow": "slow_r14_4x16_w16",
    "fast": "fast_r14_32x2_w4",
}
register_model(VARIANTS["slow"], ResNet3DArch(replace(CLIP, frames=4, stride=16), depth=14, width=16, num_classes=16))
register_model(VARIANTS["fast"], ResNet3DArch(CLIP, depth=14, width=4, temporal_kernels=FAST_KERNELS, num_classes=16))


@dataclass(frozen=True)
class Run:
    """One training and its test: the test part of `protocol` is the group or groups `held_out`."""

    protocol: str  # fixed | again: the same, trained anew in November 2026 | compare | weizmann | ut1 | ut2
    held_out: str
    variant: str = "slowfast"
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.protocol}/{self.held_out}/{self.variant}/{self.seed}"


RUNS = [
    *(Run("fixed", "people+set2", seed=seed) for seed in SEEDS[:1]),
    Run("again", "people+set2"),
    *(Run("weizmann", person) for person in PEOPLE),
    *(Run("ut1", f"set1_seq{n:02d}") for n in range(1, 11)),
    *(Run("ut2", f"set2_seq{n:02d}") for n in range(11, 21)),
    *(Run("compare", "people+set2", variant, seed) for seed in SEEDS for variant in VARIANTS),
]


def person(path: Path) -> str:
    return path.stem.partition("_")[0]


def sequence(path: Path) -> str:
    return "_".join(path.stem.split("_")[:2])


def read_actions(root: Path) -> list[Sample]:
    """The clips of both sets with the union of their classes as labels: the ten of the first, then the six."""
    folders = [folder for name in ("weizmann", "ut_interaction") for folder in sorted((root / name).iterdir())]
    return [
        Sample(path, (label,), person(path) if folder.parent.name == "weizmann" else sequence(path))
        for label, folder in enumerate(folder for folder in folders if folder.is_dir())
        for path in sorted(folder.iterdir())
    ]


def split(samples: list[Sample], run: Run) -> tuple[list[Sample], list[Sample], int]:
    """Training part, test part and number of classes; within one set its labels are re-based to 0."""
    if run.protocol in ("fixed", "again", "compare"):
        held_out = [s.group in TEST_PEOPLE or s.group.startswith("set2") for s in samples]
        parts = [[s for s, test in zip(samples, held_out) if test is side] for side in (False, True)]
        return parts[0], parts[1], 16
    prefix = {"ut1": "set1_", "ut2": "set2_"}.get(run.protocol)
    part = [s for s in samples if (s.group.startswith(prefix) if prefix else s.group in PEOPLE)]
    first = min(s.labels[0] for s in part)
    part = [replace(s, labels=(s.labels[0] - first,)) for s in part]
    return (
        [s for s in part if s.group != run.held_out],
        [s for s in part if s.group == run.held_out],
        6 if prefix else 10,
    )


def pretrained_path(variant: str, epochs: float) -> Path:
    return RUNS_FOLDER / f"rendered_{variant}_{epochs:g}.safetensors"


def pretrain(variant: str, epochs: float | None) -> None:
    """Train on rendered figures and save the weights."""
    sys.path.insert(0, str(HERE))
    from render import render_set

    recipe = read_recipe(HERE / "pretrain.toml", {"model": VARIANTS[variant]})
    recipe = replace(recipe, epochs=epochs or recipe.epochs)
    clips, labels = render_set(RENDERED, 0, height=72, width=72, frames=44)
    samples = [Sample(clip, (int(label),), fps=15.0) for clip, label in zip(clips, labels)]
    log = RUNS_FOLDER / f"rendered_{variant}_{recipe.epochs:g}.jsonl"
    RUNS_FOLDER.mkdir(exist_ok=True)
    model = train(recipe, labelled(samples, 16), log=lambda record: append_line(log, record))
    save_run(model, pretrained_path(variant, recipe.epochs), VARIANTS[variant])


def labelled(samples: list[Sample], num_classes: int) -> LabelledVideos:
    """Training videos alone, their classes by number."""
    return LabelledVideos(tuple(map(str, range(num_classes))), tuple(samples))


def save_run(model: VideoModel, path: Path, name: str) -> None:
    save_tensors(model.state_dict(), path, metadata=to_header(Description(name, model.arch)))


def recipe_of(run: Run) -> Recipe:
    """The recipe of a run; the comparison has a shorter one, the same for its three networks."""
    recipe = read_recipe(HERE / ("compare.toml" if run.protocol == "compare" else "finetune.toml"), {"seed": run.seed})
    rendered = float(str(recipe.init).rpartition("_")[2])  # the file's name says how long it was pre-trained
    return replace(
        recipe,
        model=VARIANTS[run.variant],
        init=str(pretrained_path(run.variant, rendered)),
        epochs=SHORTER.get(run.protocol, recipe.epochs),
    )


def perform(run: Run, samples: list[Sample], held: dict[Video, Sample]) -> dict[str, object]:
    """Train on the clips in `held`, test on the files; the record that goes into results.jsonl."""
    begin = time.perf_counter()
    recipe = recipe_of(run)
    training, test, num_classes = split(samples, run)
    in_memory = [replace(held[sample.video], labels=sample.labels) for sample in training]
    model = train(recipe, labelled(in_memory, num_classes))
    seconds = time.perf_counter() - begin
    if run.protocol in ("fixed", "again"):
        save_run(model, RUNS_FOLDER / f"{run.name.replace('/', '_')}.safetensors", VARIANTS[run.variant])
    return {
        "run": run.name,
        **asdict(run),
        "train_clips": len(training),
        "test_clips": len(test),
        "train_seconds": round(seconds),
        "epochs": recipe.epochs,
        "labels": [sample.labels[0] for sample in test],
        **{f"answers_{views}": answers(model, test, views) for views in ("centre", PAPER_TESTS)},
    }


def answers(model: VideoModel, test: list[Sample], views: str) -> list[int]:
    result = evaluate(model, test, classes=model.labels, views=views)
    return result.probs.argmax(1).tolist()


def done() -> dict[str, dict[str, object]]:
    if not RESULTS.exists():
        return {}
    records = map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())
    return {record["run"]: record for record in records}


def run_all(root: Path, share: str, only: str) -> None:
    """Every run that matches `only` and has no line yet; `share` i/n takes each n-th of them."""
    part, parts = map(int, share.split("/"))
    todo = [run for run in RUNS if run.name.startswith(only)][part::parts]
    samples = read_actions(root)
    held = {sample.video: hold(sample, LONGEST) for sample in samples}
    for run in todo:
        if run.name in done():
            continue
        record = perform(run, samples, held)
        append_line(RESULTS, record)
        print(run.name, accuracy(record), record["train_seconds"], "s", flush=True)


def accuracy(record: dict[str, object], *, views: str = PAPER_TESTS, classes: range | None = None) -> tuple[int, int]:
    """Right answers and all answers, of the test clips whose label is in `classes`."""
    pairs = [
        (label, answer)
        for label, answer in zip(record["labels"], record[f"answers_{views}"])  # type: ignore[call-overload]
        if classes is None or label in classes
    ]
    return sum(label == answer for label, answer in pairs), len(pairs)


def wilson(right: int, total: int) -> tuple[float, float]:
    """95 % confidence interval of a share (Wilson 1927)."""
    z = 1.96
    share, spread = right / total, z / total * (right * (total - right) / total + z * z / 4) ** 0.5
    middle = share + z * z / (2 * total)
    return (middle - spread) / (1 + z * z / total), (middle + spread) / (1 + z * z / total)


def line(name: str, right: int, total: int) -> str:
    low, high = wilson(right, total)
    return f"| {name} | {right} of {total} | {100 * right / total:.1f} % | {100 * low:.0f} to {100 * high:.0f} % |"


def report() -> None:
    """The tables of the card."""
    records = done()
    print("| | right | accuracy | 95 % interval |\n|---|---|---|---|")
    for views in ("centre", PAPER_TESTS):
        for record in records.values():
            if record["protocol"] == "fixed":
                print(line(f"fixed, ten single actions, {views}", *accuracy(record, views=views, classes=range(10))))
                print(line(f"fixed, six interactions, {views}", *accuracy(record, views=views, classes=range(10, 16))))
        for protocol in ("weizmann", "ut1", "ut2"):
            counts = [accuracy(r, views=views) for r in records.values() if r["protocol"] == protocol]
            if counts:
                right, total = map(sum, zip(*counts))
                print(line(f"{protocol}, leave one group out, {len(counts)} folds, {views}", right, total))
    for record in records.values():
        if record["protocol"] == "fixed":
            print(f"\n{confusion(record, list(read_labels('actions16')))}")
    print("\n| comparison | seed | ten single actions | six interactions |\n|---|---|---|---|")
    for record in records.values():
        if record["protocol"] == "compare":
            cells = [accuracy(record, classes=part) for part in (range(10), range(10, 16))]
            shown = " | ".join(f"{100 * right / total:.1f} %" for right, total in cells)
            print(f"| {record['variant']} | {record['seed']} | {shown} |")


def confusion(record: dict[str, object], classes: list[str]) -> str:
    """A table of a run's answers: true class by row, answer by column, zeros left out."""
    counts = torch.zeros(len(classes), len(classes), dtype=torch.long)
    for label, answer in zip(record["labels"], record["answers_centre"]):  # type: ignore[call-overload]
        counts[label, answer] += 1
    lines = ["| true, by row | " + " | ".join(classes) + " |", "|---" * (len(classes) + 1) + "|"]
    for name, row in zip(classes, counts.tolist()):
        lines.append(f"| {name} | " + " | ".join(str(count or "") for count in row) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("pretrain")
    first.add_argument("--variant", choices=VARIANTS, default="slowfast")
    first.add_argument("--epochs", type=float, help="other than pretrain.toml says")
    second = commands.add_parser("run")
    second.add_argument("--data", type=Path, required=True)
    second.add_argument("--share", default="0/1")
    second.add_argument("--only", default="", help="runs whose name starts so, e.g. fixed or weizmann/ira")
    commands.add_parser("report")
    for command in (first, second):
        command.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    if arguments.command == "report":
        report()
        return
    torch.set_num_threads(arguments.threads)
    if arguments.command == "pretrain":
        pretrain(arguments.variant, arguments.epochs)
    else:
        run_all(arguments.data, arguments.share, arguments.only)


if __name__ == "__main__":
    main()
