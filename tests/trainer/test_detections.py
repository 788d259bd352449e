"""Detections come back from their file as they were, in AVA's form and with names; what is no such file is named."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slowfast_hub.trainer import detections
from slowfast_hub.trainer.detections import read_detections, write_detections
from slowfast_hub.trainer.frame_map import LabelledBoxes
from slowfast_hub.trainer.keyframes import KeyFrame

CLASSES = ("stand", 'watch (e.g., "TV")', "sit")
FRAMES = [
    KeyFrame("/x/-5KQ66BBWC4.mkv", 2.0, (), title="-5KQ66BBWC4", time="0902"),
    KeyFrame("/x/-5KQ66BBWC4.mkv", 3.0, (), title="-5KQ66BBWC4", time="0903"),
    KeyFrame("folder, one/b.mp4", 12.25, ()),
]
FOUND = LabelledBoxes(
    np.array([0, 0, 2, 0]),
    np.array([0, 1, 2, 2]),
    np.array([[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], [0.25, 0.5, 0.75, 1]]),
    np.array([0.5, 0.123456789, 1e-8, 1]),
)
AVA = """-5KQ66BBWC4,0902,0.1,0.2,0.3,0.4,1,0.5
-5KQ66BBWC4,0902,0.1,0.2,0.3,0.4,2,0.123456789
"folder, one/b.mp4",12.25,0,0,1,1,3,1e-08
-5KQ66BBWC4,0902,0.25,0.5,0.75,1,3,1
"""


def test_ava_form_has_numbers_from_1_and_its_own_seconds(tmp_path):
    write_detections(tmp_path / "d.csv", FOUND, FRAMES)
    assert (tmp_path / "d.csv").read_text() == AVA


@pytest.mark.parametrize("classes", [None, CLASSES])
@pytest.mark.parametrize("lines", [1, 2, 100])
def test_a_file_gives_back_what_was_written(tmp_path, monkeypatch, classes, lines):
    monkeypatch.setattr(detections, "LINES", lines)
    write_detections(tmp_path / "d.csv", FOUND, FRAMES, classes)
    read = read_detections(tmp_path / "d.csv", FRAMES, CLASSES)
    found = read.boxes
    assert (read.beside, read.left_out) == ((), 0)
    for name in ("frames", "classes", "boxes", "scores"):
        np.testing.assert_array_equal(getattr(found, name), getattr(FOUND, name))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.floats(0, 1, width=32)), max_size=9))
def test_scores_of_float32_come_back(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("d") / "d.csv"
    found = LabelledBoxes(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.tile([[0.0, 0.0, 1.0, 1.0]], (len(rows), 1)),
        np.array([row[2] for row in rows]),
    )
    write_detections(file, found, FRAMES, CLASSES)
    back = read_detections(file, FRAMES, CLASSES).boxes
    np.testing.assert_array_equal(back.scores.astype(np.float32), found.scores.astype(np.float32))
    np.testing.assert_array_equal(back.frames, found.frames)


@pytest.mark.parametrize("lines", [1, 100])
def test_other_moments_of_the_videos_are_frames_without_truth(tmp_path, monkeypatch, lines):
    monkeypatch.setattr(detections, "LINES", lines)
    more = "v,0902,0,0,1,1,1,0.5\n-5KQ66BBWC4,904,0,0,1,1,1,0.5\n-5KQ66BBWC4,0905,0,0,1,1,1,0.5\n"
    (tmp_path / "d.csv").write_text(more + AVA + "-5KQ66BBWC4,904.0,0,0,1,1,2,0.25\n")
    read = read_detections(tmp_path / "d.csv", FRAMES, CLASSES, excluded={("-5KQ66BBWC4", 905_000)})
    assert read.boxes.frames.tolist() == [3, 0, 0, 2, 0, 3]
    assert [(frame.title, frame.at_s) for frame in read.beside] == [("-5KQ66BBWC4", 904.0)]
    assert read.left_out == 2  # of v, and the excluded one
    write_detections(tmp_path / "again.csv", read.boxes, [*FRAMES, *read.beside])
    assert (tmp_path / "again.csv").read_text() == (
        "-5KQ66BBWC4,904,0,0,1,1,1,0.5\n" + AVA + "-5KQ66BBWC4,904,0,0,1,1,2,0.25\n"
    )


HEADER = "video,time,x1,y1,x2,y2,label,score\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v,1,0,0,1,1,1\n", r"d.csv:1: 7 fields with commas between, where 8 are expected"),
        (
            "v,1,0,0,1,1,stand,0.5\n",
            r"d.csv:1: label 'stand' is no whole number; .*or its name where this is the first line",
        ),
        (HEADER + "v,1,0,0,1,1,lie,0.5\n", r"d.csv:2: class 'lie' is none of the set: stand"),
        ("v,1,0,0,1,1,0,0.5\n", "a class is not in 1..3: 0"),
        ("v,1,0,0,1,1,4,0.5\n", "a class is not in 1..3: 4"),
        ("v,1,0.5,0,0.2,1,1,0.5\n", "box 0 is reversed"),
        ("v,1,0,0,nan,1,1,0.5\n", "box 0 has a box or a score that is not finite"),
        ("v,inf,0,0,1,1,1,0.5\n", "a time is not a number up to 1e\\+09 seconds"),
        ("v,1e306,0,0,1,1,1,0.5\n", "a time is not a number up to 1e\\+09 seconds"),
        (AVA + "\nv,1,0,0,1,1,9,0.5\n" + AVA, r"d.csv:6: a class is not in 1..3: 9"),
        ("\x80\x05\x95", "d.csv:1: 1 fields"),
        (HEADER.replace(",", ";"), "d.csv:1: 1 fields"),
        (HEADER.replace("label", "action"), "d.csv:1: time 'time' is no number"),
        ("v" * 70_000, "d.csv: a line of more than 65,536 characters"),
    ],
)
def test_what_is_no_file_of_detections_is_named(tmp_path, text, message):
    (tmp_path / "d.csv").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=message):
        read_detections(tmp_path / "d.csv", FRAMES, CLASSES)


@pytest.mark.parametrize("begin", ["\ufeff", "\ufeffVideo, Time, X1, Y1, X2, Y2, Label, Score\r\n"])
def test_a_table_of_a_spreadsheet_is_read(tmp_path, begin):
    label = "sit" if "Label" in begin else "3"
    (tmp_path / "d.csv").write_text(f"{begin}-5KQ66BBWC4,902,0,0,1,1,{label},0.5\r\n", encoding="utf-8")
    found = read_detections(tmp_path / "d.csv", FRAMES, CLASSES).boxes
    assert (found.frames.tolist(), found.classes.tolist()) == ([0], [2])


def test_an_empty_file_has_no_detections(tmp_path):
    (tmp_path / "d.csv").write_text("")
    assert len(read_detections(tmp_path / "d.csv", FRAMES, CLASSES).boxes) == 0


def test_a_device_and_an_endless_line_are_no_files_of_detections(tmp_path):
    with pytest.raises(ValueError, match="/dev/zero: no such file"):
        read_detections("/dev/zero", FRAMES, CLASSES)
    with (tmp_path / "d.csv").open("wb") as file:
        file.truncate(1 << 30)  # of zeros that take no room on the disk
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"d.csv: a line of more than 65,536 characters"):
        read_detections(tmp_path / "d.csv", FRAMES, CLASSES)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 20
