"""The command `slowfast-hub bench`: how fast the networks are on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.progress import Progress
from rich.table import Table

from slowfast_hub.apps.console import Json, asked, complain, err, out, print_json
from slowfast_hub.apps.options import Compile, Device, Precision

if TYPE_CHECKING:
    from slowfast_hub.predict.bench import Bench, Machine

FRAMES, FPS, HEIGHT, WIDTH = 300, 30, 256, 340  # of the video that is made


def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Names of `slowfast-hub list`, or `network.tag`; five when left out."),
    ] = None,
    video: Annotated[
        str | None, typer.Option(help="The file to decode; when left out, ten seconds of 340x256 are made.")
    ] = None,
    views: Annotated[str, typer.Option(help="Of that file: centre, paper (10x3), dense, or CLIPSxCROPS.")] = "paper",
    repeats: Annotated[int, typer.Option(min=1, help="Runs of a batch; their median counts.")] = 5,
    device: Device = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Views per run of the network.")] = None,
    precision: Precision = "float32",
    compile: Compile = False,
    as_json: Json = False,
) -> None:
    """Measure networks on this machine.  Example: slowfast-hub bench slowfast_r50_8x8

    Nothing is downloaded: the weights are fresh.
    "peak" is the memory of a fresh process above its start.
    "decoding" is the share of reading in the time of a whole file.
    "of the rate" compares 2 FLOP a multiply-add with a 2048 x 2048 matrix product in the same precision.
    It can exceed 1, as some kernels save multiplications, and convolutions on NVIDIA cards round float32 to TF32.
    """
    from slowfast_hub.predict import bench as predict
    from slowfast_hub.video.reader import open_video

    rows: list[Bench] = []
    failures: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        with asked():
            conditions = predict.Conditions(
                video=video or str(Path(folder, "made.mp4")),
                views=views,
                precision=precision,  # type: ignore[arg-type]  # the conditions check their words
                compile=compile,
                batch_size=batch_size,
                repeats=repeats,
            )
            archs = {name: predict.find_network(name) for name in names or predict.USUAL}
            if video is None:
                write_video(Path(conditions.video))
            open_video(conditions.video)  # what cannot be read shows before minutes of work
            machine = predict.this_machine(device, conditions.precision)
        with Progress(console=err, disable=not err.is_terminal) as bar:
            for name, arch in bar.track(archs.items(), description="bench"):
                try:
                    rows.append(predict.bench(name, arch, machine, conditions))
                except (RuntimeError, ValueError, OSError) as error:  # too little memory, a wrong kernel, a file gone
                    complain(RuntimeError(f"{name}: {error}"))
                    failures.append({"network": name, "error": str(error)})
    if as_json:
        print_json({"machine": asdict(machine), "networks": [*(row.as_json() for row in rows), *failures]})
    else:
        show(machine, rows)
    raise typer.Exit(1 if failures else 0)


def show(machine: Machine, rows: Sequence[Bench]) -> None:
    """The machine in a line, and a row for each network."""
    card = "" if machine.device == "cpu" else f", {machine.device_name}"
    head = f"{date.today()}, {machine.processor}{card}, {machine.threads} threads, torch {machine.torch}"
    out.print(f"{head}, matrix product {machine.matrix_rate / 1e9:.0f} GFLOP/s in {machine.dtype}", soft_wrap=True)
    table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
    table.add_column("network", overflow="fold")
    # Broken by hand, so that 80 columns have room for them and for the numbers.
    for title in ("ms a\nview", "views a\nsecond", "decoding", "peak\nMB", "multiply-\nadds (G)", "of the\nrate"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        peak = "-" if row.peak_mb is None else f"{row.peak_mb:.0f}"
        times = f"{row.ms_per_view:.1f}", f"{row.views_per_second:.2f}", f"{row.decode_share:.0%}"
        table.add_row(row.network, *times, peak, f"{row.multiply_adds / 1e9:.2f}", f"{row.rate_fraction:.2f}")
    if rows:
        out.print(table)


def write_video(path: Path) -> None:
    """Ten seconds of a texture that wanders, with so much grain that they have about 500 kbit/s."""
    import av
    import torch
    from torch.nn import functional

    draws = torch.Generator().manual_seed(0)
    spots = torch.rand(1, 3, 16, 40, generator=draws) * 255
    ground = functional.interpolate(spots, size=(HEIGHT, 2 * WIDTH), mode="bicubic")[0].permute(1, 2, 0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for number in range(FRAMES):
            grain = 7 * torch.randn(HEIGHT, WIDTH, 1, generator=draws)
            picture = (ground[:, number : number + WIDTH] + grain).clamp(0, 255).byte()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture.numpy(), format="rgb24")))
        container.mux(stream.encode())
