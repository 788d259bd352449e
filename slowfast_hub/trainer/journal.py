"""What a run says while it runs: lines of JSON always, TensorBoard when it is installed, a bar on a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from slowfast_hub.zoo.save import whole_file

LOG, SKIPPED = "log.jsonl", "skipped.jsonl"
MUCH, MORE = 0.3, 0.2  # of the time, waiting for clips
Record = dict[str, Any]
T = TypeVar("T")


class Timer:
    """How long steps take, and how much of it they wait for clips."""

    def __init__(self) -> None:
        self.begin = time.perf_counter()
        self.wait_s = 0.0

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, with the time until each one is there."""
        source = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(source, None)
            self.wait_s += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.begin

    @property
    def waited(self) -> float:
        """The share of the time that went into waiting."""
        return self.wait_s / self.seconds


def advice(waited: float, workers: int, *, told: float = 0.0) -> tuple[str, float]:
    """What share of the time went into waiting for clips, and what to do about it, said once.

    told: the share at which it was said before, 0 for never; it is said again where much more is waited. Comes back as
    it is now.
    """
    text = f"{100 * waited:.0f} % of the time was spent waiting for clips"
    if waited < MUCH or (told and waited < told + MORE):
        return text, told
    return (
        f"{text}: try more workers (now {workers}), smaller files with keyframes close together "
        "(slowfast-hub data prepare), or hold=256, which keeps a small set decoded in memory",
        waited,
    )


class Journal:
    """The records of a run, each with a `kind`: "precision", "step", "epoch", "test", "error" or "end".

    run: folder of `log.jsonl` and `tensorboard/`; None writes nothing. log: is given every record. show: a bar with the
    time that is left, and a line for each epoch, on stderr.
    """

    def __init__(self, run: Path | None, *, log: Callable[[Record], None] | None, show: bool, total: int) -> None:
        if run is not None:
            run.mkdir(parents=True, exist_ok=True)
        self._run = run
        self._log = log
        self._board = tensorboard(run) if run is not None else None
        self._bar: Any = bar(total) if show else None

    def advance(self, step: int, text: str) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, description=text)

    def write(self, record: Record) -> None:
        """Take down one record."""
        if self._run is not None:
            append_line(self._run / LOG, record)
        if self._board is not None:
            for name, value in record.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{record['kind']}/{name}", value, record["step"])
        if self._log is not None:
            self._log(record)

    def say(self, text: str) -> None:
        """A line for the person who waits."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()
        if self._bar is not None:
            self._bar.stop()


def tensorboard(run: Path) -> Any:
    """A writer for TensorBoard; None where it is not installed."""
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"))


def bar(total: int) -> Any:
    """A bar of rich, started."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    progress = Progress(*columns, console=Console(stderr=True))
    progress.start()
    progress.add_task("train", total=total)
    return progress


def append_line(path: str | Path, record: Record) -> None:
    """Add one JSON object to a .jsonl file."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def read_lines(path: Path) -> list[Record]:
    """The objects of a .jsonl file, none if it is not there; a last line that was cut off is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def rewind(run: Path, step: int, tested: int) -> None:
    """Forget the records after `step`, and the tests after step `tested`: a run that goes on makes them again."""
    for file in (run / LOG, run / SKIPPED):
        if file.exists():
            last = {"test": tested}
            kept = [record for record in read_lines(file) if record["step"] <= last.get(record.get("kind", ""), step)]
            with whole_file(file) as partial:
                partial.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
