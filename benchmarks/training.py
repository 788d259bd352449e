"""Training: clips a second of the input and of the step, memory from epoch to epoch, time to the first step.

    pip install -e ".[bench,train]" && python benchmarks/training.py [input|step|growth|first]

The files are made here: a moving pattern, H.264 as x264 makes it. PyTorchVideo's pipeline is `LabeledVideoDataset` with
the transform of its published training tutorial: random clips of the same span, 32 frames, the same jitter, crop and
flip. All take turns in fresh processes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from measure import machine, write_video
from video import pictures

BATCH = 4
FILES = {"340x256": (256, 340, 16), "720p": (720, 1280, 8)}  # height, width, files of ten seconds

THEIRS = """
import sys, torchvision.transforms.functional as F; sys.modules["torchvision.transforms.functional_tensor"] = F
import torch
from pytorchvideo.data import LabeledVideoDataset, make_clip_sampler
from pytorchvideo.transforms import ApplyTransformToKey, Normalize, RandomShortSideScale, UniformTemporalSubsample
from torchvision.transforms import Compose, Lambda, RandomCrop, RandomHorizontalFlip
transform = ApplyTransformToKey("video", Compose([
    UniformTemporalSubsample(32), Lambda(lambda x: x / 255.0), Normalize([0.45] * 3, [0.225] * 3),
    RandomShortSideScale(256, 320), RandomCrop(224), RandomHorizontalFlip(0.5)]))
def loader(paths, workers):
    videos = [(path, {"label": 0}) for path in paths]
    dataset = LabeledVideoDataset(videos, make_clip_sampler("random", 64 / 30), transform=transform, decode_audio=False)
    batches = torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=workers)
    while True:
        for batch in batches:
            yield batch["video"]
"""
OURS = """
import torch
from slowfast_hub.spec import ClipSpec
from slowfast_hub.trainer.clips import Turns, make_loader, training_set
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.trainer.samples import LabelledVideos, Sample
def loader(paths, workers):
    videos = LabelledVideos(("any",), tuple(Sample(path, (0,)) for path in paths))
    clips = training_set(Recipe("any", jitter=(256, 320), crop=224), videos, ClipSpec(32, 2))
    turns = Turns(len(clips), batch_size=4, process=0, processes=1, turns=1, seed=0, weights=None)
    batches = make_loader(clips, turns, workers, torch.device("cpu"))
    while True:
        turns.epoch += 1
        for batch in batches:
            yield batch.clips
"""
# The first batches fill the queues of the workers, so they are not counted.
COUNT = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
torch.set_num_threads(2)
paths, workers, seconds = json.loads(sys.argv[1])
batches = loader(paths, workers)
for _ in range(1 + workers):
    next(batches)
begin, clips = time.perf_counter(), 0
while time.perf_counter() - begin < seconds:
    clips += len(next(batches))
print(clips / (time.perf_counter() - begin))
import os; os._exit(0)
"""


def clips_a_second(code: str, paths: list[str], workers: int, seconds: float) -> float:
    command = [sys.executable, "-c", code + COUNT, json.dumps([paths, workers, seconds])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.split()[-1])


def measure_input(folder: Path, repeats: int, seconds: float) -> None:
    print("\n| files of 10 s | workers | pytorchvideo 0.1.5, clips a second | slowfast_hub | times faster |")
    print("|---|---|---|---|---|")
    for name, (height, width, count) in FILES.items():
        paths = [made(folder / f"{name}_{i}.mp4", height, width) for i in range(count)]
        for workers in (0, 1, 2):
            pairs = [
                tuple(clips_a_second(code, paths, workers, seconds) for code in (THEIRS, OURS)) for _ in range(repeats)
            ]
            theirs, ours = map(statistics.median, zip(*pairs))
            print(f"| {name} | {workers} | {theirs:.2f} | {ours:.2f} | {ours / theirs:.2f} |", flush=True)


def made(path: Path, height: int, width: int) -> str:
    if not path.exists():
        write_video(path, pictures(300, height, width), options={"crf": "23", "preset": "veryfast"})
    return str(path)


def class_folders(folder: Path, count: int, height: int, width: int) -> Path:
    """Two classes of `count` videos each, as links to one file."""
    video = made(folder / f"{height}.mp4", height, width)
    root = folder / f"classes_{height}_{count}"
    for label in ("one", "two"):
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            link = root / label / f"{number}.mp4"
            if not link.exists():
                os.link(video, link)
    return root


