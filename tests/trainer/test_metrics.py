"""Figures that can be counted by hand, the file of predictions, the report."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.functional.classification import multiclass_calibration_error

from slowfast_hub.spec import ClipSpec
from slowfast_hub.trainer.eval_report import confusion_png, worst_mistakes, write_report
from slowfast_hub.trainer.evaluate import Evaluation, Failed, Protocol, targets_of
from slowfast_hub.trainer.metrics import ClassMetrics, measure
from slowfast_hub.trainer.predictions import read_predictions, write_predictions
from slowfast_hub.trainer.samples import Sample

PROTOCOL = Protocol("tiny", "5x1", ClipSpec(short_side=64, crop=64), "float32")


def evaluation(
    scores: list[list[float]], labels: list[list[int]], classes: str = "abc", multilabel: bool = False, **fields: object
) -> Evaluation:
    videos = tuple(f"{number}.mp4" for number in range(len(scores)))
    targets = targets_of(labels, len(classes))
    values = {"protocols": (PROTOCOL,), "videos": videos, **fields}
    return Evaluation(
        probs=torch.tensor(scores), targets=targets, classes=tuple(classes), multilabel=multilabel, **values
    )


THREE = evaluation([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1]], [[0], [1], [1]])


def test_three_videos_with_one_label_each():
    found = measure(THREE)
    assert found.top1 == pytest.approx(2 / 3)
    assert found.top5 is None  # of three classes the best five say nothing
    assert found.mean_class_accuracy == pytest.approx((1 + 1 / 2) / 2)
    assert found.confusion.tolist() == [[1, 0], [1, 1]]
    # Class b has scores 0.2 0.5 0.3: both of its videos come first. Class a has 0.7 0.2 0.6, its video comes first.
    assert found.classes == (
        ClassMetrics("a", 1, recall=1.0, precision=0.5, average_precision=1.0),
        ClassMetrics("b", 2, recall=0.5, precision=1.0, average_precision=1.0, taken_for="a"),
    )
    # Best scores 0.7 right, 0.5 right, 0.6 wrong, each in a bin of its own.
    assert found.calibration_error == pytest.approx((0.3 + 0.5 + 0.6) / 3)


def test_the_calibration_error_is_that_of_torchmetrics_for_classes():
    probs = torch.randn(200, 7, generator=torch.Generator().manual_seed(0)).softmax(1)
    labels = torch.arange(200) % 7
    found = measure(evaluation(probs.tolist(), labels.unsqueeze(1).tolist(), "abcdefg"))
    assert found.calibration_error == pytest.approx(float(multiclass_calibration_error(probs, labels, 7, n_bins=15)))


def test_a_score_a_little_above_one_is_no_logit():
    above = float(np.nextafter(np.float32(1), np.float32(2)))
    assert measure(evaluation([[above, 0.0, 0.0]], [[0]])).calibration_error == 0


def test_top_5_where_there_are_six_classes():
    scores = [[0.3, 0.25, 0.2, 0.12, 0.1, 0.03]] * 4
    found = measure(evaluation(scores, [[0], [1], [4], [5]], "abcdef"))
    assert (found.top1, found.top5) == (0.25, 0.75)
    assert [each.name for each in found.classes] == ["a", "b", "e", "f"]  # those that are a label or an answer


def test_a_class_without_videos_counts_as_a_wrong_answer_and_not_as_a_class():
    found = measure(evaluation([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]], [[0], [0]]))
    assert found.mean_class_accuracy == 0.5
    assert found.classes[1] == ClassMetrics("c", 0, precision=0.0)
    assert found.classes[0].taken_for == "c"


def test_many_labels_mean_average_precision_over_classes_that_some_video_has():
    scores = [[0.9, 0.1, 0.5], [0.8, 0.6, 0.5], [0.7, 0.2, 0.5]]
    found = measure(evaluation(scores, [[0], [], [0, 1]], multilabel=True))
    # Class a: right at rank 1 and 3, (1/1 + 2/3) / 2. Class b: its video is second, 1/2. Class c: nobody has it.
    assert found.mean_ap == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
    assert [(each.name, each.videos) for each in found.classes] == [("a", 2), ("b", 1)]
    assert (found.top1, found.confusion, found.classes[0].recall) == (None, None, None)
    assert list(found.figures) == ["mAP", "calibration error"]


def test_the_protocol_stands_with_the_figures():
    failed = (Failed("x.mp4", "no picture"),)
    assert measure(evaluation([[0.7, 0.2, 0.1]], [[0]], failed=failed)).line == (
        "top-1 100.0 %, mean class accuracy 100.0 %, calibration error 30.0 %, 1 of 2 videos, "
        "tiny, views 5x1, crop 64 px of short side 64 px, 32 x 2 frames at 30 fps, float32"
    )
    two = measure(evaluation([[0.7, 0.2, 0.1]], [[0]], protocols=(PROTOCOL, PROTOCOL)))
    assert two.protocol.startswith("1 of 1 videos, mean of 2: tiny, views 5x1")
    dense = Protocol("m", "dense", ClipSpec(fps=None), "float32")
    assert str(dense) == "m, views dense, whole pictures of short side 256 px, 32 x 2 frames of the file, float32"
    parts = Protocol("m", "1x3", ClipSpec(frames=8, sampling="segments", fit="contain"), "float16")
    assert "whole pictures in 256 px, 8 frames, one of each part of the video, float16" in str(parts)


def test_nothing_is_measured_of_nothing():
    with pytest.raises(ValueError, match="none of the 1 videos has scores"):
        measure(Evaluation((), torch.zeros(0, 2), torch.zeros(0, 2).bool(), ("a", "b"), False, (), (Failed("x", "y"),)))


@pytest.mark.parametrize("multilabel", [False, True])
def test_predictions_come_back_bit_by_bit(tmp_path, multilabel):
    probs = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    labels = [[number % 3] for number in range(50)]
    made = evaluation(probs.tolist(), labels, ["a|b", "Ünï", "\ud800"], multilabel, failed=(Failed("x", "torn"),))
    write_predictions(made, tmp_path / "p.jsonl")
    read = read_predictions(tmp_path / "p.jsonl")
    assert torch.equal(read.probs, probs)
    assert torch.equal(read.targets, made.targets)
    for name in ("videos", "classes", "multilabel", "protocols", "failed"):
        assert getattr(read, name) == getattr(made, name)
    assert measure(read).line == measure(made).line


HEADER = '{"predictions": 1, "classes": ["a", "b"], "multilabel": false, "protocols": [{"model": "m", "views": "1x1", '
HEADER += '"clip": {"frames": 8}, "precision": "float32"}]}'


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "is empty"),
        (["[]"], r"p.jsonl:1: a file of predictions begins with"),
        (["\u00ff"], r"p.jsonl:1: .*utf-8"),
        (["[" * 100_000], r"p.jsonl:1: .*recursion"),
        (['{"predictions": 1, "multilabel": false}'], r"p.jsonl:1: 'classes' is missing"),
        ([HEADER.replace('"b"', '"a"')], r"p.jsonl:1: classes must be different"),
        ([HEADER.replace('"b"', "7")], r"p.jsonl:1: expected a string, got 7"),
        ([HEADER.replace('{"frames": 8}', "8")], r"p.jsonl:1: protocols must say the clip"),
        ([HEADER.replace('"frames": 8', '"frames": -8')], r"p.jsonl:1: ClipSpec.frames"),
        ([HEADER, '{"video": "x", "labels": ["a"], "scores": [0.5]}'], r"p.jsonl:2: scores is a list of 2"),
        ([HEADER, '{"video": "x", "labels": ["a"], "scores": [0.5, NaN]}'], r"p.jsonl:2: a score is .* got nan"),
        ([HEADER, '{"video": "x", "labels": ["a"], "scores": [0.5, 1e999]}'], r"p.jsonl:2: a score is .* got inf"),
        ([HEADER, '{"video": "x", "labels": ["a"], "scores": [0.5, "1"]}'], r"p.jsonl:2: a score is"),
        ([HEADER, '{"video": "x", "labels": ["c"], "scores": [0.5, 0.5]}'], r"p.jsonl:2: label 'c' is none"),
        ([HEADER, '{"video": "x", "labels": ["a", "b"], "scores": [0.5, 0.5]}'], r"p.jsonl:2: labels is a list of one"),
        ([HEADER, '{"video": "x", "labels": [["a"]], "scores": [0.5, 0.5]}'], r"p.jsonl:2: expected a string"),
        ([HEADER, "{}"], r"p.jsonl:2: 'video' is missing"),
        ([HEADER, "7"], r"p.jsonl:2: "),
        ([HEADER, ""], r"p.jsonl:2: "),
    ],
)
def test_a_damaged_file_of_predictions_is_named_with_its_line(tmp_path, lines, message):
    path = tmp_path / "p.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="latin-1")
    with pytest.raises(ValueError, match=message):
        read_predictions(path)


def test_worst_mistakes_are_wrong_answers_by_score():
    made = evaluation([[0.1, 0.9, 0.0], [0.8, 0.1, 0.1], [0.4, 0.3, 0.3], [0.95, 0.05, 0.0]], [[0], [1], [2], [0]])
    assert [(each.video, each.labels, each.answer) for each in worst_mistakes(made)] == [
        *(("0.mp4", ("a",), "b"), ("1.mp4", ("b",), "a"), ("2.mp4", ("c",), "a"))
    ]
    assert [each.video for each in worst_mistakes(made, 1)] == ["0.mp4"]


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_report_is_six_files_that_agree(tmp_path):
    frames = np.zeros((5, 20, 30, 3), np.uint8)
    frames[2] = 200
    sample = Sample(frames, (1,), fps=30.0)  # the array is called "ndarray"
    made = evaluation(
        [[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1]], [[0], [1], [1]], videos=("0", "1", "ndarray")
    )
    write_report(made, measure(made), tmp_path, [sample])
    assert files_in(tmp_path) == [
        *("confusion.csv", "confusion.png", "per_class.csv", "predictions.jsonl", "report.html", "report.json")
    ]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["top1"] == pytest.approx(2 / 3)
    assert report["worst_mistakes"] == [
        {"video": "ndarray", "labels": ["b"], "answer": "a", "score": pytest.approx(0.6)}
    ]
    assert report["protocols"][0]["views"] == "5x1"
    with (tmp_path / "per_class.csv").open() as file:
        assert [row["recall"] for row in csv.DictReader(file)] == ["1.0", "0.5"]
    assert (tmp_path / "confusion.csv").read_text() == '"label, by row",a,b\na,1,0\nb,1,1\n'
    page = (tmp_path / "report.html").read_text()
    assert "top-1</td><td>66.7 %" in page
    assert page.count("data:image/jpeg;base64,") == page.count("data:image/png;base64,") == 1


def test_a_report_of_many_labels_has_no_confusion(tmp_path):
    made = evaluation([[0.9, 0.1, 0.5], [0.8, 0.6, 0.5]], [[0], []], multilabel=True)
    write_report(made, measure(made), tmp_path)
    assert files_in(tmp_path) == ["per_class.csv", "predictions.jsonl", "report.html", "report.json"]


HOSTILE = ['<script>alert("x")</script>', "$\\frac{$ {0} \n\x00", "=1+1", "\udcff漢字"]


def test_names_are_text_in_every_file(tmp_path):
    failed = (Failed("</td><img src=x onerror=alert(1)>", "{body} <b>"),)
    made = evaluation(
        torch.eye(4).flip(0).tolist(), [[0], [1], [2], [3]], HOSTILE, videos=tuple(HOSTILE), failed=failed
    )
    write_report(made, measure(made), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<b>" not in page
    assert page.count("<img") == 1  # the confusion
    assert "\\udcff" in page
    with (tmp_path / "per_class.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["name"] == HOSTILE[0]


@pytest.mark.parametrize("count", [2, 30, pytest.param(400, marks=pytest.mark.slow)])
def test_the_picture_of_a_confusion_has_room_for_its_names(tmp_path, count):
    path = tmp_path / "c.png"
    path.write_bytes(confusion_png(torch.eye(count, dtype=torch.long), [f"class {i}" for i in range(count)]))
    with Image.open(path) as picture:
        assert picture.width == picture.height
        assert {2: 400, 30: 1150, 400: 4800}[count] == picture.width
