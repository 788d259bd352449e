"""Tables and lists: what was written is what is read, and what cannot be is named with its line."""

import csv
import json
import math
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slowfast_hub.trainer.formats import first_rows, read_videos

NAMES = ("a.mp4", "b c.avi", "ü.webm", "d.mkv")


@pytest.fixture
def table(tmp_path):
    """table(text, name="train.csv"): a file beside a few videos."""
    for name in NAMES:
        (tmp_path / name).touch()

    def write(text: str | bytes, name: str = "list.csv"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / name

    return write


def read(path, **how):
    """{video: (class names, start, end, part)} of a file; nothing is split off."""
    found = read_videos(path, val_share=0, **how)
    return {
        sample.video.name: (
            "|".join(found.classes[label] for label in sample.labels),
            sample.start_s,
            sample.end_s,
            part,
        )
        for part in ("train", "val", "test")
        for sample in getattr(found, part)
    }


PLAIN = {"a.mp4": ("run", None, None, "train"), "b c.avi": ("sit down", None, None, "train")}


@pytest.mark.parametrize(
    "text",
    [
        "video,label\na.mp4,run\nb c.avi,sit down\n",
        "\ufeffLabel;File Name\r\nrun;a.mp4\r\nsit down;b c.avi\r\n",
        "path\tclass\na.mp4\trun\n\nb c.avi\tsit down",
        "a.mp4|run\nb c.avi|sit down\n",
        "run,a.mp4\nsit down,b c.avi\n",
        "a.mp4 run\nb c.avi sit down\n",
        'a.mp4 run\n"b c.avi" "sit down"\n',
        '"a.mp4","run"\n"b c.avi","sit down"\n',
        "clip , action\n a.mp4 , run\n b c.avi , sit down\n",
    ],
)
def test_any_separator_with_or_without_a_header(table, text):
    assert read(table(text)) == PLAIN


def test_json_lines_with_numbers_and_lists(table):
    lines = [{"video": "a.mp4", "label": "run", "start": 1}, {"video": "ü.webm", "label": "sit", "start_s": None}]
    path = table("\n".join(map(json.dumps, lines)), "list.jsonl")
    assert read(path) == {"a.mp4": ("run", 1.0, None, "train"), "ü.webm": ("sit", None, None, "train")}
    several = table('{"file": "a.mp4", "labels": ["run", "sit"]}\n{"file": "d.mkv", "labels": []}', "list.jsonl")
    assert read(several) == {"a.mp4": ("run|sit", None, None, "train"), "d.mkv": ("", None, None, "train")}


def test_parts_of_videos_and_of_the_set(table):
    text = "video,begin,end,label,subset,who\na.mp4,0.5,2,run,training,ann\na.mp4,2,,sit,validation,bob\n"
    found = read_videos(table(text), group_from="who")
    assert [(s.start_s, s.end_s, s.group, s.where) for s in found.train] == [(0.5, 2.0, "ann", "list.csv:2")]
    assert [(s.start_s, s.end_s, s.group, s.where) for s in found.val] == [(2.0, None, "bob", "list.csv:3")]
    assert first_rows(found)[1][1].endswith("a.mp4 [2 s to its end]")


def test_kinetics_lists_are_the_parts_of_a_folder(table, tmp_path):
    table("a.mp4 0\nb c.avi 2\nd.mkv 1\n", "train.csv")
    table("ü.webm 2\n", "val.csv")
    found = read_videos(tmp_path)
    assert found.classes == ("0", "1", "2")
    assert [sample.labels for sample in (*found.train, *found.val)] == [(0,), (2,), (1,), (2,)]
    assert found.val[0].where == "val.csv:1"


def test_val_names_the_other_part(table):
    train, val = table("a.mp4,run\nd.mkv,sit\n"), table("b c.avi,sit\n", "other.csv")
    found = read_videos(train, val=val)
    assert (len(found.train), len(found.val), found.val[0].labels) == (2, 1, (1,))
    with pytest.raises(ValueError, match=r"other\.csv:2: is of the test part"):
        read_videos(train, val=table("video,label,split\na.mp4,run,test\n", "other.csv"))


def test_lists_of_mmaction2_of_videos_and_of_frames(tmp_path):
    for name, frames in (("x/one", 3), ("x/two", 2)):
        (tmp_path / "rawframes" / name).mkdir(parents=True)
        for number in range(1, frames + 1):
            (tmp_path / "rawframes" / name / f"img_{number:05d}.jpg").touch()
    path = tmp_path / "set_train_list_rawframes.txt"
    path.write_text("x/one 3 1\nx/two 2 0\n")
    found = read_videos(path, videos=tmp_path / "rawframes", val_share=0, fps=15.0)
    assert [(sample.video.name, sample.labels, sample.fps) for sample in found.train] == [
        ("one", (1,), 15.0),
        ("two", (0,), 15.0),
    ]
    (tmp_path / "rawframes/x/two/flow_x_00001.jpg").touch()
    with pytest.raises(ValueError, match=r"rawframes\.txt:2: 2 frames, but .* has 3 images"):
        read_videos(path, videos=tmp_path / "rawframes")


def test_numbers_from_1_and_with_gaps_become_classes_and_keep_their_names(table):
    found = read_videos(table("a.mp4 2\nd.mkv 1\n"), val_share=0)
    assert (found.classes, [s.labels for s in found.train]) == (("1", "2"), [(1,), (0,)])
    assert any(note.startswith("2 labels from 1 to 2 become classes 0 to 1;") for note in found.notes)
    gaps = read_videos(table("a.mp4 10\nd.mkv 9\nb c.avi 0\n"), val_share=0)
    assert (gaps.classes, [s.labels for s in gaps.train]) == (("0", "9", "10"), [(2,), (1,), (0,)])
    assert any("with gaps" in note for note in gaps.notes)
    with pytest.raises(ValueError, match=r"list\.csv:2: label -1; numbers of classes begin with 0 or 1"):
        read_videos(table("a.mp4 0\nd.mkv -1\n"))


def test_a_list_of_classes_beside_the_file_gives_names_and_order(table):
    table("run\nfly\nsit\n", "classes.txt")
    found = read_videos(table("a.mp4,2\nd.mkv,run\n"), val_share=0)
    assert (found.classes, [s.labels for s in found.train]) == (("run", "fly", "sit"), [(2,), (0,)])
    from_1 = read_videos(table("a.mp4,3\nd.mkv,1\n"), val_share=0)
    assert [s.labels for s in from_1.train] == [(2,), (0,)]
    assert "labels from 1 to 3 become classes 0 to 2" in from_1.notes
    with pytest.raises(ValueError, match=r"list\.csv:1: label 'swim' is neither one of the 3 classes"):
        read_videos(table("a.mp4,swim\nd.mkv,1\n"))
    with pytest.raises(ValueError, match="label '4' is neither"):
        read_videos(table("a.mp4,4\nd.mkv,1\n"))


def test_several_labels_are_found_out_or_asked_for(table):
    path = table("video,label\na.mp4,run|wave\nb c.avi,\nd.mkv,run\n")
    found = read_videos(path, val_share=0)
    assert found.multilabel
    assert [s.labels for s in found.train] == [(0, 1), (), (0,)]
    assert any("several labels per video, as in list.csv:2: 'run|wave'" in note for note in found.notes)
    assert read(table("video,label\na.mp4,run|wave\n"), multilabel=False)["a.mp4"][0] == "run|wave"
    assert read_videos(table("a.mp4,run\n"), multilabel=True, val_share=0).multilabel
    with pytest.raises(ValueError, match=r"list\.csv:3: no label; .*multilabel=True"):
        read_videos(table("video,label\na.mp4,run\nb c.avi,\n"))


def test_repeated_and_contradictory_rows_are_told(table):
    found = read_videos(table("a.mp4,run\na.mp4,run\nd.mkv,run\nd.mkv,sit\n"), val_share=0)
    assert [s.where for s in found.train] == ["list.csv:1", "list.csv:3", "list.csv:4"]
    assert "1 rows say what one before says, and are left out; the first: list.csv:2" in found.notes
    assert "1 rows give a video another label than one before; the first: list.csv:4" in found.notes


def test_columns_without_a_use_are_told(table):
    notes = read_videos(table("video,label,fps,score\na.mp4,run,25,7\nd.mkv,run,25,8\n"), val_share=0).notes
    assert any(note.endswith("columns not used: score") for note in notes)
    assert "rates of 2 files are not used: a file carries its own" in notes


def test_videos_that_are_not_there_are_counted_and_the_first_five_named(table):
    text = "video,label\na.mp4,run\n" + "".join(f"gone{number}.mp4,run\n" for number in range(7))
    with pytest.raises(
        FileNotFoundError, match=r"^7 of 8 videos are not there: list\.csv:3: .*gone0\.mp4; .*gone4"
    ) as told:
        read_videos(table(text))
    assert "gone5" not in str(told.value)
    with pytest.raises(FileNotFoundError, match="1 of 1"):  # a name that no file can have
        read_videos(table(b"video,label\n\0.mp4,run\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (" \n\n", "empty"),
        ("video,label\n", "a header and no rows"),
        ("a.mp4,run\nb c.avi,sit,down\n", r"list\.csv:2: 3 fields where the first row has 2"),
        ("a.mp4,run,1,2\nd.mkv,sit,1,2\n", r"list\.csv:1: 4 fields and no header"),
        ('video,label\na.mp4,"run\n' + "d.mkv,sit\n" * 99, "is a quote left open"),
        ("video,label,start\na.mp4,run,soon\n", r"list\.csv:2: a time in seconds is a number, 0 or more; got 'soon'"),
        ("video,label,start\na.mp4,run,nan\n", "got 'nan'"),
        ("video,label,start\na.mp4,run,-1\n", "got '-1'"),
        ("video,label,start,end\na.mp4,run,2,1\n", r"list\.csv:2: a part from 2\.0 s to 1\.0 s has no length"),
        ("video,label,split\na.mp4,run,holdout\n", r"list\.csv:2: split 'holdout'; expected one of train"),
        ("video,label\n,run\n", r"list\.csv:2: no video"),
        (b"video,label\n\xff\xfe.mp4,run\n", "not UTF-8 at byte 12"),
        ("video,label\na.mp4," + "x" * 200_000 + "\n", "field larger than field limit"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(table, text, message):
    with pytest.raises(ValueError, match=message):
        read_videos(table(text))


@pytest.mark.parametrize(
    "line", ["[1]", "{", '{"video": {"a": 1}, "label": 0}', "[" * 100_000, '{"label": ' + "1" * 5000]
)
def test_json_lines_that_cannot_be_read_are_named(table, line):
    good = '{"video": "a.mp4", "label": "run"}\n'
    with pytest.raises(ValueError, match=r"list\.jsonl:2: expected an object"):
        read_videos(table(good + line, "list.jsonl"))


def test_two_files_for_one_part_and_files_that_are_none_are_refused(table, tmp_path):
    table("a.mp4 0\n", "k_train_list_videos.txt")
    table("a 1 0\n", "k_train_list_rawframes.txt")
    with pytest.raises(ValueError, match="are both for train"):
        read_videos(tmp_path)
    with pytest.raises(ValueError, match="no such file"):
        read_videos(tmp_path / "missing.csv")
    with pytest.raises(ValueError, match="no such file"):
        read_videos("/dev/zero")


WORDS = st.text(alphabet=string.ascii_letters + string.digits + " _-.äß'\"|", min_size=1, max_size=12).filter(
    lambda text: text == text.strip() and not text.isdecimal()
)
TIMES = st.none() | st.floats(0, 1e6, allow_nan=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(WORDS, WORDS, TIMES), min_size=1, max_size=8, unique_by=lambda row: row[0].lower()),
    delimiter=st.sampled_from(",\t;|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_a_table_written_by_csv_reads_the_same(tmp_path, rows, delimiter, quoting, end):
    for name, _, _ in rows:
        (tmp_path / f"{name}.mp4").touch()
    path = tmp_path / "list.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=end)
        writer.writerow(("label", "video", "start"))
        writer.writerows((label, f"{name}.mp4", start) for name, label, start in rows)
    read_back = read(path, multilabel=False)
    assert {name: (label, start or 0) for name, (label, start, _, _) in read_back.items()} == {
        f"{name}.mp4": (label, start or 0) for name, label, start in rows
    }
    assert all(math.isfinite(start or 0) for _, start, _, _ in read_back.values())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([*'a,;|"{}[]:\t\n\r ', "a.mp4", "video", "label", "0"])).map("".join),
    st.sampled_from(["list.csv", "list.jsonl", "list.json", "Charades_v1_train.csv"]),
)
def test_whatever_a_file_holds_it_is_read_or_refused_in_words(table, content, name):
    path = table(content, name)
    try:
        outcome = bool(read_videos(path, val_share=0).classes)
    except (ValueError, FileNotFoundError) as error:
        outcome = path.name in str(error)
    assert outcome
