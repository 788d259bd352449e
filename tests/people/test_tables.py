"""Tables of boxes: what was written is what is read, by whatever names and separators, and errors name their line."""

import csv
import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slowfast_hub.people.rows import BoxRow
from slowfast_hub.people.tables import are_boxes, boxes_by_moment, read_boxes


@pytest.fixture
def table(tmp_path):
    """table(text, name="boxes.csv"): the path of a file with that text."""

    def write(text: str, name: str = "boxes.csv") -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def rows(path, **how) -> list[tuple]:
    return [
        (row.video, row.time_s, row.box, row.label, row.person, row.score) for row in read_boxes(path, **how).rows()
    ]


WANTED = [
    ("a.mp4", 1.5, (0.1, 0.2, 0.3, 0.4), "run", "ann", 0.5),
    ("b.mp4", 2.0, (0.0, 0.0, 1.0, 1.0), "hand up", "", None),
]


@pytest.mark.parametrize(
    "text",
    [
        "video,time,x1,y1,x2,y2,label,person,score\na.mp4,1.5,.1,.2,.3,.4,run,ann,0.5\nb.mp4,2,0,0,1,1,hand up,,\n",
        "Video\tTimestamp\txmin\tymin\txmax\tymax\tAction\tTrack ID\tConfidence\n\n"
        "a.mp4\t1.5\t.1\t.2\t.3\t.4\trun\tann\t0.5\nb.mp4\t2\t0\t0\t1\t1\thand up\t\t\n",
        "score;person;label;y2;x2;y1;x1;second;path\n0.5;ann;run;.4;.3;.2;.1;1.5;a.mp4\n;;hand up;1;1;0;0;2;b.mp4\n",
        'video, time, x1, y1, x2, y2, label, person, score\n"a.mp4", 1.5, .1, .2, .3, .4, "run", ann, 0.5\n'
        "b.mp4, 2, 0, 0, 1, 1, hand up, , \n",
        "\ufeffvideo|time|x1|y1|x2|y2|label|person|score\na.mp4|1.5|.1|.2|.3|.4|run|ann|.5\n"
        "b.mp4|2|0|0|1|1|hand up||\n",
    ],
)
def test_names_order_and_separators_of_columns_are_found_out(text, table):
    assert rows(table(text)) == WANTED
    assert are_boxes(table(text))


def test_lines_are_those_of_the_file(table):
    read = read_boxes(table("\nvideo time x1 y1 x2 y2\n\na 1 0 0 1 1\n\nb 2 0 0 1 1\n"))
    assert [row.where for row in read.rows()] == ["boxes.csv:4", "boxes.csv:6"]


def test_a_row_without_a_box_is_a_moment_with_nobody(table):
    path = table("video,time,x1,y1,x2,y2,label\na,1,,,,,\na,2,0,0,1,1,run\n")
    assert [row[2] for row in rows(path)] == [None, (0, 0, 1, 1)]
    assert [len(moment.boxes) for moment in boxes_by_moment(read_boxes(path))] == [0, 1]


def test_boxes_alone_are_a_table_of_one_video(table):
    read = read_boxes(table("time,x1,y1,x2,y2,score,person\n2,10,20,30,40,0.5,b\n1,0,0,9,9,0.25,a\n2,1,2,3,4,,c\n"))
    first, second = boxes_by_moment(read, "any/video.mp4")
    assert (first.time_s, second.time_s, read.unit) == (1, 2, "px")
    assert second.boxes.tolist() == [[10, 20, 30, 40], [1, 2, 3, 4]]
    assert (second.scores.tolist(), second.people) == ([0.5, 1.0], ("b", "c"))


def test_a_person_with_two_labels_is_one_box_of_a_moment(table):
    read = read_boxes(table("video,time,x1,y1,x2,y2,label\na,1,0,0,1,1,run\na,1,0,0,1,1,wave\na,1,0,0,.5,1,run\n"))
    (moment,) = boxes_by_moment(read)
    assert moment.boxes.tolist() == [[0, 0, 1, 1], [0, 0, 0.5, 1]]
    assert moment.scores is None


AVA = "-5KQ,0902,0.077,0.151,0.283,0.811,80,1\n-5KQ,0902,0.077,0.151,0.283,0.811,9,1\nxyz,1798,0.2,0.1,0.5,0.9,12,0\n"


def test_avas_files_are_known_without_a_header(table):
    read = read_boxes(table(AVA))
    assert (read.form, read.unit, read.scores) == ("AVA", "normalised", None)
    assert list(read.labels) == ["80", "9", "12"]
    assert list(read.people) == ["1", "1", "0"]
    assert (list(read.times), read.times_s.tolist()) == (["0902", "0902", "1798"], [902, 902, 1798])
    assert read_boxes(table("a,902,0.1,0.1,0.2,0.2,3\n")).people == [""]


