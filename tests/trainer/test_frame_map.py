"""Frame mAP: cases that can be counted by hand, and the figures of the official code."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from official_ava import official_ava

from slowfast_hub.trainer.frame_map import FrameMap, LabelledBoxes, frame_map, overlaps

LEFT, RIGHT = (0.0, 0.0, 0.4, 1.0), (0.5, 0.0, 0.9, 1.0)


def boxes(*rows: tuple, dtype: type = np.float64) -> LabelledBoxes:
    """Of rows (frame, class, box[, score])."""
    return LabelledBoxes(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], dtype).reshape(-1, 4),
        np.array([row[3] if len(row) > 3 else 1 for row in rows], dtype),
    )


def mapped(truth: LabelledBoxes, detections: LabelledBoxes, num_classes: int = 1, **how: object) -> FrameMap:
    return frame_map(truth, detections, num_classes=num_classes, **how)


def test_three_detections_of_two_people():
    truth = boxes((0, 0, LEFT), (1, 0, LEFT))
    found = mapped(truth, boxes((0, 0, LEFT, 0.9), (0, 0, RIGHT, 0.8), (1, 0, LEFT, 0.7)))
    # Right, wrong, right: precision 1 at the first person, 2/3 at the second.
    assert found.mean_ap == pytest.approx((1 + 2 / 3) / 2)
    assert (found.average_precision.tolist(), found.truths.tolist()) == ([found.mean_ap], [2])


def test_precision_is_the_best_at_which_so_many_are_found():
    truth = boxes(*((frame, 0, LEFT) for frame in range(3)))
    rows = [(0, RIGHT, 0.9), (0, LEFT, 0.8), (1, LEFT, 0.7), (2, RIGHT, 0.6)]
    found = mapped(truth, boxes(*((frame, 0, box, score) for frame, box, score in rows)))
    # Wrong, right, right, wrong: precision 1/2, then 2/3, which stands for both; the third is never found.
    assert found.mean_ap == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_a_second_detection_of_one_person_is_wrong():
    found = mapped(boxes((0, 0, LEFT), (1, 0, LEFT)), boxes((0, 0, LEFT, 0.9), (0, 0, LEFT, 0.8), (1, 0, LEFT, 0.7)))
    assert found.mean_ap == pytest.approx((1 + 2 / 3) / 2)


def test_the_most_overlapped_person_counts_even_if_taken():
    wide = (0.0, 0.0, 0.5, 1.0)  # 0.8 of LEFT, and 0.6 of NEAR
    near = (0.2, 0.0, 0.5, 1.0)
    assert overlaps(np.array([wide, wide]), np.array([LEFT, near])) == pytest.approx([0.8, 0.6])
    found = mapped(boxes((0, 0, LEFT), (0, 0, near)), boxes((0, 0, LEFT, 0.9), (0, 0, wide, 0.8)))
    assert found.mean_ap == 0.5  # NEAR would have been free


def test_of_two_people_in_one_place_only_the_first_can_be_found():
    found = mapped(boxes((0, 0, LEFT), (0, 0, LEFT)), boxes((0, 0, LEFT, 0.9), (0, 0, LEFT, 0.8)))
    assert found.mean_ap == 0.5


def test_a_half_is_enough_and_less_is_not():
    half, less = (0.0, 0.0, 0.5, 1.0), (0.0, 0.0, 0.499, 1.0)
    assert mapped(boxes((0, 0, (0.0, 0.0, 1.0, 1.0))), boxes((0, 0, half, 0.9))).mean_ap == 1
    assert mapped(boxes((0, 0, (0.0, 0.0, 1.0, 1.0))), boxes((0, 0, less, 0.9))).mean_ap == 0
    assert mapped(boxes((0, 0, (0.0, 0.0, 1.0, 1.0))), boxes((0, 0, less, 0.9)), iou=0.4).mean_ap == 1


@pytest.mark.parametrize(("order", "right"), [("file", 1 / 2), ("score", 1)])
def test_who_takes_a_person_is_the_first_in_the_file_or_that_with_the_highest_score(order, right):
    detections = boxes((0, 0, LEFT, 0.3), (0, 0, LEFT, 0.9))
    assert mapped(boxes((0, 0, LEFT)), detections, order=order).mean_ap == right


def test_detections_of_a_frame_need_not_stand_together():
    truth = boxes((0, 0, LEFT), (1, 0, LEFT))
    rows = [(0, 0, LEFT, 0.5), (1, 0, LEFT, 0.9), (0, 0, LEFT, 0.7)]
    together = [rows[0], rows[2], rows[1]]
    assert mapped(truth, boxes(*rows)).mean_ap == mapped(truth, boxes(*together)).mean_ap == pytest.approx(5 / 6)


def test_what_nobody_labelled_is_wrong():
    truth = boxes((0, 0, LEFT), (0, 1, RIGHT))
    right = (0, 0, LEFT, 0.5)
    for wrong in [(0, 0, RIGHT, 0.9), (1, 0, LEFT, 0.9), (9, 0, LEFT, 0.9)]:  # the box, a frame without truth
        assert mapped(truth, boxes(wrong, right), 2).average_precision.tolist() == [0.5, 0]


def test_a_class_without_truth_has_no_figure_and_one_without_detections_has_zero():
    found = mapped(boxes((0, 0, LEFT), (0, 2, LEFT)), boxes((0, 0, LEFT, 0.9), (0, 1, LEFT, 0.9)), 3)
    np.testing.assert_equal(found.average_precision, [1, np.nan, 0])
    assert (found.mean_ap, found.truths.tolist()) == (0.5, [1, 0, 1])
    assert np.isnan(mapped(boxes(), boxes()).mean_ap)
    assert mapped(boxes((0, 0, LEFT)), boxes()).mean_ap == 0


def test_classes_that_are_not_evaluated_count_nowhere():
    found = mapped(boxes((0, 0, LEFT), (0, 1, LEFT)), boxes((0, 1, LEFT, 0.9)), 2, evaluated=(1,))
    np.testing.assert_equal(found.average_precision, [np.nan, 1])
    assert (found.mean_ap, found.truths.tolist()) == (1, [0, 1])


def test_a_detection_without_area_is_dropped():
    line = (0.1, 0.1, 0.1, 0.9)
    assert mapped(boxes((0, 0, LEFT)), boxes((0, 0, line, 0.9), (0, 0, LEFT, 0.5))).mean_ap == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: boxes((0, 0, (0.5, 0.5, 0.2, 0.2))), "box 0 is reversed; boxes are x1, y1, x2, y2"),
        (lambda: boxes((0, 0, LEFT), (0, 0, LEFT, float("nan"))), "box 1 has a box or a score that is not finite"),
        (lambda: boxes((-1, 0, LEFT)), "one is negative"),
        (lambda: LabelledBoxes(np.zeros(2, int), np.zeros(2, int), np.zeros((2, 5)), np.ones(2)), r"got .*\(2, 5\)"),
        (lambda: mapped(boxes((0, 1, LEFT)), boxes()), r"a truth class is not in 0..0: 1"),
        (lambda: mapped(boxes(), boxes((0, 7, LEFT))), r"a detected class is not in 0..0: 7"),
        (lambda: mapped(boxes(), boxes(), evaluated=(-1,)), r"an evaluated class is not in 0..0: -1"),
        (lambda: mapped(boxes(), boxes(), order="best"), "order must be one of 'file', 'score'"),
    ],
)  # fmt: skip
def test_what_is_impossible_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("case", [0, 1, 2])
def test_the_official_figures(shared, case):
    """The third case has equal scores, which numpy sorts so with AVX2 or AVX-512 alone."""
    record = json.loads((shared / "golden" / "ava_map.json").read_text(encoding="utf-8"))["cases"][case]
    known = {"AVX2", "AVX512_SKX", "X86_V3", "X86_V4"}
    if case == 2 and not known & {*np.show_config(mode="dicts")["SIMD Extensions"].get("found", ())}:
        pytest.skip("numpy's sort on this processor leaves equal scores in another order")
    excluded, frames = {tuple(row) for row in record["excluded"]}, {}

    def read(rows: list) -> LabelledBoxes:
        kept = [row for row in rows if tuple(row[:2]) not in excluded]
        numbers = [frames.setdefault(tuple(row[:2]), len(frames)) for row in kept]
        return boxes(*((number, row[6] - 1, row[2:6], *row[7:]) for number, row in zip(numbers, kept)))

    evaluated = tuple(label - 1 for label in record["evaluated_classes"])
    found = mapped(read(record["groundtruth"]), read(record["detections"]), 80, evaluated=evaluated)
    assert found.mean_ap == pytest.approx(record["expected"]["mAP"], abs=1e-12)
    for label in record["evaluated_classes"]:
        expected = record["expected"][f"class{label}"]
        value = found.average_precision[label - 1]
        assert np.isnan(value) if expected is None else value == pytest.approx(expected, abs=1e-12)


def plain(truth: LabelledBoxes, detections: LabelledBoxes, label: int) -> float:
    """The rules in plain loops, of scores without ties."""
    people = [row for row in range(len(truth)) if truth.classes[row] == label]
    taken, marks = set(), []
    for row in range(len(detections)):
        if detections.classes[row] != label:
            continue
        here = [person for person in people if truth.frames[person] == detections.frames[row]]
        ious = [float(overlaps(detections.boxes[[row]], truth.boxes[[person]])[0]) for person in here]
        best = int(np.argmax(ious)) if here else -1
        hit = bool(here) and ious[best] >= 0.5 and here[best] not in taken
        taken |= {here[best]} if hit else set()
        marks.append((-detections.scores[row], hit))
    hits = [hit for _, hit in sorted(marks)]
    precisions = [sum(hits[: rank + 1]) / (rank + 1) for rank in range(len(hits))]
    return sum(max(precisions[rank:]) for rank, hit in enumerate(hits) if hit) / len(people) if people else np.nan


GRID = st.integers(0, 3).map(lambda number: number / 4)
BOX = st.tuples(GRID, GRID, GRID, GRID).map(
    lambda box: (box[0], box[1], box[0] + box[2] + 0.25, box[1] + box[3] + 0.25)
)
ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), BOX), max_size=12)


@settings(max_examples=200, deadline=None)
@given(ROWS, ROWS, st.randoms(use_true_random=False))
def test_any_boxes_get_what_plain_loops_give(people, found, random):
    scores = random.sample(range(1000), len(found))
    truth, detections = boxes(*people), boxes(*((*row, score / 1000) for row, score in zip(found, scores)))
    value = mapped(truth, detections, 3)
    np.testing.assert_allclose(value.average_precision, [plain(truth, detections, label) for label in range(3)])


@pytest.mark.parametrize("seed", range(20))
def test_the_official_code_gives_the_same_with_many_equal_scores(seed, tmp_path, monkeypatch):
    official = official_ava()
    if official is None:
        pytest.skip("mmaction2 is not installed")
    random = np.random.default_rng(seed)
    count, labels = 12, 5

    def rows(number: int) -> list[tuple]:
        corners = random.integers(0, 6, (number, 2, 2)).cumsum(1) / 8 + [[0, 0], [1 / 8, 1 / 8]]
        marks = random.integers(0, 4, number) / 4
        classes = random.integers(0, labels, number)
        return [(0, int(label), tuple(box.ravel()), mark) for label, box, mark in zip(classes, corners, marks)]

    # As that code has it: float32, only frames with truth, and every class is detected somewhere.
    people = [(frame, *row[1:3]) for frame in range(count) for row in rows(6)]
    found = [(frame, *row[1:]) for frame in range(count) for row in rows(14)]
    names = {"truth": people, "found": found}
    for name, lines in names.items():
        text = [f"v,{frame},{','.join(map(repr, map(float, box)))},{label + 1}{''.join(f',{s}' for s in score)}\n"
                for frame, label, box, *score in lines]  # fmt: skip
        (tmp_path / f"{name}.csv").write_text("".join(text))
    label_map = "".join(f'item {{\n  name: "{label}"\n  id: {label + 1}\n}}\n' for label in range(labels))
    (tmp_path / "labels.pbtxt").write_text(label_map)
    monkeypatch.setattr(official.multiprocessing, "Pool", lambda processes: Serial)
    theirs = {}
    real = official.metrics.compute_average_precision
    monkeypatch.setattr(
        official.metrics, "compute_average_precision", lambda *given: theirs.setdefault(len(theirs), real(*given))
    )
    overall = official.ava_eval(
        tmp_path / "found.csv", "mAP", tmp_path / "labels.pbtxt", tmp_path / "truth.csv", None, verbose=False
    )["overall"]
    ours = mapped(boxes(*people, dtype=np.float32), boxes(*found, dtype=np.float32), labels, order="score")
    assert sorted(theirs.values()) == pytest.approx(sorted(ours.average_precision), abs=1e-9)
    assert ours.mean_ap == pytest.approx(overall, abs=1e-9)


class Serial:
    """In the place of a pool of 32 processes."""

    map = staticmethod(lambda work, items: list(map(work, items)))
