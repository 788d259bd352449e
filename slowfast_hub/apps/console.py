"""How the commands speak: results on stdout, everything else on stderr.

Exit codes: 0 ok, 1 some inputs failed, 2 usage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

out = Console()
err = Console(stderr=True)

# Of a bar that counts videos.
COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")]


def complain(error: Exception) -> None:
    """One line on stderr."""
    # A KeyError quotes its message, other errors with one argument print it; an OSError may have a number first.
    message = error.args[0] if len(error.args) == 1 else error
    err.print(f"error: {message}", style="red", markup=False, soft_wrap=True)


@contextmanager
def asked() -> Iterator[None]:
    """What goes wrong before the work: exit code 1 for weights that cannot be had, 2 for what was asked wrongly."""
    from slowfast_hub.zoo.fetch import FetchError

    try:
        yield
    except (FetchError, ConnectionError) as error:
        complain(error)
        raise typer.Exit(1) from error
    except (ValueError, LookupError, OSError, RuntimeError) as error:  # RuntimeError: of torch, a device not there
        raise usage(error) from error


def usage(error: Exception) -> typer.Exit:
    """Exit code 2 after one line on stderr."""
    complain(error)
    return typer.Exit(2)


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
