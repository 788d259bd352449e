"""Evaluations of people as files: for people (HTML with the paper's Figure 3), for programs (JSON, detections).

Several networks stand side by side, as Slow-only and SlowFast do there. Names of files and classes are text everywhere.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

from slowfast_hub.trainer.detections import write_detections
from slowfast_hub.trainer.eval_report import shortened, shown
from slowfast_hub.trainer.page import html_table, image, page, write_text
from slowfast_hub.trainer.people_eval import PeopleEvaluation, PeopleMetrics
from slowfast_hub.zoo.save import whole_file


def write_people_report(
    evaluations: Sequence[PeopleEvaluation], measured: Sequence[PeopleMetrics], folder: Path
) -> None:
    """Fill `folder` with report.html, per_class.png, metrics.json and detections.csv; of several evaluations of one
    set with detections_1.csv and so on.

    A set of which some classes count alone is AVA's: its detections have AVA's form, others name the classes. Files
    that are there are replaced. ValueError for evaluations of different classes.
    """
    names = [[each.name for each in metrics.classes] for metrics in measured]
    if any(each != names[0] for each in names[1:]):
        raise ValueError("these evaluations are of different classes: they have no common report")
    for number, evaluation in enumerate(evaluations, 1):
        name = f"detections_{number}.csv" if len(evaluations) > 1 else "detections.csv"
        classes = None if evaluation.evaluated else evaluation.classes
        moments = (*evaluation.frames, *evaluation.beside)
        write_detections(folder / name, evaluation.detections, moments, classes)
    write_text(folder / "metrics.json", json.dumps([*map(as_json, evaluations, measured)], indent=2) + "\n")
    picture = per_class_png(measured)
    with whole_file(folder / "per_class.png") as partial:
        partial.write_bytes(picture)
    write_text(folder / "report.html", as_html(evaluations, measured, picture))


def as_json(evaluation: PeopleEvaluation, metrics: PeopleMetrics) -> dict[str, object]:
    """The report as plain values."""
    return {**asdict(metrics), "failed": [asdict(failure) for failure in evaluation.failed]}


def most_frequent_first(metrics: PeopleMetrics) -> list[int]:
    """The places of the classes that somebody does, as Figure 3 has them."""
    places = range(len(metrics.classes))
    return sorted((i for i in places if metrics.classes[i].people), key=lambda i: -metrics.classes[i].people)


def per_class_png(measured: Sequence[PeopleMetrics]) -> bytes:
    """Average precision of each class as bars, the class with the most people first; a colour for each network."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    order = most_frequent_first(measured[0])
    width = min(max(5.0, 1.5 + 0.25 * len(order)), 32.0)  # inches
    figure = Figure(figsize=(width, 5.5), dpi=100, layout="constrained")
    axes = figure.add_subplot(ylabel="average precision, %", ylim=(0, 100))
    share = 0.8 / len(measured)
    for number, metrics in enumerate(measured):
        places = [place + share * (number - (len(measured) - 1) / 2) for place in range(len(order))]
        values = [100 * (metrics.classes[i].average_precision or 0.0) for i in order]
        label = shortened(metrics.name).replace("$", r"\$")  # or two of them would make a formula
        axes.bar(places, values, share, label=label if not label.startswith("_") else f" {label}")
    names = [f"{shortened(measured[0].classes[i].name)} ({measured[0].classes[i].people})" for i in order]
    axes.set_xticks(range(len(order)), names, rotation=90, fontsize=8, parse_math=False)
    axes.margins(x=0.01)
    axes.legend()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # of a script that the font lacks: boxes are shown
        FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()


def as_html(evaluations: Sequence[PeopleEvaluation], measured: Sequence[PeopleMetrics], picture: bytes) -> str:
    """One page that needs no other file and runs nothing."""
    rows = [[each.name, "-" if each.mean_ap is None else f"{100 * each.mean_ap:.1f} %"] for each in measured]
    parts = [html_table(["network", "mAP at IoU 0.5"], rows)]
    parts += [f"<p>{escape(metrics.line)}</p>" for metrics in measured]
    failed = [[each.name, failure.video, failure.reason] for each in evaluations for failure in each.failed]
    if failed:
        parts += ["<h2>Key frames that could not be read</h2>", html_table(["network", "key frame", "reason"], failed)]
    parts += ["<h2>Classes</h2>", "<p>By the number of people who do it, in brackets; the paper's Figure 3.</p>"]
    parts += [image("image/png", picture)]
    done = most_frequent_first(measured[0])
    order = [*done, *(i for i in range(len(measured[0].classes)) if i not in done)]
    cells = [
        [measured[0].classes[i].name, str(measured[0].classes[i].people)]
        + [shown(metrics.classes[i].average_precision) for metrics in measured]
        for i in order
    ]
    parts += [html_table(["class", "people", *(f"average precision, {each.name}" for each in measured)], cells)]
    return page("Evaluation of people", parts)