def run(root: Path, out: Path, *options: str) -> tuple[float, list[dict[str, float]]]:
    """Seconds until the first step was logged, and the records of `slowfast-hub train`."""
    begin, first, log = time.perf_counter(), 0.0, out / "log.jsonl"
    command = [sys.executable, "-m", "slowfast_hub", "train", "--data", str(root), "--out", str(out), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        if not first and log.exists() and '"step"' in log.read_text():
            first = time.perf_counter() - begin
        time.sleep(0.02)
    if process.returncode and process.stderr is not None:
        sys.exit(process.stderr.read()[-2000:])
    return first, [json.loads(line) for line in log.read_text().splitlines()]


def measure_first(folder: Path, repeats: int) -> None:
    print("\n| `slowfast-hub train`, from the command to the end of the first step | seconds |\n|---|---|")
    for model, root, more in (
        ("slowfast_r14_4x16_w16.hub_actions16", class_folders(folder, 20, 120, 160), ("batch_size=8",)),
        ("slowfast_r50_8x8", class_folders(folder, 20, 256, 340), ("batch_size=2", "batch_norm=batch")),
    ):
        options = (
            "--model",
            model,
            "--val-share",
            "0",
            "epochs=0.1",
            "head_epochs=0",
            "warmup_epochs=0",
            "save_every=1",
        )
        seconds = []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as out:
                seconds.append(run(root, Path(out) / "run", *options, *more)[0])
        print(f"| {model}, {more[0]} | {statistics.median(seconds):.1f} |", flush=True)


def measure_step(folder: Path) -> None:
    print("\n| network, CPU | workers | clips a second | of the time waiting for clips |\n|---|---|---|---|")
    for workers in (0, 1, 2):
        options = ("--model", "slowfast_r14_4x16_w16", "--val-share", "0", "batch_size=8", f"workers={workers}")
        with tempfile.TemporaryDirectory() as out:
            more = ("epochs=3", "head_epochs=0", "warmup_epochs=0", "batch_norm=batch")
            _, records = run(class_folders(folder, 32, 256, 340), Path(out) / "run", *options, *more)
        epoch = [record for record in records if record["kind"] == "epoch"][-1]
        rate, wait = epoch["clips"] / epoch["seconds"], epoch["wait_seconds"] / epoch["seconds"]
        print(f"| slowfast_r14_4x16_w16, 340x256 files | {workers} | {rate:.1f} | {100 * wait:.0f} % |", flush=True)


GROWTH = """
import json, sys, multiprocessing
from pathlib import Path
import torch
from slowfast_hub.trainer.formats import read_videos
from slowfast_hub.trainer.recipe import read_recipe
from slowfast_hub.trainer.train import train
def resident():
    pids = ["self", *(child.pid for child in multiprocessing.active_children())]
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3
def log(record):
    if record["kind"] == "test":
        print(record["epoch"], resident(), flush=True)
changes = {"batch_norm": "batch", "epochs": 12.0, "batch_size": 8, "head_epochs": 0.0, "patience": 0}
changes["workers"] = int(sys.argv[3])
recipe = read_recipe("finetune", {"model": "slowfast_r14_4x16_w16", **changes})
train(recipe, read_videos(sys.argv[1]), out=sys.argv[2], log=log)
"""


def measure_growth(folder: Path) -> None:
    root = class_folders(folder, 32, 120, 160)
    print("\n| workers | MB after epoch 2 | after epoch 12 |\n|---|---|---|")
    for workers in (0, 2):
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-c", GROWTH, str(root), str(Path(out) / "run"), str(workers)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        held = {int(line.split()[0]): float(line.split()[1]) for line in done.stdout.splitlines()}
        print(f"| {workers} | {held[2]:.0f} | {held[12]:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="*", default=["input", "step", "growth", "first"])
    parser.add_argument("--folder", type=Path, help="where the files are kept for the next run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement of the input")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    print(machine())
    works = {
        "input": lambda: measure_input(folder, arguments.repeats, arguments.seconds),
        "step": lambda: measure_step(folder),
        "growth": lambda: measure_growth(folder),
        "first": lambda: measure_first(folder, arguments.repeats),
    }
    for topic in arguments.topics:
        works[topic]()


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