def test_avas_files_may_begin_with_a_moment_without_people(table):
    read = read_boxes(table("a,0902,,,,,\na,0903,0.1,0.1,0.2,0.2,3\n"))
    assert (read.form, read.occupied.tolist()) == ("AVA", [False, True])


def test_boxes_that_a_detector_found_have_their_score_last(table):
    read = read_boxes(table("a,0902,0.1,0.1,0.2,0.2,,0.9\na,0903,0.1,0.1,0.2,0.2,-1,0.8123\n"))
    assert read.scores.tolist() == [0.9, 0.8123]
    assert (list(read.labels), list(read.people)) == (["", ""], ["", ""])


def test_the_unit_is_found_over_the_whole_table_and_an_answer_overrules(table):
    path = table("time,x1,y1,x2,y2\n1,0,0,1,1\n2,0,0,2.5,1\n")
    assert read_boxes(path).unit == "px"
    assert read_boxes(path, unit="normalised").unit == "normalised"
    with pytest.raises(ValueError, match="unit must be one of 'px', 'normalised'; got 'percent'"):
        read_boxes(path, unit="percent")


@pytest.mark.parametrize("every_s", [0, 1e-300, float("nan"), float("inf")])
def test_moments_that_are_no_milliseconds_apart_are_refused(every_s, table):
    with pytest.raises(ValueError, match=r"every_s must be a time from 0\.001 s"):
        read_boxes(table("time,x1,y1,x2,y2\n1,0,0,1,1\n"), every_s=every_s)


def test_frames_become_seconds_by_their_video(table):
    path = table("video,frame,x1,y1,x2,y2\na,30,0,0,1,1\nb,30,0,0,1,1\n")
    read = read_boxes(path, seconds_of=lambda video, frame: frame / {"a": 30, "b": 25}[video])
    assert read.times_s.tolist() == [1.0, 1.2]
    with pytest.raises(ValueError, match=r"boxes.csv: it counts frames, and times are wanted"):
        read_boxes(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "boxes.csv:1: expected a first line"),
        (
            "one two\n",
            "boxes.csv:1: expected a first line that names its columns, time, x1.* without such a line; got one",
        ),
        ("video,time,x1,y1,x2\na,1,0,0,1\n", "boxes.csv:1: expected a first line.*; y2 is missing; got video, time"),
        ("x1,y1,x2,y2\n0,0,1,1\n", "boxes.csv:1: expected a first line.*; time is missing; got x1, y1, x2, y2"),
        ("video,frame,x1,y1,x2,y2\na,30.7,0,0,1,1\n", "boxes.csv:2: a frame is a whole number; got '30.7'"),
        ("video,time,x1,y1,x2,y2\n", "boxes.csv: a first line, and no rows"),
        ("video,time,x1,y1,x2,y2\na,1,0,0,1,1\na,1,0,0,1\n", "boxes.csv:3: 5 fields where the first row has 6"),
        ("video,time,x1,y1,x2,y2\na,1,0,0,1,1\n\na,1,0,x,1,1\n", "boxes.csv:4: a side of a box is a number; got 'x'"),
        ("video,time,x1,y1,x2,y2\na,1,0,0,1,1\na,0:01,0,0,1,1\n", "boxes.csv:3: a time is a number; got '0:01'"),
        ("video,time,x1,y1,x2,y2\na,-1,0,0,1,1\n", "boxes.csv:2: a time is a number from 0 to 1,000,000,000; got '-1'"),
        (
            "video,time,x1,y1,x2,y2\na,1e306,0,0,1,1\n",
            "boxes.csv:2: a time is a number from 0 to 1,000,000,000; got '1e",
        ),
        (
            "video,frame,x1,y1,x2,y2\na,1e300,0,0,1,1\n",
            "boxes.csv:2: a time is a number from 0 to 1,000,000,000; got '1e",
        ),
        ("video,time,x1,y1,x2,y2" + "," * 70_000 + "\n", "boxes.csv: a line of more than 65,536 characters"),
        ("video,time,x1,y1,x2,y2\na,1,0,0,1,1" + "," * 70_000, "boxes.csv: a line of more than 65,536 characters"),
        ("video,time,x1,y1,x2,y2\na,,0,0,1,1\n", "boxes.csv:2: a time is a number from 0 to 1,000,000,000; got ''"),
        ("time,x1,y1,x2,y2,score\n1,0,0,1,1,high\n", "boxes.csv:2: a score is a number; got 'high'"),
        ('time,x1,y1,x2,y2\n1,0,0,1,"1\n', "boxes.csv: cannot be read: unexpected end of data; is a quote left open"),
    ],
)
def test_what_is_no_table_is_named_with_its_line(text, message, table):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        read_boxes(table(text), seconds_of=lambda video, frame: frame / 10)


