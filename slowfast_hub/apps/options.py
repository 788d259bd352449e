"""Options that several commands share."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Annotated, Any

import typer

from slowfast_hub.spec import Limits

Model = Annotated[str, typer.Option(help="A name of `slowfast-hub list --pretrained`.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: CUDA where there is one.")]
Precision = Annotated[str, typer.Option(help="float32, bfloat16, float16, or auto: the fastest that this device has.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Build with torch.compile too: a wait of about a minute, kept if faster.")
]
OnError = Annotated[
    str,
    typer.Option(help="Of a video that cannot be read: report it and go on, skip it, or raise: stop. Exit code 1."),
]
Limit = Annotated[
    list[str] | None,
    typer.Option(help="NAME=VALUE, again for each: bytes, duration_s, pixels, frames, wall_s, streams."),
]


def limits_of(pairs: list[str] | None, limits: Limits) -> Limits:
    """`limits` with the values of NAME=VALUE pairs; ValueError for another name or no number."""
    numbers = {field.name: field.type for field in fields(Limits) if field.type in ("int", "float")}
    values: dict[str, Any] = {}
    for pair in pairs or ():
        name, _, value = pair.partition("=")
        if name not in numbers:
            raise ValueError(f"--limit is NAME=VALUE with one of {', '.join(numbers)}; got {pair!r}")
        try:
            values[name] = int(value) if numbers[name] == "int" else float(value)
        except ValueError:
            raise ValueError(f"--limit {name} takes a number; got {value!r}") from None
    return replace(limits, **values)
