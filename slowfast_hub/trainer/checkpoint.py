"""Where a run stands, in one file: written whole or not at all, so that the last good one survives whatever happens.

The files are torch's, and opened with `weights_only`: tensors and plain values, nothing that could run.
"""

from __future__ import annotations

import random
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch

from slowfast_hub.zoo.save import whole_file

FOLDER = "checkpoints"
NAME = re.compile(r"step-(\d{9})\.pt")
UNFINISHED = re.compile(r"\..+\.[0-9a-f]{12}")  # as whole_file names them


@dataclass
class Progress:
    """How far a run has come."""

    step: int = 0  # steps done
    tested: int = 0  # steps done at the last test
    best: float | None = None  # the best answer of a test so far, 0..1
    worse: int = 0  # tests since it was reached first
    kept: int = 0  # steps done at the test whose network is kept

    def better(self, answer: float) -> bool:
        """Whether a test's answer is the best so far; of equal ones it is the last."""
        return self.best is None or answer >= self.best

    def take(self, answer: float, *, kept: bool) -> None:
        """Take note of a test, and whether its network was kept."""
        self.tested = self.step
        self.worse = 0 if self.best is None or answer > self.best else self.worse + 1
        if kept:
            self.best, self.kept = answer, self.step


def random_state() -> dict[str, Any]:
    """The random numbers of this process: torch's on all devices, numpy's and Python's."""
    import numpy as np

    kind, keys, place, has_gauss, gauss = cast(tuple[Any, ...], np.random.get_state(legacy=True))
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (kind, torch.from_numpy(keys.astype("int64")), place, has_gauss, gauss),
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Go on where `random_state` was taken."""
    import numpy as np

    kind, keys, *rest = state["numpy"]
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    np.random.set_state((kind, keys.numpy().astype("uint32"), *rest))
    random.setstate(state["python"])


def save_checkpoint(run: Path, progress: Progress, state: dict[str, Any], *, keep: int) -> Path:
    """Write the state after `progress.step` steps; older checkpoints than the last `keep` go once it is there.

    Errors: OSError (a full disk), with all files as they were.
    """
    path = run / FOLDER / f"step-{progress.step:09d}.pt"
    with whole_file(path) as partial:
        try:
            torch.save({"progress": asdict(progress), **state}, partial)
        except RuntimeError as error:  # of torch's writer, when the disk is full
            if "DataLoader worker" in str(error):  # raised wherever this process happens to be
                raise
            raise OSError(f"{path}: cannot be written: {error}") from error
    for old in checkpoints(run)[:-keep]:
        old.unlink()
    return path


def load_checkpoint(path: Path) -> tuple[Progress, dict[str, Any]]:
    """What `save_checkpoint` wrote, on the CPU. ValueError for a file that is none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return Progress(**state.pop("progress")), state
    except (RuntimeError, UnpicklingError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: no checkpoint of a run: {error}; resume from another, or start anew") from error


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    folder = run / FOLDER
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name)) if folder.is_dir() else []


def clear(run: Path, step: int) -> None:
    """Remove what a killed run had begun to write, and the checkpoints after `step`, where a run goes on."""
    for folder in (run, run / FOLDER):
        for path in folder.iterdir() if folder.is_dir() else ():
            if UNFINISHED.fullmatch(path.name):
                path.unlink(missing_ok=True)
    for path in checkpoints(run):
        if int(NAME.fullmatch(path.name)[1]) > step:  # type: ignore[index]  # `checkpoints` matched it
            path.unlink()
