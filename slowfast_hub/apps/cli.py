"""The command `slowfast-hub`. How it speaks and exits: console.py."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

import slowfast_hub
from slowfast_hub.apps import data, weights
from slowfast_hub.apps.bench import bench
from slowfast_hub.apps.console import Json, asked, complain, err, out, print_json, usage
from slowfast_hub.apps.detect import detect
from slowfast_hub.apps.evaluate import evaluate
from slowfast_hub.apps.features import features
from slowfast_hub.apps.options import Compile, Device, Limit, Model, OnError, Precision, limits_of
from slowfast_hub.apps.stream import stream
from slowfast_hub.apps.timeline import timeline
from slowfast_hub.apps.train import train
from slowfast_hub.spec import Limits, Prediction, VideoError, one_of
from slowfast_hub.zoo.manifest import arch_changes, labels_of
from slowfast_hub.zoo.registry import DEFAULT_MODEL, find_arch, list_models, override, weights_info

app = typer.Typer(help="SlowFast video networks: name in, model or answer out.", no_args_is_help=True)
app.add_typer(weights.app, name="weights")
app.add_typer(data.app, name="data")
app.command()(bench)
app.command()(detect)
app.command()(features)
app.command()(stream)
app.command()(timeline)
app.command()(train)
app.command("eval")(evaluate)


@app.command()
def classify(
    videos: Annotated[list[str], typer.Argument(help="Video files, URLs, or folders of frames.")],
    model: Model = DEFAULT_MODEL,
    views: Annotated[str, typer.Option(help="centre, paper (10x3), dense, or CLIPSxCROPS such as 5x1.")] = "centre",
    top_k: Annotated[int, typer.Option(min=1, help="Classes to show.")] = 5,
    fps: Annotated[float | None, typer.Option(help="Rate of a folder of frames; a file knows its own.")] = None,
    device: Device = None,
    precision: Precision = "float32",
    compile: Compile = False,
    scaler: Annotated[str, typer.Option(help="exact, or swscale: faster, scores change a little.")] = "exact",
    on_error: OnError = "report",
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Say what happens in each video.  Example: slowfast-hub classify examples/clip.mp4"""
    from slowfast_hub.predict.predictor import Predictor

    with asked():
        one_of("--on-error", on_error, ("raise", "skip", "report"))
        one_of("--scaler", scaler, ("exact", "swscale"))
        limits = limits_of(limit, Limits())
        predict = Predictor(
            model,
            views=views,
            device=device,
            precision=precision,  # type: ignore[arg-type]  # the predictor checks its words
            compile=compile,
            limits=limits,
            scaler=scaler,  # type: ignore[arg-type]
        )
    if predict.note:
        err.print(predict.note, style="dim", soft_wrap=True)
    failed = 0
    rows: list[dict[str, object]] = []
    # Where the tables share the terminal, they are the progress, and a bar would run into them.
    quiet = len(videos) == 1 or not err.is_terminal or (out.is_terminal and not as_json)
    with Progress(console=err, disable=quiet) as progress:
        for video in progress.track(videos, description="classify"):
            try:
                answer = predict(video, fps=fps)
            except (VideoError, ValueError, OSError) as error:
                failed += 1
                complain(error)
                if on_error == "report":
                    rows.append({"video": video, "error": str(error)})
                if on_error == "raise":
                    break
                continue
            rows.append(as_row(video, answer, top_k))
            if not as_json:
                show(answer, top_k)
    if as_json:
        print_json(rows)
    raise typer.Exit(1 if failed else 0)


def as_row(video: str, answer: Prediction, top_k: int) -> dict[str, object]:
    return {
        "video": video,
        "model": answer.model,
        "views": answer.views,
        "seconds": round(answer.seconds, 3),
        "top": answer.top(top_k),
    }


def show(answer: Prediction, top_k: int) -> None:
    """One table per video, with the views and the time it took."""
    # Text, as a file name may hold what rich takes for markup.
    table = Table("score", "label", title=Text(answer.video.source), title_justify="left", title_style="bold")
    for row in answer.top(top_k):
        table.add_row(f"{row['score']:.3f}", Text(str(row["label"])))
    out.print(table)
    out.print(f"{answer.model}, views {answer.views}, {answer.seconds:.2f} s", style="dim")


@app.command("list")
def list_command(
    pattern: Annotated[str, typer.Argument(help="A wildcard, such as 'slowfast_*'.")] = "*",
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Files of weights instead of networks.")] = False,
    as_json: Json = False,
) -> None:
    """The names this package knows."""
    names = list_models(pattern, pretrained=pretrained)
    if not names:
        err.print(f"nothing matches {pattern!r}", markup=False, soft_wrap=True)
    if as_json:
        print_json(names)
    else:
        for name in names:
            typer.echo(name)


