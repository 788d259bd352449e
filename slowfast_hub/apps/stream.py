"""The command `slowfast-hub stream`: what happens now, a line for each window."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from slowfast_hub.apps.console import Json, asked, complain, err
from slowfast_hub.apps.options import Device, Limit, Model, limits_of
from slowfast_hub.apps.timeline import StrideS, WindowS
from slowfast_hub.spec import VideoError
from slowfast_hub.zoo.registry import DEFAULT_MODEL


def stream(
    source: Annotated[
        str, typer.Argument(help="A camera's number, an RTSP, HLS or HTTP address, a file, or - for standard input.")
    ],
    model: Model = DEFAULT_MODEL,
    window_s: WindowS = None,
    stride_s: StrideS = None,
    top_k: Annotated[int, typer.Option(min=1, help="Classes to show.")] = 3,
    drop: Annotated[
        str | None,
        typer.Option(help="never, oldest or newest: what happens to frames that come faster than they are scored."),
    ] = None,
    queue_frames: Annotated[int, typer.Option(min=1, help="Frames that may wait.")] = 32,
    device: Device = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Say what happens while it happens, until Ctrl-C.  Example: ffmpeg ... -f matroska - | slowfast-hub stream -

    With --json a line of JSON for each window.
    """
    from slowfast_hub.predict.stream import StreamClassifier
    from slowfast_hub.video.live import usual_limits

    seen = int(source) if source.isdecimal() else source
    with asked():
        classify = StreamClassifier(
            model,
            window_s=window_s,
            stride_s=stride_s,
            drop=drop,  # type: ignore[arg-type]  # the classifier checks its words
            queue_frames=queue_frames,
            device=device,
            limits=limits_of(limit, usual_limits(seen)),
        )
    failed = False
    try:
        for window in classify(seen):
            top = window.top(top_k)
            row = {"start": window.start_s, "end": window.end_s, "latency_s": round(window.latency_s, 4), "top": top}
            best = ", ".join(f"{each['label']} {each['score']:.2f}" for each in top)
            typer.echo(json.dumps(row) if as_json else f"{window.start_s:9.2f} {window.end_s:9.2f}  {best}")
    except VideoError as error:
        failed = True
        complain(error)
    except KeyboardInterrupt:  # the way to end what has no end
        classify.close()
    stats = classify.stats
    if stats.frames:
        said = f"{stats.windows} windows, {stats.frames} frames at {stats.fps:.1f} a second, {stats.dropped} dropped"
        latency = f"latency {stats.latency_mean_s:.2f} s, at most {stats.latency_max_s:.2f} s"
        err.print(f"{said}, {latency}", highlight=False, soft_wrap=True)
    raise typer.Exit(1 if failed else 0)
