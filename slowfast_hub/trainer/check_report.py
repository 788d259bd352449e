"""A checked set as files: report.html for people, report.json for programs, bad.csv of the files and rows to repair.

What comes from files, names of videos and classes, is text wherever it goes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import torch

from slowfast_hub.trainer.check import KINDS, PARTS, SHOWN, Finding, Report, VideoCheck, split
from slowfast_hub.trainer.keyframes import LabelledPeople
from slowfast_hub.trainer.page import as_csv, html_table, image, page, printable, write_text

ROWS = 200  # findings of a kind on the page; the JSON has all
EXAMPLES = 3  # on a terminal
COMMON = 20  # sizes and rates that are counted one by one


def write_report(report: Report, folder: Path) -> None:
    """Fill `folder` with report.json, report.html and bad.csv; files that are there are replaced."""
    write_text(folder / "report.json", json.dumps(as_json(report), indent=2) + "\n")
    bad = [[each.video, each.fault, each.decoded, ""] for each in report.files if each.fault]
    errors = [each for each in report.findings if KINDS[each.kind].level == "error"]
    bad += [["", KINDS[each.kind].title, "", row] for each in errors for row in each.rows]
    write_text(folder / "bad.csv", as_csv([["video", "reason", "decodable_frames", "row"], *bad]))
    write_text(folder / "report.html", as_html(report))


def as_json(report: Report) -> dict[str, Any]:
    """All but pictures as plain values."""
    return {
        "passed": report.passed,
        "parts": {part: len(samples) for part, samples in split(report.videos)},
        "multilabel": report.videos.multilabel,
        "notes": list(report.videos.notes),
        "findings": [{"level": KINDS[each.kind].level, **asdict(each)} for each in report.findings],
        "classes": report.class_counts(),
        **measures(report.files),
        "files": [file_json(each) for each in report.files],
    }


def file_json(each: VideoCheck) -> dict[str, Any]:
    known = {} if each.info is None else {key: each.info.as_json()[key] for key in INFO}
    return {
        "video": each.video,
        **dict.fromkeys(INFO),
        **known,
        "varying": each.varying,
        "decoded": each.decoded,
        "fault": each.fault,
        "bytes": each.size,
        "sha256": each.sha256,
        "fingerprint": each.fingerprint.hex(),
    }


INFO = ("frames", "fps", "width", "height", "rotation", "start_s", "duration_s")


def measures(files: Iterable[VideoCheck]) -> dict[str, Any]:
    """Lengths, sizes and rates of the files that can be opened."""
    infos = [each.info for each in files if each.info is not None]
    shares = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1.0}
    lengths = torch.tensor(sorted(info.duration_s for info in infos), dtype=torch.float64)
    at = {name: round(share * (len(lengths) - 1)) for name, share in shares.items()}
    return {
        "lengths_s": {name: round(float(lengths[place]), 3) for name, place in at.items()} if infos else {},
        "sizes": common(f"{info.width}x{info.height}" for info in infos),
        "rates": common(f"{info.fps:.2f}" for info in infos),
    }


def amount(found: Sequence[Finding]) -> str:
    """How much there is of a kind: rows, where it is about rows."""
    rows = {row for each in found for row in each.rows}
    return f"{len(rows)} row{'s' * (len(rows) != 1)}" if rows else str(len(found))


def common(values: Iterable[str] | Mapping[str, int]) -> dict[str, int]:
    """How often each value comes (or is said to), most often first; rare ones together."""
    counts = Counter(values).most_common()
    rest = sum(count for _, count in counts[COMMON:])
    return dict(counts[:COMMON]) | ({"others": rest} if rest else {})


def summary(report: Report) -> Iterator[str]:
    """What a terminal shows: a line for each kind, what to do, and examples."""
    parts = ", ".join(f"{part} {len(samples)}" for part, samples in split(report.videos) if samples)
    yield f"{len(report.files)} files, {len(report.videos.classes)} classes: {parts}"
    if isinstance(report.videos, LabelledPeople) and report.videos.classes:
        sizes = {printable(name): sum(by_part.values()) for name, by_part in report.class_counts().items()}
        yield f"people: {', '.join(f'{name} {count}' for name, count in common(sizes).items())}"
    for kind, found in report.by_kind.items():
        level, title, advice = KINDS[kind].level, KINDS[kind].title, KINDS[kind].advice
        yield f"{level}: {title}: {amount(found)}. To do: {advice}"
        yield from (f"  {printable(each.text)}" for each in found[:EXAMPLES])
        if len(found) > EXAMPLES:
            yield f"  and {len(found) - EXAMPLES} more"
    yield "no errors" if report.passed else "errors: put them right before you train"


def as_html(report: Report) -> str:
    """One page that needs no other file and runs nothing."""
    parts = ["".join(f"<p>{escape(line)}</p>" for line in report.videos.notes)]
    parts += [html_table(["files", *PARTS], [[str(len(report.files)), *part_sizes(report)]])]
    for kind, found in report.by_kind.items():
        parts += [f"<h2>{KINDS[kind].level}: {KINDS[kind].title} ({amount(found)})</h2>"]
        parts += [f"<p>To do: {escape(KINDS[kind].advice)}.</p>"]
        parts += [html_table([], [[printable(each.text)] for each in found[:ROWS]])]
        parts += [f"<p>and {len(found) - ROWS} more, see report.json</p>"] * (len(found) > ROWS)
    parts += ["<h2>Classes</h2>", class_table(report)]
    for title, values in zip(("Lengths in s", "Sizes in px", "Frames a second"), measures(report.files).values()):
        parts += [f"<h2>{title}</h2>", html_table(list(values), [[str(value) for value in values.values()]])]
    parts += ["<h2>Middle frames</h2>", *contact_sheets(report)]
    return page("Data check", parts)


def part_sizes(report: Report) -> list[str]:
    return [str(len(samples)) for _, samples in split(report.videos)]


def class_table(report: Report) -> str:
    """The classes with bars of their sizes in train."""
    counts = report.class_counts()
    largest = max((by_part["train"] for by_part in counts.values()), default=0)
    bars = [f'<progress value="{by_part["train"]}" max="{max(1, largest)}"></progress>' for by_part in counts.values()]
    rows = [[printable(name), *map(str, by_part.values())] for name, by_part in counts.items()]
    return html_table(["class", *PARTS], rows, bars)


def contact_sheets(report: Report) -> Iterator[str]:
    """For each class the middle frames of its first videos, with their names to be seen under the pointer."""
    pictures = {each.video: each.picture for each in report.files if each.picture}
    sheets: list[dict[str, bytes]] = [{} for _ in report.videos.classes]
    for sample in report.videos.samples():
        video = str(sample.video)
        for sheet in (sheets[label] for label in sample.labels if video in pictures):
            if len(sheet) < SHOWN:
                sheet[video] = pictures[video]
    for name, sheet in zip(report.videos.classes, sheets):
        frames = (f'<span title="{escape(video)}">{image("image/jpeg", each)}</span>' for video, each in sheet.items())
        yield f"<h3>{escape(printable(name))}</h3>\n<p>{' '.join(frames)}</p>"
