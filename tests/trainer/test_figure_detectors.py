"""From boxes to a detector, end to end: what is reached in about two minutes on one core, and by which pathway."""

from dataclasses import fields

import pytest

from slowfast_hub.trainer.figure_detectors import percent, small_set, table, tried
from slowfast_hub.trainer.people_eval import PeopleClass, PeopleMetrics


@pytest.fixture(scope="module")
def found() -> dict[str, PeopleMetrics]:
    people = small_set()
    return {name: tried(name, people) for name in ("Slow-only", "SlowFast")}


def test_a_detector_learns_what_each_of_several_people_does(found):
    """Measured: 0.82 and, with another seed, 0.85. Each class is done by a quarter of the people: chance is 0.26."""
    assert found["SlowFast"].decoded == found["SlowFast"].requested == 240
    assert found["SlowFast"].mean_ap > 0.7


def test_a_fast_pathway_is_what_sees_fast_motion(found):
    """To Slow frames both speeds look alike. Measured: 0.29 with either seed, at most 0.33 of a class."""
    for slow, both in zip(found["Slow-only"].classes, found["SlowFast"].classes):
        assert both.average_precision > slow.average_precision
    assert found["SlowFast"].mean_ap > found["Slow-only"].mean_ap + 0.3


def metrics(*values: float) -> PeopleMetrics:
    classes = tuple(PeopleClass(name, 5, value) for name, value in zip(("wave", "run"), values))
    known = {field.name: 0 for field in fields(PeopleMetrics)}
    return PeopleMetrics(**known | {"people": 10, "classes": classes, "mean_ap": sum(values) / len(values)})


def test_the_table_has_a_row_for_each_class_and_means_over_runs():
    runs = {"Slow-only": [metrics(0.2, 0.4)], "SlowFast": [metrics(0.5, 0.9), metrics(0.7, 0.9)]}
    assert table(runs).splitlines() == [
        "| class | people | Slow-only | SlowFast |",
        "| --- | --- | --- | --- |",
        "| wave | 5 | 20.0 | 60.0 |",
        "| run | 5 | 40.0 | 90.0 |",
        "| mean | 10 | 30.0 | 75.0 |",
    ]
    assert percent(runs["SlowFast"], 1) == "90.0"
