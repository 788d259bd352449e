"""What a run was made of: recipe, versions, seed, state of the repository, videos."""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from slowfast_hub.trainer.keyframes import LabelledPeople, LabelledSet
from slowfast_hub.trainer.recipe import Recipe, to_toml
from slowfast_hub.trainer.report import ABOUT, RECIPE
from slowfast_hub.trainer.samples import LabelledVideos
from slowfast_hub.zoo.save import whole_file

VIDEOS, PEOPLE, CLASSES = "videos.csv", "people.csv", "classes.txt"  # as formats.read_videos and read_people read them
PACKAGES = ("slowfast-hub", "torch", "torchvision", "timm", "accelerate", "av", "numpy")


def write_about(run: Path, recipe: Recipe, videos: LabelledSet, machine: dict[str, Any]) -> None:
    """`recipe.toml` and the set, which train the same again, and `run.json`. machine: processes, device.

    The set is `videos.csv`, or of people `people.csv`; one in memory is not written.
    """
    people = isinstance(videos, LabelledPeople)
    table = PEOPLE if people else VIDEOS
    about = {
        "git": git_state(Path(__file__).parent),
        "python": f"{platform.python_version()} on {platform.platform()}",
        "packages": {name: installed(name) for name in PACKAGES},
        "command": sys.argv,
        "seed": recipe.seed,
        "machine": {**machine, "cores": os.cpu_count()},
        f"read {table} with": {"val_share": 0} if people else {"multilabel": videos.multilabel, "val_share": 0},
        "key frames" if people else "videos": {part: len(getattr(videos, part)) for part in ("train", "val", "test")},
        "classes": videos.classes,
        "notes": videos.notes,
    }
    for name, text in ((RECIPE, to_toml(recipe)), (ABOUT, json.dumps(about, indent=2) + "\n")):
        with whole_file(run / name) as partial:
            partial.write_text(text, encoding="utf-8")
    if all(sample.on_disk for sample in videos.samples()):
        with whole_file(run / table) as partial:
            write_set(partial, videos)
        with whole_file(run / CLASSES) as partial:
            partial.write_text("".join(f"{name}\n" for name in videos.classes), "utf-8", errors="surrogateescape")


def write_set(path: Path, videos: LabelledSet) -> None:
    """The set and its split as a table that is read again."""
    if isinstance(videos, LabelledPeople):
        from slowfast_hub.trainer.formats.people import write_people

        write_people(path, videos)
    else:
        write_table(path, videos)


def write_table(path: Path, videos: LabelledVideos) -> None:
    """The set and its split as a table that `read_videos` reads; of `spans` their labels alone."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.writer(file)
        table.writerow(("video", "label", "split", "group", "start", "end", "fps"))
        for part in ("train", "val", "test"):
            for sample in getattr(videos, part):
                video, names = os.path.abspath(sample.video), "|".join(videos.classes[label] for label in sample.labels)
                table.writerow((video, names, part, sample.group, sample.start_s, sample.end_s, sample.fps))


def git_state(folder: Path) -> str | None:
    """The commit that the package is at, and whether files differ from it; None for a package that was installed."""
    own = [
        "git",
        "-C",
        str(folder),
        "ls-files",
        "--error-unmatch",
        __file__,
    ]  # it may lie in somebody else's repository
    state = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        subprocess.run(own, capture_output=True, timeout=10, check=True)
        done = subprocess.run(state, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
