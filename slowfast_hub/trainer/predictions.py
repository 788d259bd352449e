"""Scores of an evaluation as a file of lines, which can be measured again, and averaged, without the networks.

The first line is {"predictions": 1, "classes": [...], "multilabel": false, "protocols": [...]}, each further one
{"video": ..., "labels": [names], "scores": [...]} or {"video": ..., "error": ...}. Scores come back bit by bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slowfast_hub.spec import ClipSpec, yes_or_no
from slowfast_hub.trainer.evaluate import Evaluation, Failed, Protocol, targets_of
from slowfast_hub.zoo.describe import fields_from_json
from slowfast_hub.zoo.save import whole_file

VERSION = 1
ROUNDING = 1e-5  # a mean of float32 scores may lie a little above 1
FLOAT32_DIGITS = 9  # of a decimal number that tells every float32 from its neighbours


def write_predictions(evaluation: Evaluation, path: str | Path) -> None:
    """The file of an evaluation, written whole or not at all."""
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        for line in lines_of(evaluation):
            file.write(json.dumps(line) + "\n")


def lines_of(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    yield {
        "predictions": VERSION,
        "classes": list(evaluation.classes),
        "multilabel": evaluation.multilabel,
        "protocols": [asdict(protocol) for protocol in evaluation.protocols],
    }
    for video, targets, scores in zip(evaluation.videos, evaluation.targets, evaluation.probs.tolist()):
        labels = [evaluation.classes[index] for index in targets.nonzero().flatten().tolist()]
        yield {"video": video, "labels": labels, "scores": [float(f"{score:.{FLOAT32_DIGITS}g}") for score in scores]}
    for failure in evaluation.failed:
        yield {"video": failure.video, "error": failure.reason}


def read_predictions(path: str | Path) -> Evaluation:
    """The evaluation of a file that `write_predictions` made; ValueError with file and line for any other."""
    header: Evaluation | None = None
    videos, labels, scores, failed = [], [], [], []
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line)
                if header is None:
                    header, index = read_header(record), {name: i for i, name in enumerate(record["classes"])}
                elif "error" in record:
                    failed.append(Failed(text(record["video"]), text(record["error"])))
                else:
                    videos.append(text(record["video"]))
                    labels.append(read_labels(record["labels"], index, header.multilabel))
                    scores.append(read_scores(record["scores"], len(index)))
            except (ValueError, TypeError, LookupError, RecursionError) as error:
                told = f"{error} is missing" if isinstance(error, KeyError) else error
                raise ValueError(f"{path}:{number}: {told}; expected is what `slowfast-hub eval` writes") from error
    if header is None:
        raise ValueError(f"{path} is empty; expected is what `slowfast-hub eval` writes")
    return replace(
        header,
        videos=tuple(videos),
        probs=torch.stack(scores) if scores else header.probs,
        targets=targets_of(labels, len(header.classes)),
        failed=tuple(failed),
    )


def read_header(record: dict[str, Any]) -> Evaluation:
    """What the first line says, as an evaluation of no videos."""
    if not isinstance(record, dict) or record.get("predictions") != VERSION:
        raise ValueError(f'a file of predictions begins with {{"predictions": {VERSION}; got {str(record)[:80]}')
    classes, multilabel = tuple(map(text, record["classes"])), record["multilabel"]
    yes_or_no("multilabel", multilabel)
    if not classes or len(set(classes)) != len(classes):
        raise ValueError("classes must be different names, at least one")
    protocols = tuple(Protocol(**fields_from_json(each)) for each in record["protocols"])
    for said in protocols:
        for word in (said.model, said.views, said.precision):
            text(word)
    if not protocols or not all(isinstance(protocol.clip, ClipSpec) for protocol in protocols):
        raise ValueError("protocols must say the clip of each network")
    nothing = torch.zeros(0, len(classes))
    return Evaluation((), nothing, nothing.bool(), classes, multilabel, protocols)


def text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {str(value)[:80]}")
    return value


def read_labels(names: object, index: dict[str, int], multilabel: bool) -> list[int]:
    if not isinstance(names, list) or (len(names) != 1 and not multilabel):
        raise ValueError(f"labels is a list of {'names' if multilabel else 'one name'}; got {str(names)[:80]}")
    unknown = [name for name in map(text, names) if name not in index]
    if unknown:
        raise ValueError(f"label {unknown[0]!r:.80} is none of the classes")
    return [index[name] for name in names]


def read_scores(values: object, count: int) -> Tensor:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"scores is a list of {count} numbers, one for each class; got {str(values)[:80]}")
    for value in values:
        if not isinstance(value, int | float) or not 0 <= value <= 1 + ROUNDING:  # false for NaN
            raise ValueError(f"a score is a number from 0 to 1; got {str(value)[:80]}")
    return torch.tensor(values, dtype=torch.float32)
