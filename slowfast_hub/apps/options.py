"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Collection
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


def sides_of(text: str) -> tuple[int, ...]:
    """The sides in px of --scales: whole numbers between commas."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--scales is whole numbers of px, such as 224,256,320; got {text!r}") from None


# Options that some commands have for sets of either kind: who is measured, trained or checked on the other, is told.
OF_VIDEOS = ("--views", "--multilabel")
OF_PEOPLE = (
    *("--found", "--excluded", "--actions", "--offset-s", "--unit"),
    *("--boxes", "--found-score", "--scales", "--flip"),
)


def check_task_options(context: typer.Context, *, of_people: bool) -> None:
    """ValueError for options that mean nothing for the kind of set that it is."""
    if of_people:
        refuse(context, OF_VIDEOS, "these are boxes of people, not whole videos (--task classification says otherwise)")
    else:
        refuse(context, OF_PEOPLE, "these are whole videos, not boxes of people (--task detection says otherwise)")


def refuse(context: typer.Context, options: Collection[str], why: str) -> None:
    """ValueError that names those of some options that were given: they would change nothing."""
    given = [
        "/".join((*parameter.opts, *parameter.secondary_opts))
        for parameter in context.command.params
        if any(name in options for name in parameter.opts) and was_given(context, parameter.name)
    ]
    if given:
        raise ValueError(f"{', '.join(given)}: {why}; leave {'it' if len(given) == 1 else 'them'} out")


def was_given(context: typer.Context, name: str | None) -> bool:
    source = context.get_parameter_source(name or "")
    return source is not None and source.name != "DEFAULT"
