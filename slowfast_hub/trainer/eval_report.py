"""An evaluation as files: for people (HTML, a picture), for tables (CSV), for programs (JSON, lines of predictions).

What comes from files, names of videos and classes, is text wherever it goes: escaped in HTML, no formula in a picture.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from pathlib import Path
from typing import Any

from torch import Tensor

from slowfast_hub.spec import VideoError
from slowfast_hub.trainer.evaluate import Evaluation
from slowfast_hub.trainer.metrics import ClassMetrics, Metrics
from slowfast_hub.trainer.page import as_csv, html_table, image, jpeg, page, write_text
from slowfast_hub.trainer.predictions import write_predictions
from slowfast_hub.trainer.samples import Sample
from slowfast_hub.zoo.save import whole_file

MISTAKES = 24  # in the report
COUNTED = 30  # classes up to which the cells of the picture hold their counts


@dataclass(frozen=True)
class Mistake:
    """A video whose best score is that of a class that it does not have."""

    video: str
    labels: tuple[str, ...]
    answer: str
    score: float


def worst_mistakes(evaluation: Evaluation, count: int = MISTAKES) -> list[Mistake]:
    """The wrong answers with the highest scores, highest first."""
    scores, answers = evaluation.probs.max(1)
    right = evaluation.targets.gather(1, answers.unsqueeze(1)).squeeze(1)
    wrong = [row for row in scores.argsort(descending=True, stable=True).tolist() if not right[row]]
    return [
        Mistake(
            evaluation.videos[row],
            tuple(name for name, true in zip(evaluation.classes, evaluation.targets[row]) if true),
            evaluation.classes[int(answers[row])],
            float(scores[row]),
        )
        for row in wrong[:count]
    ]


def as_json(evaluation: Evaluation, metrics: Metrics) -> dict[str, Any]:
    """The report as plain values; the confusion is a file of its own."""
    record = {field.name: getattr(metrics, field.name) for field in fields(metrics) if field.name != "confusion"}
    return {
        **record,
        "protocols": [{"summary": str(protocol), **asdict(protocol)} for protocol in evaluation.protocols],
        "classes": [asdict(each) for each in metrics.classes],
        "failed": [asdict(failure) for failure in evaluation.failed],
        "worst_mistakes": [asdict(mistake) for mistake in worst_mistakes(evaluation)],
    }


def write_report(evaluation: Evaluation, metrics: Metrics, folder: Path, samples: Sequence[Sample] = ()) -> None:
    """Fill `folder` with predictions.jsonl, report.json, report.html and per_class.csv; with one label for each video
    also confusion.csv and confusion.png.

    samples: where the report may take a picture of a mistake from. Files that are there are replaced.
    """
    write_predictions(evaluation, folder / "predictions.jsonl")
    write_text(folder / "report.json", json.dumps(as_json(evaluation, metrics), indent=2) + "\n")
    rows = [list(asdict(each).values()) for each in metrics.classes]
    write_text(folder / "per_class.csv", as_csv([[field.name for field in fields(ClassMetrics)], *rows]))
    picture = b""
    if metrics.confusion is not None:
        names = [each.name for each in metrics.classes]
        table = [[name, *row] for name, row in zip(names, metrics.confusion.tolist())]
        write_text(folder / "confusion.csv", as_csv([["label, by row", *names], *table]))
        picture = confusion_png(metrics.confusion, names)
        with whole_file(folder / "confusion.png") as partial:
            partial.write_bytes(picture)
    write_text(folder / "report.html", as_html(evaluation, metrics, picture, samples))


def confusion_png(counts: Tensor, classes: Sequence[str]) -> bytes:
    """A confusion as a picture: shares of each label by row, so that frequent classes do not outshine the others."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [shortened(name) for name in classes]
    side = min(max(4.0, 2.5 + 0.3 * len(names)), 32.0)  # inches; 400 names are then 5 points high
    size = min(9.0, 0.8 * 72 * (side - 2) / len(names))
    figure = Figure(figsize=(side, side), dpi=100 if len(names) <= COUNTED else 150, layout="constrained")
    axes = figure.add_subplot(xlabel="answer", ylabel="label")
    axes.imshow((counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy(), cmap="Blues", vmin=0, vmax=1)
    # Without parse_math a name with two dollar signs would be read as a formula.
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=size, parse_math=False)
    if len(names) <= COUNTED:
        for row, line in enumerate(counts.tolist()):
            for column, count in enumerate(line):
                color = "white" if 2 * count > sum(line) else "black"
                axes.text(column, row, str(count or ""), ha="center", va="center", color=color, fontsize=size)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # of a script that the font lacks: boxes are shown
        FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()


def shortened(name: str) -> str:
    """On one line of up to 32 characters."""
    shown = "".join(character if character.isprintable() else " " for character in name)
    return shown if len(shown) <= 32 else f"{shown[:31]}…"


def as_html(evaluation: Evaluation, metrics: Metrics, picture: bytes, samples: Sequence[Sample]) -> str:
    """One page that needs no other file and runs nothing."""
    by_name = {sample.name: sample for sample in samples}
    parts = [
        html_table([], [[name, f"{value:.1f} %"] for name, value in metrics.figures.items()]),
        f"<p>{escape(metrics.protocol)}</p>",
    ]
    if evaluation.failed:
        parts += ["<h2>Videos that could not be read</h2>"]
        parts += [html_table(["video", "reason"], [[each.video, each.reason] for each in evaluation.failed])]
    parts += ["<h2>Worst mistakes</h2>", "<p>The wrong answers with the highest scores.</p>"]
    mistakes = worst_mistakes(evaluation)
    pictures = [thumbnail(by_name.get(mistake.video)) for mistake in mistakes]
    cells = [[each.video, " | ".join(each.labels), each.answer, f"{each.score:.3f}"] for each in mistakes]
    parts += [html_table(["video", "label", "answer", "score"], cells, pictures)]
    parts += ["<h2>Classes</h2>", "<p>Worst first.</p>"]
    ranked = sorted(metrics.classes, key=goodness)
    head = ["class", "videos", "recall", "precision", "average precision", "most often taken for"]
    parts += [html_table(head, [list(map(shown, asdict(each).values())) for each in ranked])]
    if picture:
        parts += ["<h2>Confusion</h2>", "<p>Labels by row, answers by column; colours are shares of the row.</p>"]
        parts += [image("image/png", picture)]
    return page("Evaluation", parts)


def goodness(each: ClassMetrics) -> tuple[float, str]:
    """Sort key: recall, or average precision with many labels; classes without videos come last."""
    known = (value for value in (each.recall, each.average_precision) if value is not None)
    return next(known, 2.0), each.name


def shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def thumbnail(sample: Sample | None) -> str:
    """The middle frame of a video as HTML; nothing where there is none."""
    if sample is None:
        return ""
    try:
        reader = sample.open()
        frame = next(iter(reader.stream([reader.info.frames // 2])))
    except VideoError:
        return ""
    return image("image/jpeg", jpeg(frame))