def test_what_is_no_file_of_boxes_is_refused(table, tmp_path):
    with pytest.raises(ValueError, match="no such file; expected a table, a list, or an export"):
        read_boxes(tmp_path)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match="no such file; expected a table, a list, or an export"):
        read_boxes(tmp_path / "pipe.csv")
    (tmp_path / "large.csv").touch()
    os.truncate(tmp_path / "large.csv", (1 << 29) + 1)
    with pytest.raises(ValueError, match="a file of annotations has at most 536,870,912 here"):
        read_boxes(tmp_path / "large.csv")
    os.truncate(
        tmp_path / "large.csv", 1 << 29
    )  # one line of half a gigabyte, of which no more than its beginning is read
    with pytest.raises(ValueError, match="a line of more than 65,536 characters"):
        read_boxes(tmp_path / "large.csv")
    (tmp_path / "proposals.pkl").write_bytes(b"\x80\x02}.")
    with pytest.raises(ValueError, match="a pickle, and no table"):
        read_boxes(tmp_path / "proposals.pkl")
    (tmp_path / "latin.csv").write_bytes("time,x1,y1,x2,y2,label\n1,0,0,1,1,é\n".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8"):
        read_boxes(tmp_path / "latin.csv")
    assert not are_boxes(table("a.mp4,run\nb.mp4,walk\n"))
    assert not are_boxes(table("video,label,start,end\na.mp4,run,0,1\n"))


MANY = "video,time,x1,y1,x2,y2\nfilm.mp4,1,0,0,1,1\nfilms/other.mp4,2,0,0,1,1\nthird,3,0,0,1,1\n"


@pytest.mark.parametrize(
    ("video", "time_s"),
    [("film.mp4", 1), ("there/film.mp4", 1), ("film", 1), ("other.mp4", 2), ("x/third.webm", 3)],
)
def test_a_video_is_found_by_its_name(video, time_s, table):
    assert [moment.time_s for moment in boxes_by_moment(read_boxes(table(MANY)), video)] == [time_s]


def test_of_equal_names_the_one_whose_folders_are_the_same_is_meant(table, tmp_path, monkeypatch):
    rows = ["a/clip.mp4,1", "b/clip.mp4,2", f"{tmp_path}/c/clip.mp4,3", "d/clip.mkv,4", "d/clip.mp4,5"]
    read = read_boxes(table("video,time,x1,y1,x2,y2\n" + "".join(f"{row},0,0,1,1\n" for row in rows)))
    monkeypatch.chdir(tmp_path)
    for video, time_s in (
        ("/x/a/clip.mp4", 1),
        ("b/clip.mp4", 2),
        ("c/clip.mp4", 3),
        ("d/clip.mkv", 4),
        ("d/clip.mp4", 5),
    ):
        assert [moment.time_s for moment in boxes_by_moment(read, video)] == [time_s]
    with pytest.raises(ValueError, match=r"no rows of e/clip.mp4; it has"):
        boxes_by_moment(read, "e/clip.mp4")


def test_a_video_that_is_not_there_is_an_error_with_those_that_are(table):
    read = read_boxes(table(MANY))
    with pytest.raises(ValueError, match=r"no rows of new.mp4; it has film.mp4, films/other.mp4, third"):
        boxes_by_moment(read, "new.mp4")
    with pytest.raises(ValueError, match="which of its videos is meant"):
        boxes_by_moment(read)


SIDE = st.floats(-1e6, 1e6, allow_nan=False)
TEXT = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8).filter(lambda t: t != "-1")
ROWS = st.builds(
    BoxRow,
    video=TEXT,
    time_s=st.floats(0, 1e5),
    box=st.tuples(SIDE, SIDE, SIDE, SIDE) | st.none(),
    label=TEXT | st.just(""),
    person=TEXT | st.just(""),
    score=st.floats(0, 1) | st.none(),
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, min_size=1, max_size=5))
def test_rows_come_back_bit_by_bit(tmp_path, made):
    with (tmp_path / "boxes.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["video", "time", "x1", "y1", "x2", "y2", "label", "person", "score"])
        table.writerows((r.video, r.time_s, *(r.box or [""] * 4), r.label, r.person, r.score) for r in made)
    expected = [(row.video, row.time_s, row.box, row.label, row.person, row.score) for row in made]
    assert rows(tmp_path / "boxes.csv") == expected


def test_some_rows_of_a_table_keep_their_lines(table):
    read = read_boxes(table(AVA)).only(torch.tensor([False, True, True]))
    assert [row.where for row in read.rows()] == ["boxes.csv:2", "boxes.csv:3"]