@app.command()
def info(name: Annotated[str, typer.Argument(help="A name of `slowfast-hub list`.")], as_json: Json = False) -> None:
    """What a network is: its fields, its size, its weights."""
    from slowfast_hub.models.count import count

    try:
        arch = find_arch(name.partition(".")[0])
        known = weights_info(name) if "." in name else None
    except (ValueError, LookupError) as error:
        raise usage(error) from error
    if known is not None:
        arch = override(name, arch, arch_changes(known))
    size = count(arch)
    record: dict[str, Any] = {
        "name": name,
        "family": type(arch).__name__.removesuffix("Arch"),
        "parameters": size.parameters,
        "multiply_adds": size.multiply_adds,
        "arch": asdict(arch),
        "weights": {**asdict(known), "labels": labels_of(known)} if known else None,
        "files": list_models(f"{name}.*", pretrained=True),
    }
    if as_json:
        print_json(record)
        return
    out.print(f"[bold]{name}[/bold]: {record['family']}, {size.parameters / 1e6:.3f} M parameters")
    crop, frames = arch.clip.crop, arch.clip.frames
    out.print(f"{record['multiply_adds'] / 1e9:.2f} G multiply-adds for one view of {frames} x {crop} x {crop}")
    for field, value in asdict(arch).items():
        out.print(f"  {field}: {value}", highlight=False, markup=False)
    if known is None:
        out.print(f"weights: {', '.join(record['files']) or 'nobody has published any'}", soft_wrap=True)
    else:
        for field, value in {**record["weights"], "labels": f"{known.num_classes}, weights show"}.items():
            out.print(f"  {field}: {value}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(help="A checkpoint of PySlowFast, PyTorchVideo, MMAction2, GluonCV, or ours.")
    ],
    target: Annotated[Path, typer.Argument(help="The file to write.")],
    arch: Annotated[
        str | None, typer.Option(help="A network or `network.tag`, where names and shapes leave a choice.")
    ] = None,
    to: Annotated[str, typer.Option(help="slowfast_hub (safetensors), or pytorchvideo (.pyth).")] = "slowfast_hub",
    force: Annotated[bool, typer.Option("--force", help="Replace a target that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Make safetensors of a published checkpoint, safely.  Example: slowfast-hub convert IN.pkl OUT.safetensors"""
    from slowfast_hub.zoo.convert import convert_file, export_pytorchvideo

    ways = {"slowfast_hub": convert_file, "pytorchvideo": export_pytorchvideo}
    if to not in ways:
        raise usage(ValueError(f"--to is one of {', '.join(ways)}; got {to!r}"))
    if target.exists() and (not force or target.resolve() == source.resolve()):
        raise usage(FileExistsError(f"{target} is there already; choose another name, or pass --force"))
    if to == "slowfast_hub" and target.suffix != ".safetensors":
        raise usage(ValueError(f"{target} shall hold safetensors: call it {target.with_suffix('.safetensors').name}"))
    try:
        if arch is not None and "." in arch:
            weights_info(arch)
        elif arch is not None:
            find_arch(arch)
    except (ValueError, LookupError) as error:
        raise usage(error) from error
    try:
        report = ways[to](source, target, arch=arch)
    except (ValueError, LookupError, OSError) as error:
        complain(error)
        raise typer.Exit(1) from error
    if as_json:
        print_json(asdict(report))
        return
    for given, made in report.mapping:
        typer.echo(f"{given} -> {made}")
    for given, reason in report.dropped:
        err.print(f"left out {given}: {reason}", markup=False, soft_wrap=True)
    for note in report.notes:
        err.print(note, markup=False, soft_wrap=True)
    err.print(
        f"{target}: {report.name}, {len(report.mapping)} tensors in {report.layout} names, "
        f"{len(report.dropped)} left out",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def doctor(as_json: Json = False) -> None:
    """Versions, devices, codecs and cache paths: paste this into a bug report."""
    report = diagnosis()
    if as_json:
        print_json(report)
        return
    for topic, value in report.items():
        out.print(f"[bold]{topic}[/bold]: {escape(str(value))}", highlight=False, soft_wrap=True)


VARIABLES = ("SLOWFAST_HUB_CACHE", "SLOWFAST_HUB_MIRROR", "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "TORCH_HOME")
PACKAGES = ("torch", "torchvision", "timm", "huggingface-hub", "safetensors", "av", "numpy", "accelerate")
CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg", "prores", "ffv1", "gif")


def diagnosis() -> dict[str, object]:
    """What `doctor` says, as plain values."""
    import av
    import torch
    from huggingface_hub import constants

    from slowfast_hub.predict.speed import known_bad
    from slowfast_hub.zoo.fetch import cache_dir, cached

    devices = ["cpu"] + [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {
        "slowfast_hub": f"{slowfast_hub.__version__} in {Path(slowfast_hub.__file__).parent}",
        "python": f"{platform.python_version()} on {platform.platform()}",
        "packages": {name: installed(name) for name in PACKAGES},
        "devices": devices,
        "threads": torch.get_num_threads(),
        "known-bad kernels": known_bad(),
        "codecs": {codec: codec in av.codecs_available for codec in CODECS},
        "torch.hub cache": torch.hub.get_dir(),
        "Hugging Face cache": constants.HF_HUB_CACHE,
        "cache of weights": cache_dir(),
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "weights on this disk": [name for name in list_models(pretrained=True) if cached(weights_info(name))],
    }


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def version_callback(shown: bool) -> None:
    if shown:
        typer.echo(f"slowfast-hub {slowfast_hub.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=version_callback, is_eager=True)] = False,
) -> None:
    """SlowFast video networks: name in, model or answer out."""


def main() -> None:
    """Entry point of the command."""
    app()
