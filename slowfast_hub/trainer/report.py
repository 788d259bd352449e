"""A run as one page of HTML: curves, figures, recipe. Static, and whole without a network."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from slowfast_hub.trainer.journal import LOG, SKIPPED, Record, read_lines
from slowfast_hub.trainer.page import html_table, page, write_text

RECIPE, ABOUT, REPORT = "recipe.toml", "run.json", "report.html"


def write_report(run: Path) -> Path:
    """`report.html` of a run folder, from what lies in it."""
    records = read_lines(run / LOG)
    steps, epochs, tests = ([r for r in records if r["kind"] == kind] for kind in ("step", "epoch", "test"))
    skipped = {record["video"] for record in read_lines(run / SKIPPED)}
    figures = [("steps", str(steps[-1]["step"]) if steps else "0")]
    for record in tests[-1:]:
        name = answer_of(record)
        best = max(reversed(tests), key=lambda test: test[name])  # of equal ones the last is kept
        figures += [(f"best {name}", f"{100 * best[name]:.1f} % in epoch {best['epoch']}")]
        figures += [
            (f"last {name}", f"{100 * record[name]:.1f} %, {record['decoded']} of {record['requested']} tested")
        ]
    wait, seconds = (sum(record[name] for record in epochs) for name in ("wait_seconds", "seconds"))
    figures += [
        ("hours of training", f"{seconds / 3600:.2f}, {100 * wait / max(seconds, 1e-9):.0f} % waiting for clips")
    ]
    figures += [("left out", f"{len(skipped)}, see {SKIPPED}")]
    parts = [html_table([], [list(figure) for figure in figures]), curves(steps, epochs, tests)]
    for name in (RECIPE, ABOUT):
        if (run / name).is_file():
            parts += [f"<h2>{name}</h2>", f"<pre>{escape((run / name).read_text(encoding='utf-8'))}</pre>"]
    write_text(run / REPORT, page(run.name, parts))
    return run / REPORT


def answer_of(test: Record) -> str:
    """The name of a test's answer in its record."""
    return "mAP" if "mAP" in test else "top1"


def curves(steps: Sequence[Record], epochs: Sequence[Record], tests: Sequence[Record]) -> str:
    """Loss, answers and rate over the steps, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 9), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    draw(axes[0], "loss", [(steps, "loss", "step", 0.3), (epochs, "loss", "epoch", 1.0)])
    if epochs and "accuracy" in epochs[0]:
        draw(axes[1], "share right", [(epochs, "accuracy", "training clips", 1.0)])
    if tests:
        draw(axes[1], "share right", [(tests, answer_of(tests[0]), f"test, {answer_of(tests[0])}", 1.0)])
    draw(axes[2], "rate", [(steps, "lr", "learning rate", 1.0)])
    axes[2].set_xlabel("step")
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def draw(axis: object, title: str, lines: Sequence[tuple[Sequence[Record], str, str, float]]) -> None:
    """Lines over the steps, each of one field of some records."""
    for records, name, label, alpha in lines:
        axis.plot([r["step"] for r in records], [r[name] for r in records], label=label, alpha=alpha)  # type: ignore[attr-defined]
    axis.set_ylabel(title)  # type: ignore[attr-defined]
    axis.legend()  # type: ignore[attr-defined]
