"""The command `slowfast-hub detect`: who does what in a video, as a file and as a video with people drawn on it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from slowfast_hub.apps.console import Json, asked, complain, err, out, print_json, usage
from slowfast_hub.apps.draw import PICTURES, draw_moment, write_annotated
from slowfast_hub.apps.options import Compile, Device, Limit, Precision, limits_of, sides_of
from slowfast_hub.apps.timeline import COLUMNS, STOPPED, clock
from slowfast_hub.people.boxes import PERSON_SCORE
from slowfast_hub.spec import LONG, Detection, VideoError, one_of

if TYPE_CHECKING:
    from slowfast_hub.people.boxes import Unit
    from slowfast_hub.predict.detector import Detector

HEADER = ("time", "person", "x1", "y1", "x2", "y2", "label", "score", "box_score")

Row = dict[str, Any]  # one moment, as `Detection.as_json` says it


def detect(
    video: Annotated[str, typer.Argument(help="A video file, URL, or folder of frames.")],
    model: Annotated[str, typer.Option(help="A name of `slowfast-hub list '*_det_*' --pretrained`.")],
    boxes: Annotated[Path | None, typer.Option(help="A table of boxes: time,x1,y1,x2,y2[,person][,score].")] = None,
    people: Annotated[
        str | None,
        typer.Option(help="Find people with this detector of torchvision; fasterrcnn_resnet50_fpn when left out."),
    ] = None,
    person_score: Annotated[float, typer.Option(min=0, max=1, help="... and with at least this score.")] = PERSON_SCORE,
    at: Annotated[float | None, typer.Option(help="One moment alone, in seconds of the file.")] = None,
    every: Annotated[float | None, typer.Option(help="Seconds from moment to moment; 1 when left out.")] = None,
    file: Annotated[Path | None, typer.Option("--out", help="The file to write: .json or .csv.")] = None,
    draw: Annotated[
        Path | None, typer.Option(help="The video with people drawn on it: .mp4; with --at a picture: .png or .jpg.")
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Actions of each person.")] = 3,
    score: Annotated[float, typer.Option(min=0, max=1, help="Leave out actions below this score.")] = 0.0,
    scales: Annotated[
        str | None, typer.Option(help="Shorter sides in px to average over, such as 224,256,320.")
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Average over mirrored pictures too.")] = False,
    unit: Annotated[str | None, typer.Option(help="Of --boxes: px or normalised; found out when left out.")] = None,
    fps: Annotated[float | None, typer.Option(help="Rate of a folder of frames; a file knows its own.")] = None,
    device: Device = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Moments per run of the network.")] = None,
    precision: Precision = "float32",
    compile: Compile = False,
    limit: Limit = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Who does what in a video.  Example: slowfast-hub detect film.mp4 --model NAME --out film.json --draw drawn.mp4"""
    from slowfast_hub.people.finder import DEFAULT_FINDER, PersonDetector
    from slowfast_hub.predict.detector import Detector
    from slowfast_hub.predict.network import here

    with asked():
        if at is not None and every is not None:
            raise ValueError("--at is one moment, --every many: leave one of them out")
        if boxes is not None and people is not None:
            raise ValueError("--boxes says where people are, --people finds them: leave one of them out")
        if boxes is not None and every is not None:
            raise ValueError("a table of boxes has moments of its own: leave --every out")
        if boxes is None and unit is not None:
            raise ValueError("--unit is that of --boxes: give them too")
        check_target("--out", file, tuple(WRITERS), video, force=force)
        check_target("--draw", draw, (".mp4",) if at is None else tuple(PICTURES), video, force=force)
        limits = limits_of(limit, LONG)
        detector = Detector(
            model,
            people=boxes,
            scales=None if scales is None else sides_of(scales),
            flip=flip,
            device=device,
            batch_size=batch_size,
            precision=precision,  # type: ignore[arg-type]  # the detector checks its words
            compile=compile,
            limits=limits,
        )
        if boxes is None:  # the network first, as it may be the one whose weights are missing
            detector.people = PersonDetector(people or DEFAULT_FINDER, score=person_score, device=here(device))
    found: list[Detection] = []
    try:
        moments = look(detector, video, at=at, every_s=every, unit=cast("Unit | None", unit), fps=fps)
        if draw is not None and at is None:
            held_s = 1.5 * spacing_s(detector, video, every_s=every, unit=cast("Unit | None", unit), fps=fps)
            moments = kept(moments, found)
            write_annotated(video, moments, draw, held_s=held_s, top_k=top_k, score=score, fps=fps, limits=limits)
        else:
            found.extend(moments)
        if draw is not None and at is not None:
            draw_moment(video, found[0], draw, top_k=top_k, score=score, fps=fps, limits=limits)
        rows = [as_row(detection, top_k, score) for detection in found]
        answer = {"model": detector.name, "video": found[0].video.as_json() if found else None, "moments": rows}
        if file is not None:
            WRITERS[file.suffix.lower()](file, answer)
    except (VideoError, OSError) as error:
        complain(error)
        raise typer.Exit(1) from error
    except ValueError as error:
        raise usage(error) from error
    except KeyboardInterrupt:
        err.print("stopped")
        raise typer.Exit(STOPPED) from None
    if not any(row["people"] for row in rows):
        err.print(f"nobody was found in {video}, at {len(rows)} moments", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print_json(answer)
    else:
        show(video, detector.name, rows)


def look(
    detector: Detector, video: str, *, at: float | None, every_s: float | None, unit: Unit | None, fps: float | None
) -> Iterator[Detection]:
    """The one moment, or all of them behind a bar."""
    if at is not None:
        yield detector(video, at_s=at, unit=unit, fps=fps)
        return
    with Progress(*COLUMNS, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task("detect", total=None)

        def advance(done_s: float, total_s: float) -> None:
            bar.update(task, completed=done_s, total=total_s)

        yield from detector.along(video, every_s=every_s, unit=unit, fps=fps, progress=advance)


def spacing_s(detector: Detector, video: str, *, every_s: float | None, unit: Unit | None, fps: float | None) -> float:
    """How far apart moments are: of a table the median of its own."""
    from slowfast_hub.predict.detector import EVERY_S

    if every_s is not None or not isinstance(detector.people, Path):
        return every_s or EVERY_S
    times_s = detector.boxes(detector.open(video, fps=fps).info, None, unit).times_s or ()
    return median([after - before for before, after in pairwise(times_s)] or [EVERY_S])


def kept(moments: Iterable[Detection], found: list[Detection]) -> Iterator[Detection]:
    """The moments as they come, and each of them in `found`."""
    for detection in moments:
        found.append(detection)
        yield detection


def check_target(option: str, file: Path | None, suffixes: Sequence[str], video: str, *, force: bool) -> None:
    """A ValueError or FileExistsError for a file that cannot be written, or must not be."""
    if file is None:
        return
    one_of(f"the suffix of {option}", file.suffix.lower(), suffixes)
    if file.resolve() == Path(video).resolve():
        raise ValueError(f"{option} {file} is the video itself; choose another name")
    if file.exists() and not force:
        raise FileExistsError(f"{file} is there already; choose another name, or pass --force")


def as_row(detection: Detection, top_k: int, score: float) -> Row:
    """One moment as plain values, without actions below `score`."""
    row: Row = detection.as_json(top_k)
    people = [{**who, "top": [best for best in who["top"] if best["score"] >= score]} for who in row["people"]]
    return {**row, "people": people}


def write_json(file: Path, answer: Row) -> None:
    from slowfast_hub.zoo.save import whole_file

    with whole_file(file) as partial:
        partial.write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")


def write_csv(file: Path, answer: Row) -> None:
    """One row for each action of each person, times in seconds and boxes in px; of a moment with nobody its time."""
    from slowfast_hub.predict.segments import cell
    from slowfast_hub.zoo.save import whole_file

    with whole_file(file) as partial, partial.open("w", newline="", encoding="utf-8", errors="replace") as opened:
        table = csv.writer(opened)
        table.writerow(HEADER)
        for row in answer["moments"]:
            at = f"{row['at_s']:.3f}"
            if not row["people"]:
                table.writerow((at, *[""] * (len(HEADER) - 1)))
            for who in row["people"]:
                place = (at, cell(str(who["person"])), *(f"{side:.2f}" for side in who["box"]))
                for best in who["top"] or [{"label": "", "score": None}]:
                    said = "" if best["score"] is None else f"{best['score']:.4f}"
                    table.writerow((*place, cell(best["label"]), said, f"{who['box_score']:.4f}"))


WRITERS = {".json": write_json, ".csv": write_csv}


def show(video: str, name: str, rows: Sequence[Row]) -> None:
    """One row for each person at each moment."""
    # Text, as a file name or a label may hold what rich takes for markup.
    table = Table("time", "person", "box", "actions", title=Text(video), title_justify="left", title_style="bold")
    for row in rows:
        for who in row["people"]:
            actions = ", ".join(f"{best['label']} {best['score']:.2f}" for best in who["top"])
            box = " ".join(f"{side:.0f}" for side in who["box"])
            table.add_row(clock(row["at_s"]), str(who["person"]), box, Text(actions))
    out.print(table)
    people = {who["person"] for row in rows for who in row["people"]}
    out.print(f"{name}, {len(rows)} moments, {len(people)} people", style="dim", soft_wrap=True)
