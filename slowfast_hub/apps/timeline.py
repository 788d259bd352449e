"""The command `slowfast-hub timeline`: what happens when in a long video.

Finished windows are kept in FILE.partial while it runs, so that after a stop the same command goes on where it was.
Not those of an address: nothing says that what comes from there next time is the same video.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from slowfast_hub.apps.console import Json, asked, complain, err, out, print_json, usage
from slowfast_hub.apps.options import Compile, Device, Limit, Model, Precision, limits_of
from slowfast_hub.spec import LONG, VideoError, one_of
from slowfast_hub.zoo.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from slowfast_hub.predict.segments import Segment
    from slowfast_hub.predict.timeline import Timeline

COLUMNS = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
STOPPED = 130  # the exit code of a program that Ctrl-C ended

WindowS = Annotated[float | None, typer.Option(help="Length of a window; when left out, that of the network's clip.")]
StrideS = Annotated[float | None, typer.Option(help="From window to window; when left out, half a window.")]


def timeline(
    video: Annotated[str, typer.Argument(help="A video file, URL, or folder of frames.")],
    file: Annotated[
        Path | None, typer.Option("--out", help="The file to write: .csv, .srt or .vtt (segments), or .json (all).")
    ] = None,
    model: Model = DEFAULT_MODEL,
    window_s: WindowS = None,
    stride_s: StrideS = None,
    crop: Annotated[str, typer.Option(help="left, centre or right.")] = "centre",
    fps: Annotated[float | None, typer.Option(help="Rate of a folder of frames; a file knows its own.")] = None,
    enter: Annotated[float, typer.Option(min=0, max=1, help="A segment begins with this score ...")] = 0.5,
    leave: Annotated[float, typer.Option(min=0, max=1, help="... and goes on while windows have this.")] = 0.3,
    smooth_s: Annotated[float, typer.Option(min=0, help="Average scores over so many seconds first.")] = 0.0,
    shortest_s: Annotated[float, typer.Option(min=0, help="Leave out shorter segments.")] = 0.0,
    gap_s: Annotated[float, typer.Option(min=0, help="Join segments of a label with at most this between them.")] = 0.0,
    label: Annotated[list[str] | None, typer.Option(help="Segments of this label only; again for more.")] = None,
    device: Device = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Clips per run of the network.")] = None,
    precision: Precision = "float32",
    compile: Compile = False,
    limit: Limit = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """What happens when in a long video.  Example: slowfast-hub timeline film.mp4 --out film.srt"""
    from slowfast_hub.predict import timeline as predict
    from slowfast_hub.predict.predictor import Predictor
    from slowfast_hub.predict.resume import on_disk
    from slowfast_hub.predict.segments import Thresholds, classes_of

    with asked():
        if file is not None:
            one_of("the suffix of --out", file.suffix.lower(), tuple(predict.WRITERS))
        if file is not None and file.exists() and not force:
            raise FileExistsError(f"{file} is there already; choose another name, or pass --force")
        Thresholds(enter, leave, shortest_s, gap_s, smooth_s)  # what is wrong shows before hours of work
        predictor = Predictor(
            model,
            device=device,
            batch_size=batch_size,
            precision=precision,  # type: ignore[arg-type]  # the predictor checks its words
            compile=compile,
            limits=limits_of(limit, LONG),
        )
        classes_of(label, predictor.labels)
    if predictor.note:
        err.print(predictor.note, style="dim", soft_wrap=True)
    partial = None if file is None or on_disk(video) is None else file.with_name(f"{file.name}.partial")
    try:
        with Progress(*COLUMNS, console=err, disable=not err.is_terminal) as bar:
            task = bar.add_task("timeline", total=None)
            made = predict.timeline(
                video,
                predictor,
                window_s=window_s,
                stride_s=stride_s,
                crop=crop,
                fps=fps,
                progress=lambda done_s, total_s: bar.update(task, completed=done_s, total=total_s),
                resume=partial,
            )
        segments = made.segments(
            smooth_s=smooth_s, enter=enter, leave=leave, shortest_s=shortest_s, gap_s=gap_s, labels=label
        )
        if file is not None:
            made.save(file, segments)
    except (VideoError, OSError) as error:
        complain(error)
        raise typer.Exit(1) from error
    except ValueError as error:
        raise usage(error) from error
    except KeyboardInterrupt:
        kept = f"{partial} keeps what is done, and the same command goes on"
        could = "a file on the disk, with --out, could go on"
        err.print(f"stopped; {kept if partial else could}", markup=False, soft_wrap=True)
        raise typer.Exit(STOPPED) from None
    if partial is not None:
        partial.unlink(missing_ok=True)
    if as_json:
        print_json(made.as_json(segments))
    else:
        show(made, segments)


def show(made: Timeline, segments: Sequence[Segment]) -> None:
    """One row for each segment, and how it was seen."""
    # Text, as a file name or a label may hold what rich takes for markup.
    table = Table(
        "start", "end", "score", "label", title=Text(made.video.source), title_justify="left", title_style="bold"
    )
    for segment in segments:
        table.add_row(clock(segment.start), clock(segment.end), f"{segment.score:.3f}", Text(segment.label))
    out.print(table)
    windows = f"{len(made.probs)} windows of {made.window_s:.2f} s every {made.stride_s:.2f} s"
    out.print(f"{made.model}, {windows}, {len(segments)} segments", style="dim", soft_wrap=True)


def clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes // 60)}:{int(minutes % 60):02}:{rest:05.2f}"
