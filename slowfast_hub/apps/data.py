"""The commands `slowfast-hub data ...`: folders of videos, made ready for training."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
from rich.progress import Progress

from slowfast_hub.apps.check import check as check_set
from slowfast_hub.apps.console import Json, complain, err, out, print_json, usage
from slowfast_hub.apps.inputs import find_videos
from slowfast_hub.apps.options import Limit, OnError, limits_of
from slowfast_hub.spec import LONG, Limits, VideoError, one_of

if TYPE_CHECKING:
    from slowfast_hub.video.prepare import Encoding

app = typer.Typer(help="Folders of videos, made ready for training.", no_args_is_help=True)
app.command("check")(check_set)


@dataclass(frozen=True)
class Job:
    """One file to prepare."""

    source: Path
    target: Path
    encoding: Encoding
    limits: Limits
    overwrite: bool


@dataclass(frozen=True)
class Done:
    """What became of it."""

    source: str
    target: str
    state: Literal["made", "kept", "failed"]  # kept: it was there, made from the same file in the same way
    seconds: float
    frames: int | None = None
    bytes: int | None = None
    error: str | None = None


class Jobs:
    """Jobs as a data set: item i is what became of job i, which is done when it is asked for."""

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs = jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, index: int) -> Done:
        return run(self._jobs[index])


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="A folder of videos, in folders of any depth, or one video.")],
    target: Annotated[Path, typer.Argument(help="The folder for the new files, in the same folders; or an .mp4.")],
    short_side: Annotated[int, typer.Option(help="Pixels of the shorter side; smaller videos keep theirs.")] = 256,
    gop: Annotated[int, typer.Option(help="Frames from one keyframe to the next, at most.")] = 32,
    crf: Annotated[int, typer.Option(help="Quality, 0 (lossless) to 51; 18 is hard to tell from the source.")] = 18,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes; 0 works in this one. Default: one for each core.")
    ] = None,
    on_error: OnError = "report",
    limit: Limit = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make every file anew, also in a place taken.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make small files of videos, fast to read clips from.  Example: slowfast-hub data prepare VIDEOS SMALL

    H.264 in MP4, without sound. Stopped and started again it goes on: a file that is there already is made anew only
    where its source or the options have changed.
    """
    from slowfast_hub.video.prepare import Encoding

    try:
        one_of("--on-error", on_error, ("report", "skip", "raise"))
        encoding = Encoding(short_side, gop, crf)
        limits = limits_of(limit, LONG)
        jobs = [Job(video, prepared, encoding, limits, overwrite) for video, prepared in plan(source, target)]
    except (ValueError, OSError) as error:
        raise usage(error) from error
    processes = (os.cpu_count() or 1) if workers is None else workers
    rows, failed = [], 0
    with Progress(console=err, disable=not err.is_terminal) as progress:
        for done in progress.track(results(jobs, processes), total=len(jobs), description="prepare"):
            if done.state == "failed":
                complain(ValueError(done.error))
                failed += 1
            if done.state != "failed" or on_error != "skip":
                rows.append(done)
            if failed and on_error == "raise":
                break
    if as_json:
        print_json([asdict(row) for row in sorted(rows, key=lambda row: row.source)])
    else:
        made, kept = (sum(row.state == state for row in rows) for state in ("made", "kept"))
        summary = f"{target}: {made} made, {kept} kept, {failed} failed"
        out.print(summary, highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(1 if failed else 0)


def plan(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Each video of `source` with the file to make of it; ValueError where that would cost a file or leave `target`."""
    if source.is_dir():
        if target.resolve().is_relative_to(source.resolve()):
            raise ValueError(
                f"{target} lies in {source}: its files would be taken for videos next time; choose another"
            )
        if target.exists() and not target.is_dir():
            raise ValueError(f"{target} is a file; a folder of videos needs a folder")
        root = target
        pairs = [(video, target / video.relative_to(source).with_suffix(".mp4")) for video in find_videos(source)]
    elif source.is_file():
        named = target.suffix.lower() == ".mp4" and not target.is_dir()
        root = target.parent if named else target
        pairs = [(source, target if named else target / f"{source.stem}.mp4")]
    else:
        raise ValueError(f"{source} is no folder and no file")
    check(pairs, root.resolve())
    return pairs


def check(pairs: list[tuple[Path, Path]], root: Path) -> None:
    """ValueError if two files would become one, a source would be replaced, or a file would lie outside `root`."""
    sources = {video.resolve() for video, _ in pairs}
    taken: dict[Path, Path] = {}
    for video, prepared in pairs:
        place = prepared.parent.resolve() / prepared.name
        if not place.is_relative_to(root):
            raise ValueError(
                f"{prepared} leads out of {root}, to {place}: there is a link on the way; choose another folder"
            )
        if place in sources or prepared.resolve() in sources:
            raise ValueError(f"{prepared} is one of the videos, and would be replaced; choose another folder")
        if place in taken:
            raise ValueError(f"{taken[place]} and {video} would both become {prepared}; rename one of them")
        taken[place] = video


def results(jobs: list[Job], processes: int) -> Iterator[Done]:
    """What becomes of the jobs, as they end: in this process, or in others where there are several of both."""
    from torch.utils.data import DataLoader

    if processes == 0 or len(jobs) == 1:
        yield from map(run, jobs)
        return
    # Its workers decode on one thread each (container.opened), start the next job when one is done, and die with us.
    yield from DataLoader(
        cast(Any, Jobs(jobs)),
        batch_size=None,
        num_workers=min(processes, len(jobs)),
        multiprocessing_context="spawn",
        prefetch_factor=1,
        in_order=False,
        worker_init_fn=tidy,
    )


def tidy(worker: int) -> None:
    """Let a worker that is told to end remove the file it has begun."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(1)

    signal.signal(signal.SIGTERM, leave)


def run(job: Job) -> Done:
    """Do a job; what goes wrong with its files is told in the answer."""
    from slowfast_hub.video.prepare import prepare_file
    from slowfast_hub.zoo.save import whole_file

    begin, source, target = time.perf_counter(), str(job.source), str(job.target)
    try:
        frames, kept = None, is_kept(job)
        if not kept:
            with whole_file(job.target) as partial:
                frames = prepare_file(job.source, partial, job.encoding, job.limits).frames
        size = job.target.stat().st_size
    except (VideoError, OSError) as error:
        message = str(error) if isinstance(error, VideoError) else f"{source}: {error}"
        return Done(source, target, "failed", round(time.perf_counter() - begin, 3), error=message)
    return Done(source, target, "kept" if kept else "made", round(time.perf_counter() - begin, 3), frames, size)


def is_kept(job: Job) -> bool:
    """Whether the file is there already, made from the same source in the same way.

    FileExistsError where there is one that this command did not make.
    """
    from slowfast_hub.video.prepare import origin, origin_of

    if job.overwrite or not job.target.exists():
        return False
    try:
        found = origin_of(job.target, job.limits)
    except VideoError:
        found = None
    if found is None:
        raise FileExistsError(
            f"{job.target} is there and was not made here; choose another folder, or pass --overwrite"
        )
    return found == origin(job.source, job.encoding)
