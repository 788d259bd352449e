"""Reports of evaluations of people: what is in them, and that names stay text."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from slowfast_hub.trainer.evaluate import Failed
from slowfast_hub.trainer.frame_map import LabelledBoxes
from slowfast_hub.trainer.keyframes import KeyFrame, Person
from slowfast_hub.trainer.people_eval import PeopleEvaluation, measure_people, truth_of
from slowfast_hub.trainer.people_report import most_frequent_first, per_class_png, write_people_report

BOX, OTHER = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
CLASSES = ("rare", "<b>often</b>", "$nobody$")
FRAMES = (
    KeyFrame("v.mp4", 1.0, (Person(BOX, (1,)), Person(OTHER, (0, 1)))),
    KeyFrame("v.mp4", 2.0, (Person(BOX, (1,)),)),
)


def evaluation(name: str = "_$a$_", **changes: object) -> PeopleEvaluation:
    """Class 1 is found in two of three places, and nothing else."""
    found = LabelledBoxes(np.array([0, 1]), np.array([1, 1]), np.array([BOX, BOX]), np.array([0.9, 0.8]))
    made = PeopleEvaluation(name, FRAMES, truth_of(FRAMES), found, CLASSES, (), f"{name}, as they are")
    return replace(made, **changes)


def test_figures_of_three_people_in_two_moments():
    metrics = measure_people(evaluation(failed=(Failed("w.mp4 at 1 s", "torn"),)))
    assert [(each.people, each.average_precision) for each in metrics.classes] == [(1, 0), (3, 2 / 3), (0, None)]
    assert metrics.mean_ap == pytest.approx((0 + 2 / 3) / 2)
    assert most_frequent_first(metrics) == [1, 0]
    assert metrics.line == (
        "mAP 33.3 % at IoU 0.5 over 2 of 3 classes, 2 of 3 key frames, 3 people, _$a$_, as they are"
    )
    nobody = measure_people(evaluation(evaluated=(2,)))
    assert nobody.line.startswith("no mAP at IoU 0.5 over 0 of 1 classes")
    with pytest.raises(ValueError, match="none of the 1 key frames has scores"):
        measure_people(evaluation(frames=(), failed=(Failed("w", "torn"),)))


def test_names_are_text_in_the_page(tmp_path):
    failed = (Failed("<i>w.mp4", "torn & gone"),)
    run = evaluation(failed=failed)
    write_people_report([run], [measure_people(run)], tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "&lt;b&gt;often&lt;/b&gt;" in page
    assert "<td>&lt;i&gt;w.mp4</td><td>torn &amp; gone</td>" in page
    assert "<td>rare</td><td>1</td><td>0.000</td>" in page
    assert page.index("&lt;b&gt;often") < page.index("<td>rare") < page.index("<td>$nobody$</td><td>0</td><td>-</td>")
    (told,) = json.loads((tmp_path / "metrics.json").read_text())
    assert told["failed"] == [{"video": "<i>w.mp4", "reason": "torn & gone"}]
    assert (tmp_path / "detections.csv").read_text().splitlines()[0] == "video,time,x1,y1,x2,y2,label,score"


def test_a_set_of_which_some_classes_count_gets_detections_in_avas_form(tmp_path):
    runs = [evaluation(evaluated=(0, 1)), evaluation("b", evaluated=(0, 1))]
    write_people_report(runs, [*map(measure_people, runs)], tmp_path)
    for number in (1, 2):
        lines = (tmp_path / f"detections_{number}.csv").read_text().splitlines()
        assert lines == ["v.mp4,1,0,0,0.5,1,2,0.9", "v.mp4,2,0,0,0.5,1,2,0.8"]


def test_detections_at_moments_that_are_no_key_frames_are_written_too(tmp_path):
    run = evaluation(frames=FRAMES[:1], truth=truth_of(FRAMES[:1]), beside=(KeyFrame("v.mp4", 7.5, (), title="v"),))
    write_people_report([run], [measure_people(run)], tmp_path)
    assert (tmp_path / "detections.csv").read_text().splitlines()[-1].startswith("v,7.5,")


def test_a_picture_of_80_classes_of_two_networks_is_wide():
    frames = (KeyFrame("v.mp4", 1.0, (Person(BOX, tuple(range(80))),)),)
    found = LabelledBoxes.joined([])
    names = tuple(f"class {label}" for label in range(80))
    made = [PeopleEvaluation(n, frames, truth_of(frames), found, names, (), n) for n in ("Slow-only", "SlowFast")]
    with Image.open(io.BytesIO(per_class_png([*map(measure_people, made)]))) as picture:
        assert picture.size == (2150, 550)


def test_evaluations_of_other_classes_have_no_common_report(tmp_path):
    runs = [evaluation(), evaluation("b", evaluated=(1,))]
    with pytest.raises(ValueError, match="of different classes"):
        write_people_report(runs, [*map(measure_people, runs)], tmp_path)
