"""Thousands of damaged files through `classify`: each is answered or refused by a VideoError, and nothing else happens.

    python tests/fuzz/run.py --count 2000 --seed 0 --workers 2 --limit-s 60

Seed n makes file n (`mutate`), out of the files of `parents` and those of `--parents FOLDER`. Worker processes hold one
Predictor each. One that dies is a crash; one that does not answer within `--limit-s` is killed and is a hang; any
exception but VideoError has come through a hole. The file is then kept in `--keep`, since other versions of the
encoders make other parents. `--memory-mb` bounds what a worker may take beyond its warm state (Linux), so that a small
file which asks for gigabytes shows. Prints a table of outcomes; exit status 1 if any was neither answer nor VideoError.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Queue

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as pytest has it: the folder of the tests

from fuzz.mutate import Mutant, mutate
from fuzz.parents import made_parents, parents_in

from slowfast_hub.predict.predictor import Predictor
from slowfast_hub.spec import Prediction, VideoError, VideoLimitError

START_S = 300.0  # for a worker to load the network
VIEWS = (2, 1)  # two clips: the second is reached by a seek
FINE = ("answered", "VideoError")


@dataclass(frozen=True)
class Outcome:
    """What became of one damaged file."""

    seed: int
    result: str  # one of FINE, "crash", "hang", "empty answer", or the name of the exception that came through
    reason: str = ""  # of a VideoError: numbers replaced, so that like is counted with like
    kind: str = ""
    parent: str = ""
    other: str = ""
    frames: int = 0
    seconds: float = 0.0
    peak_mb: int = 0  # the most memory that the worker ever held, after this file

    @property
    def fine(self) -> bool:
        return self.result in FINE


class Worker:
    """A process that classifies damaged files, replaced when it dies or hangs."""

    def __init__(self, parents: Sequence[Path], *, limit_s: float, memory_mb: int) -> None:
        self.limit_s = limit_s
        self.process: multiprocessing.process.BaseProcess | None = None
        self._parents, self._memory_mb = parents, memory_mb

    def ask(self, seed: int) -> Outcome:
        """The outcome of the damaged file `seed`."""
        if self.process is None:
            self._start()
        try:
            self._pipe.send(seed)
            if not self._pipe.poll(self.limit_s):
                self.stop()
                return self._failed(seed, "hang", f"no answer within {self.limit_s:g} s", seconds=self.limit_s)
            return self._pipe.recv()
        except (EOFError, ConnectionError):
            return self._failed(seed, "crash", f"the worker died with exit code {self.stop()}")

    def stop(self) -> int | None:
        """End the process if there is one; its exit code."""
        if self.process is None:
            return None
        process, self.process = self.process, None
        self._pipe.close()
        process.join(0.5)  # one that is dying may do so by itself, and its exit code then says of what
        process.kill()
        process.join()
        return process.exitcode

    def _failed(self, seed: int, result: str, reason: str, *, seconds: float = 0.0) -> Outcome:
        mutant = mutate(seed, [path.read_bytes() for path in self._parents])
        parent, other = self._parents[mutant.parent].name, self._parents[mutant.other].name
        return Outcome(seed, result, reason, kind=mutant.kind, parent=parent, other=other, seconds=seconds)

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=work, args=(theirs, self._parents, self._memory_mb), daemon=True)
        self.process.start()
        theirs.close()
        if not self._pipe.poll(START_S):
            raise TimeoutError(f"a worker was not ready within {START_S:g} s")
        self._pipe.recv()


def work(pipe: Connection, parents: Sequence[Path], memory_mb: int) -> None:
    """The life of a worker: a seed in, an outcome out."""
    torch.set_num_threads(1)
    predictor = Predictor(views=VIEWS)
    predictor(parents[0])
    bound_memory(memory_mb)
    contents = [path.read_bytes() for path in parents]
    with tempfile.TemporaryDirectory() as folder:
        pipe.send("ready")
        while True:
            try:
                seed = pipe.recv()
            except EOFError:
                return
            mutant = mutate(seed, contents)
            video: Path | bytes = mutant.data
            if seed % 2:  # every second one as a file, since names and protocols have a say there
                video = Path(folder, f"mutant{parents[mutant.parent].suffix}")
                video.write_bytes(mutant.data)
            pipe.send(classified(predictor, video, seed, mutant, parents))


def bound_memory(memory_mb: int) -> None:
    """Let this process take so much more memory than it holds now, where the system can say and do that."""
    status = Path("/proc/self/status")
    if status.exists():
        held_kb = int(re.search(r"VmData:\s+(\d+)", status.read_text())[1])
        # Not RLIMIT_AS: the address space that threads reserve and never touch is no memory.
        resource.setrlimit(resource.RLIMIT_DATA, ((held_kb + memory_mb * 1024) * 1024, resource.RLIM_INFINITY))


def classified(
    predictor: Predictor, video: Path | bytes, seed: int, mutant: Mutant, parents: Sequence[Path]
) -> Outcome:
    begin, frames, reason = time.perf_counter(), 0, ""
    try:
        answer = predictor(video)
        result, frames = ("answered" if sound(answer) else "empty answer"), answer.video.frames
    except VideoError as error:
        result, reason = "VideoError", reason_of(error)
    except Exception as error:  # noqa: BLE001 - which ones come through is the question
        where = traceback.extract_tb(error.__traceback__)[-1]
        result, reason = type(error).__name__, f"{Path(where.filename).name}:{where.lineno} {where.name}: {error}"[:300]
    return Outcome(
        seed,
        result,
        reason,
        kind=mutant.kind,
        parent=parents[mutant.parent].name,
        other=parents[mutant.other].name,
        frames=frames,
        seconds=round(time.perf_counter() - begin, 3),
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )


def sound(answer: Prediction) -> bool:
    """Whether an answer was made of frames: a probability for each class, out of all the views that were planned."""
    whole = answer.video.frames > 0 and len(answer.view_logits) == answer.plan.num_views > 0
    return whole and bool(answer.view_logits.isfinite().all()) and abs(float(answer.probs.sum()) - 1) < 1e-4


def reason_of(error: VideoError) -> str:
    """The reason of an error without its numbers."""
    if isinstance(error, VideoLimitError):
        return f"beyond Limits.{error.limit}"
    return re.sub(r"\d+", "N", error.reason)


def run(
    seeds: Iterable[int], parents: Sequence[Path], *, workers: int, limit_s: float, memory_mb: int
) -> Iterator[Outcome]:
    """The outcomes of `seeds`, in their order."""
    crew = [Worker(parents, limit_s=limit_s, memory_mb=memory_mb) for _ in range(workers)]
    idle: Queue[Worker] = Queue()
    for worker in crew:
        idle.put(worker)

    def ask(seed: int) -> Outcome:
        worker = idle.get()
        try:
            return worker.ask(seed)
        finally:
            idle.put(worker)

    with ThreadPoolExecutor(workers) as threads:
        try:
            yield from threads.map(ask, seeds)
        finally:
            threads.shutdown(cancel_futures=True)
            for worker in crew:
                worker.stop()


def table(outcomes: Sequence[Outcome]) -> str:
    """How many of each outcome, and what a reader should look at."""
    counts = Counter((outcome.result, outcome.reason if outcome.result == "VideoError" else "") for outcome in outcomes)
    rows = [f"{count:7d}  {result:12s} {reason}" for (result, reason), count in sorted(counts.items(), key=rank)]
    slowest = sorted(outcomes, key=lambda outcome: -outcome.seconds)[:3]
    rows.append("slowest: " + ", ".join(f"seed {outcome.seed} {outcome.seconds:.1f} s" for outcome in slowest))
    rows.append(f"most memory held by a worker: {max(outcome.peak_mb for outcome in outcomes)} MB")
    rows += [f"FAILED   seed {o.seed} ({o.kind} of {o.parent}): {o.result}, {o.reason}" for o in outcomes if not o.fine]
    return "\n".join(rows)


def rank(row: tuple[tuple[str, str], int]) -> tuple[str, int]:
    (result, _), count = row
    return result, -count


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="how many files")
    parser.add_argument("--seed", type=int, default=0, help="the number of the first file")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--limit-s", type=float, default=60.0, help="for one file; beyond it is a hang")
    parser.add_argument("--memory-mb", type=int, default=2000, help="what a worker may take beyond its warm state")
    parser.add_argument("--parents", type=Path, action="append", default=[], help="a folder with more whole files")
    parser.add_argument("--out", type=Path, help="a file for the outcomes, one JSON object a line")
    parser.add_argument("--keep", type=Path, help="a folder for the files that failed")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        parents = [*made_parents(Path(folder)), *(path for more in options.parents for path in parents_in(more))]
        contents = [path.read_bytes() for path in parents]
        outcomes = []
        seeds = range(options.seed, options.seed + options.count)
        for outcome in run(
            seeds, parents, workers=options.workers, limit_s=options.limit_s, memory_mb=options.memory_mb
        ):
            outcomes.append(outcome)
            if options.out:
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
            if options.keep and not outcome.fine:
                options.keep.mkdir(parents=True, exist_ok=True)
                mutant = mutate(outcome.seed, contents)
                name = f"{outcome.seed}_{outcome.result.replace(' ', '_')}{parents[mutant.parent].suffix}"
                (options.keep / name).write_bytes(mutant.data)
    print(f"{len(outcomes)} damaged files of {len(parents)} parents, seeds {seeds[0]}..{seeds[-1]}")
    print(table(outcomes))
    sys.exit(not all(outcome.fine for outcome in outcomes))


if __name__ == "__main__":
    main()
