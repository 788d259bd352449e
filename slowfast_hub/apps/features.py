"""The command `slowfast-hub features`: files and folders of videos to a folder of features.

An output has the name of its input with all suffixes (`videos/a/b.mp4` to `DIR/a/b.mp4.npz`), so that a `b.mkv` beside
it keeps its own. What is there already, by the same recipe and of a video of the same size, is left alone: a run that
was stopped goes on with the same command, and several may fill one folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from slowfast_hub.apps.console import COLUMNS, Json, asked, complain, err, print_json
from slowfast_hub.apps.inputs import find_videos
from slowfast_hub.apps.options import Compile, Device, Limit, OnError, Precision, limits_of, refuse
from slowfast_hub.spec import LONG, one_of
from slowfast_hub.zoo.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from slowfast_hub.predict.features import FeatureExtractor
    from slowfast_hub.predict.people_features import PeopleFeatureExtractor

    Extractor = FeatureExtractor | PeopleFeatureExtractor

STATES = ("written", "there", "failed")
OF_WINDOWS = ("--window", "--stride", "--last", "--preset", "--stage", "--pathway", "--pool", "--crop")

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One video and where its features go."""

    source: Path
    name: str  # under the folder of outputs and without the suffix of their format; "/" between folders
    target: Path


def features(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(help="Video files, and folders of them; links are not followed.")],
    out: Annotated[Path, typer.Option(help="The folder to fill; folders below an input are kept.")],
    model: Annotated[
        str, typer.Option(help="A name of `slowfast-hub list --pretrained`; slowfast_r50_8x8 gives 2304 numbers.")
    ] = DEFAULT_MODEL,
    window: Annotated[
        int | None, typer.Option(help="Ticks of the network's clock, mostly 30 a second; 32 when left out.")
    ] = None,
    stride: Annotated[int | None, typer.Option(help="Ticks from window to window; 16 when left out.")] = None,
    last: Annotated[
        str | None,
        typer.Option(help="The end: hold the last frame, drop what is left, or go back a little; hold when left out."),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="ego4d or hero: says the three above.")] = None,
    stage: Annotated[str, typer.Option(help="stem, res2, res3, res4 or res5.")] = "res5",
    pathway: Annotated[str, typer.Option(help="slow, fast, or both side by side.")] = "both",
    pool: Annotated[bool, typer.Option("--pool/--no-pool", help="The mean over time and space, or the maps.")] = True,
    crop: Annotated[str, typer.Option(help="left, centre, right, or whole: nothing cut off.")] = "centre",
    boxes: Annotated[
        Path | None,
        typer.Option(help="Features of people instead of windows: a table [video,]time,x1,y1,x2,y2[,person]."),
    ] = None,
    unit: Annotated[str | None, typer.Option(help="Of --boxes: px or normalised; found out when left out.")] = None,
    file_format: Annotated[str, typer.Option("--format", help="npz or safetensors.")] = "npz",
    shard: Annotated[str, typer.Option(help="i/n: part i of n, from 1; its name decides where a video goes.")] = "1/1",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what another recipe or another video made.")
    ] = False,
    on_error: OnError = "report",
    device: Device = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Windows per run of the network.")] = None,
    precision: Precision = "float32",
    compile: Compile = False,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Features of every window of videos.  Example: slowfast-hub features videos/ --out features/

    With --boxes and a detector: features of every person at every moment of a table.
    Beside each file a .json holds the exact network and recipe. After a stop, the same command goes on.
    """
    from slowfast_hub.predict.features import FeatureExtractor
    from slowfast_hub.predict.people_features import PeopleFeatureExtractor

    extract: Extractor
    with asked():
        one_of("--format", file_format, ("npz", "safetensors"))
        one_of("--on-error", on_error, ("raise", "skip", "report"))
        jobs = part_of(find_jobs(inputs, out, file_format), shard)
        limits = limits_of(limit, LONG)
        if boxes is None:
            if unit is not None:
                raise ValueError("--unit is that of --boxes: give them too")
            extract = FeatureExtractor(
                model,
                window=window,
                stride=stride,
                last=last,  # type: ignore[arg-type]  # the extractor checks its words
                preset=preset,
                stage=stage,
                pathway=pathway,  # type: ignore[arg-type]
                pool=pool,
                crop=crop,
                device=device,
                batch_size=batch_size,
                precision=precision,  # type: ignore[arg-type]
                compile=compile,
                limits=limits,
            )
        else:
            why = "--boxes gives features at the moments of the table, from all of the picture and both pathways"
            refuse(context, OF_WINDOWS, why)
            extract = PeopleFeatureExtractor(
                model,
                people=boxes,
                unit=unit,  # type: ignore[arg-type]
                device=device,
                batch_size=batch_size,
                precision=precision,  # type: ignore[arg-type]
                compile=compile,
                limits=limits,
            )
    rows: list[Row] = []
    for row in run_all(jobs, out, extract, overwrite=overwrite):
        rows.append(row)
        if row["state"] == "written" and not as_json and not sys.stdout.isatty():  # a terminal has the bar
            typer.echo(row["output"])
        if row["state"] == "failed" and on_error == "raise":
            break
    states = [row["state"] for row in rows]
    err.print(", ".join(f"{states.count(state)} {state}" for state in STATES), highlight=False)
    if as_json:
        print_json([row for row in rows if row["state"] != "failed" or on_error != "skip"])
    raise typer.Exit(1 if "failed" in states else 0)


def run_all(jobs: Sequence[Job], out: Path, extract: Extractor, *, overwrite: bool) -> Iterator[Row]:
    """What became of each job, with a bar whose estimate counts the windows of the video that is read."""
    with Progress(*COLUMNS, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task("features", total=len(jobs))
        for number, job in enumerate(jobs):

            def advance(done: float, total: float, before: int = number) -> None:
                bar.update(task, completed=before + done / total)

            yield run(job, out, extract, overwrite=overwrite, advance=advance)
            bar.update(task, completed=number + 1)


def run(job: Job, out: Path, extract: Extractor, *, overwrite: bool, advance: Callable[[float, float], None]) -> Row:
    """Make the features of one video, unless they are there; a failure is one line on stderr."""
    row: Row = {"video": str(job.source), "output": str(job.target)}
    try:
        check_inside(job.target, out)
        if is_done(job, extract.recipe, overwrite=overwrite):
            return {**row, "state": "there"}
        made = extract(job.source, progress=advance)
        made.save(job.target)
    except (ValueError, OSError) as error:  # a VideoError is a ValueError
        complain(error)
        return {**row, "state": "failed", "error": str(error)}
    return {**row, "state": "written", "shape": list(made.values.shape)}


def is_done(job: Job, recipe: Row, *, overwrite: bool) -> bool:
    """Whether both files of a job are there and as asked for; versions of packages may differ.

    ValueError when the features there are of another recipe or another video, unless they may be replaced.
    """
    from slowfast_hub.predict.features import read_record, sidecar

    if not job.target.is_file():
        return False
    try:
        record = read_record(job.target)
    except ValueError as error:
        differs = str(error)
    else:
        there = {"precision": "float32", **record["recipe"]}  # older files do not say what there was one of
        names = [name for name in recipe if name != "versions" and there.get(name) != recipe[name]]
        if job.source.is_file() and record["video"].get("bytes") not in (None, job.source.stat().st_size):
            names.append("the size of the video")
        differs = f"it differs in {', '.join(names)}" if names else ""
        if not differs:  # without the JSON beside it, of the same run, it is made again
            return same_record(sidecar(job.target), record)
    if not overwrite:
        raise ValueError(f"{job.target} is there already: {differs}; --overwrite replaces it, another --out keeps it")
    return False


def same_record(path: Path, record: Row) -> bool:
    """Whether a JSON file says what `record` says."""
    from slowfast_hub.zoo.cache import read_json

    try:
        return bool(read_json(path) == record)
    except (FileNotFoundError, ValueError):
        return False


def find_jobs(inputs: Sequence[Path], out: Path, suffix: str) -> list[Job]:
    """The videos of all inputs in the order of their names; ValueError for an empty folder, or two of one name."""
    found: dict[str, Path] = {}
    for given in inputs:
        root, videos = (given, find_videos(given)) if given.is_dir() else (given.parent, [given])
        for path in videos:
            name = path.relative_to(root).as_posix()
            if found.setdefault(name, path) != path:
                raise ValueError(f"{found[name]} and {path} would both be {name}: give the folder that holds both")
    return [Job(found[name], name, out / f"{name}.{suffix}") for name in sorted(found)]


def part_of(jobs: Sequence[Job], shard: str) -> list[Job]:
    """Those jobs of the part `i/n`. A name alone decides, so the parts are disjoint also while files are added."""
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", shard)
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= parts:
        raise ValueError(f"--shard is i/n with i from 1 to n, such as 1/4 .. 4/4; got {shard!r}")
    return [job for job in jobs if hash_of_name(job.name) % parts == part - 1]


def hash_of_name(name: str) -> int:
    """A number that is the same on every machine."""
    return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8])


def check_inside(target: Path, out: Path) -> None:
    """A ValueError where a link among the outputs leads out of their folder."""
    folder = target.parent.resolve()
    if not folder.is_relative_to(out.resolve()):
        raise ValueError(f"{target} would be written to {folder}, outside of {out}: remove the link")
