"""The commands `slowfast-hub weights ...`: what files there are, which of them lie here, and moving them about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from slowfast_hub.apps.console import Json, complain, err, out, print_json, usage
from slowfast_hub.spec import WeightsInfo
from slowfast_hub.zoo import fetch
from slowfast_hub.zoo.fetch import FetchError
from slowfast_hub.zoo.manifest import labels_of
from slowfast_hub.zoo.registry import list_models, weights_info

app = typer.Typer(
    help="Files of weights: what there is, what lies here, getting, checking, passing on.", no_args_is_help=True
)

Names = Annotated[list[str], typer.Argument(help="Names of `weights list`; wildcards such as 'slow_*' in quotes.")]


@app.command("list")
def list_command(
    pattern: Annotated[str, typer.Argument(help="A wildcard, such as 'slowfast_*'.")] = "*",
    as_json: Json = False,
) -> None:
    """Every file of weights, where it lies, and what its makers report."""
    rows = [as_row(weights_info(name)) for name in list_models(pattern, pretrained=True)]
    if not rows:
        err.print(f"nothing matches {pattern!r}", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        print_json(rows)
        return
    # Lines, not a table: names are there to be copied and searched, and a narrow terminal would cut them.
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        size = "" if row["bytes"] is None else f"{row['bytes'] / 1e6:.1f} MB"
        line = f"{row['name']:<{width}}  {row['where']:<8}  {size:>8}  {row['license']:<10}  {row['reported']}"
        typer.echo(line.rstrip())


def as_row(info: WeightsInfo) -> dict[str, Any]:
    path = fetch.local_path(info)
    return {
        "name": info.name,
        "where": "not here" if path is None else "package" if path == fetch.embedded(info) else "cache",
        "bytes": info.hosted.bytes if path is None else path.stat().st_size,
        "reported": reported(info),
        "license": info.origin.license,
    }


def reported(info: WeightsInfo) -> str:
    """The makers' own figure; "" where they give none."""
    if info.reported is None:
        return ""
    figures = info.reported.figures
    shown = [what for what in ("top-1", "mAP") if what in figures]
    return ", ".join(f"{what} {figures[what]:.1f} {info.reported.dataset}" for what in shown)


@app.command()
def show(name: Annotated[str, typer.Argument(help="A name of `weights list`.")], as_json: Json = False) -> None:
    """All that is known of one file of weights."""
    info = one(name)
    record = {**asdict(info), "labels": labels_of(info), "path": fetch.local_path(info)}
    if as_json:
        print_json(record)
        return
    for field, value in record.items():
        parts = value if isinstance(value, dict) and value else {"": value}
        for part, content in parts.items():
            shown = f"{len(content)}: {', '.join(content[:5])}, ..." if field == "labels" else content
            out.print(f"{field}{'.' if part else ''}{part}: {shown}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def download(
    names: Names,
    force: Annotated[bool, typer.Option("--force", help="Also where it is cached; repairs a changed file.")] = False,
    trust_new: Annotated[
        bool, typer.Option("--trust-new", help="Accept another original than the first one seen here.")
    ] = False,
) -> None:
    """Fetch, check and convert, and print where the file lies.  Example: slowfast-hub weights download 'slow_r50_*'"""
    each(several(names), lambda info: fetch.download(info, force=force, trust_new=trust_new))


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Names; without any, all files that lie here.")] = None,
    as_json: Json = False,
) -> None:
    """Hash files again. Exit code 1 when one of them changed, or one that was named is not here."""
    chosen = several(names) if names else [info for info in several(["*"]) if fetch.cached(info)]
    reports, failed = [], 0
    for info in chosen:
        try:
            reports.append(fetch.verify(info))
        except FetchError as error:
            failed += 1
            complain(error)
    if as_json:
        print_json([asdict(report) for report in reports])
    for report in reports:
        if not as_json:
            out.print(f"{report.state}: {report.name}", highlight=False, markup=False, soft_wrap=True)
        if report.state == "changed":
            err.print(f"repair: {fetch.redo(report.name)}", highlight=False, markup=False, soft_wrap=True)
        failed += report.state in ("changed", "missing")
    raise typer.Exit(1 if failed else 0)


@app.command()
def mirror(
    folder: Annotated[Path, typer.Argument(help="Filled; SLOWFAST_HUB_MIRROR of machines without internet.")],
    names: Annotated[list[str] | None, typer.Argument(help="Names of `weights list`; wildcards in quotes.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every file there is.")] = False,
) -> None:
    """Fill a folder that serves as mirror, as it is or behind any web server (python -m http.server)."""
    if bool(names) == everything:
        raise usage(ValueError("which files? Pass names, or --all"))

    def add(info: WeightsInfo) -> Path:
        fetch.mirror(folder, [info])
        return folder / f"{info.name}.safetensors"

    each(several(names or ["*"]), add)


@app.command()
def publish(
    name: Annotated[str, typer.Argument(help="A name of `weights list`.")],
    folder: Annotated[Path, typer.Argument(help="Where the Hub-ready folder is written.")],
    repo: Annotated[str | None, typer.Option(help="org/name on the Hugging Face Hub.")] = None,
    push: Annotated[bool, typer.Option("--push", help="Upload it; the token is that of `hf auth login`.")] = False,
    private: Annotated[bool, typer.Option("--private", help="A repository that is new is private.")] = False,
) -> None:
    """Write config.json, model.safetensors and a model card, and push them when asked; prints the record's `hosted`."""
    from slowfast_hub.zoo.hub import publish as write

    if push and repo is None:
        raise usage(ValueError("--push needs --repo org/name"))
    try:
        done = write(one(name).name, folder, repo=repo, push=push, private=private)
    except (OSError, ValueError, LookupError) as error:  # OSError: also those of the Hub
        complain(error)
        raise typer.Exit(1) from error
    err.print(f"written to {done.folder}", highlight=False, markup=False, soft_wrap=True)
    print_json(asdict(done.hosted))


def each(infos: list[WeightsInfo], work: Callable[[WeightsInfo], Path]) -> None:
    """Do `work` for every file and print the path it gives; a failure does not stop the others, and is exit code 1."""
    failed = 0
    for info in infos:
        try:
            typer.echo(work(info))
        except (FetchError, LookupError) as error:
            failed += 1
            complain(error)
    raise typer.Exit(1 if failed else 0)


def one(name: str) -> WeightsInfo:
    try:
        return weights_info(name)
    except (ValueError, LookupError) as error:
        raise usage(error) from error


def several(names: list[str]) -> list[WeightsInfo]:
    """The records of names and wildcards, each once; nothing is done when one of them means nothing."""
    found: dict[str, WeightsInfo] = {}
    for name in names:
        wild = any(sign in name for sign in "*?[")
        matches = list_models(name, pretrained=True) if wild else [one(name).name]
        if not matches:
            raise usage(ValueError(f"no file of weights matches {name!r}; slowfast-hub weights list shows all"))
        found |= {match: weights_info(match) for match in matches}
    return list(found.values())
