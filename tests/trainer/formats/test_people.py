"""Sets of people: tables, exports and AVA's own files become key frames, and a video is on one side of a split."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from made_videos import grey, png_bytes, write_counting

from slowfast_hub.trainer.formats import first_rows
from slowfast_hub.trainer.formats.people import read_people, write_people
from slowfast_hub.trainer.keyframes import KeyFrame, LabelledPeople, Person
from slowfast_hub.zoo.convert.refusal import ConvertError
from slowfast_hub.zoo.manifest import read_labels

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
HEADER = "video,time,x1,y1,x2,y2,label,person"


@pytest.fixture
def folder(tmp_path):
    """folder(videos, **files): empty files for videos, and tables, in one place."""

    def make(*videos: str, **files: str) -> Path:
        for video in videos:
            (tmp_path / video).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / video).touch()
        for name, text in files.items():
            (tmp_path / name.replace("__", ".")).write_text(text, encoding="utf-8")
        return tmp_path

    return make


def table(*rows: str, header: str = HEADER) -> str:
    return "\n".join((header, *rows)) + "\n"


def row(video: str, time: object, box: tuple[float, ...], *rest: object) -> str:
    return ",".join(map(str, (video, time, *box, *rest)))


def people(frame: KeyFrame, classes: tuple[str, ...]) -> dict[tuple[float, ...], list[str]]:
    return {person.box: [classes[label] for label in person.labels] for person in frame.people}


def test_rows_become_key_frames_with_people_and_names_of_classes(folder):
    rows = (
        row("a.mp4", 1, LEFT, "wave", "x"),
        row("a.mp4", 1, LEFT, "jump", "x"),
        row("a.mp4", 1.0, RIGHT, "wave", "y"),
        row("a.mp4", 2, LEFT, "", ""),
        row("b.mp4", 0.5, RIGHT, "run|jump", ""),
    )
    root = folder("a.mp4", "b.mp4", boxes__csv=table(*rows))
    read = read_people(root / "boxes.csv", val_share=0)
    assert read.classes == ("jump", "run", "wave")
    assert [(frame.video, frame.at_s, frame.where) for frame in read.train] == [
        (root / "a.mp4", 1.0, "boxes.csv:2"),
        (root / "a.mp4", 2.0, "boxes.csv:5"),
        (root / "b.mp4", 0.5, "boxes.csv:6"),
    ]
    first, second, third = read.train
    assert people(first, read.classes) == {LEFT: ["jump", "wave"], RIGHT: ["wave"]}
    assert [person.person for person in first.people] == ["x", "y"]
    assert people(second, read.classes) == {LEFT: []}
    assert people(third, read.classes) == {RIGHT: ["jump", "run"]}
    assert (first.found, first.unit, first.title, read.evaluated) == (None, "normalised", "a.mp4", ())


def test_the_first_rows_show_a_person_each(folder):
    rows = (row("a.mp4", 1, LEFT, "a", "ann"), row("a.mp4", 1, LEFT, "b", "ann"), row("a.mp4", 1, RIGHT, "b", ""))
    root = folder("a.mp4", boxes__csv=table(*rows, row("a.mp4", 2, ("", "", "", ""), "", "")))
    assert first_rows(read_people(root / "boxes.csv", val_share=0)) == [
        ("train", f"{root}/a.mp4 at 1 s: ann [0.0, 0.0, 0.5, 1.0]", "a | b", ""),
        ("train", f"{root}/a.mp4 at 1 s: [0.5, 0.0, 1.0, 1.0]", "b", ""),
    ]


def test_a_list_beside_the_file_gives_classes_and_their_order(folder):
    root = folder("a.mp4", boxes__csv=table(row("a.mp4", 1, LEFT, "b", "")), classes__txt="c\nb\na\n")
    assert read_people(root / "boxes.csv", val_share=0).classes == ("c", "b", "a")
    (root / "numbers.csv").write_text(table(row("a.mp4", 1, LEFT, "2", "")))
    assert read_people(root / "numbers.csv", val_share=0).train[0].labels == (2,)
    (root / "other.csv").write_text(table(row("a.mp4", 1, LEFT, "d", "")))
    with pytest.raises(ValueError, match=r"other.csv:2: label 'd' is none of the 3 classes, 'c' \(0\) to 'a' \(2\)"):
        read_people(root / "other.csv", val_share=0)


def test_a_video_is_never_on_both_sides(folder):
    names = [f"{number}.mp4" for number in range(10)]
    rows = [row(name, second, LEFT, "ab"[second % 2], "") for name in names for second in range(4)]
    root = folder(*names, boxes__csv=table(*rows))
    read = read_people(root / "boxes.csv", val_share=0.3, seed=3)
    train, val = ({str(frame.video) for frame in part} for part in (read.train, read.val))
    assert (len(train), len(val), train & val) == (7, 3, set())
    assert len(read.train) == 28
    assert [frame.video for frame in read_people(root / "boxes.csv", val_share=0.3, seed=3).val] == [
        frame.video for frame in read.val
    ]


def test_columns_and_patterns_give_parts_and_groups(folder):
    header = "video,time,x1,y1,x2,y2,label,split,camera"
    rows = [row(f"day{n}_{n}.mp4", 1, LEFT, "a", ("train", "val")[n % 2], f"c{n}") for n in range(4)]
    root = folder(*(f"day{n}_{n}.mp4" for n in range(4)), boxes__csv=table(*rows, header=header))
    read = read_people(root / "boxes.csv", group_from="camera")
    assert ([f.group for f in read.train], [f.group for f in read.val]) == (["c0", "c2"], ["c1", "c3"])
    assert [f.group for f in read_people(root / "boxes.csv", group_from="day(.)").train] == ["0", "2"]
    with pytest.raises(ValueError, match=r"group_from='night' is no column, and finds nothing in 'day0_0.mp4'"):
        read_people(root / "boxes.csv", group_from="night")


def test_files_for_each_part_are_found_in_a_folder(folder):
    root = folder(
        "a.mp4",
        "b.mp4",
        train__csv=table(row("a.mp4", 1, LEFT, "x", "")),
        val__csv=table(row("b.mp4", 1, LEFT, "y", "")),
    )
    for read in (read_people(root), read_people(root / "train.csv", val=root / "val.csv")):
        assert ([frame.title for frame in read.train], [frame.title for frame in read.val]) == (["a.mp4"], ["b.mp4"])
        assert read.classes == ("x", "y")
    folder(train_2__csv="")
    with pytest.raises(ValueError, match=r"train.csv and train_2.csv are both for train"):
        read_people(root)


def test_what_is_wrong_is_named_with_its_line(folder):
    root = folder("a.mp4", boxes__csv=table(row("a.mp4", 1, LEFT, "a", ""), row("gone.mp4", 1, LEFT, "a", "")))
    with pytest.raises(FileNotFoundError, match=r"1 of 2 .* boxes.csv:3: .*gone.mp4; --videos .videos= in Python.*in$"):
        read_people(root / "boxes.csv")
    for box, reason in (
        ((0.5, 0, 0.1, 1), "is reversed"),
        ((0.5, 0, 0.5, 1), "is empty"),
        (("inf", 0, 1, 1), "is not finite"),
    ):
        folder(boxes__csv=table(row("a.mp4", 1, LEFT, "a", ""), row("a.mp4", 1, box, "a", "")))
        with pytest.raises(ValueError, match=rf"boxes.csv:3 {reason}"):
            read_people(root / "boxes.csv")
    folder(boxes__csv=table(row("a.mp4", 1, LEFT, "", "")))
    with pytest.raises(ValueError, match=r"not one box has a label"):
        read_people(root / "boxes.csv")
    folder(boxes__csv=table(row("", 1, LEFT, "a", "")))
    with pytest.raises(ValueError, match=r"boxes.csv:2: names no video"):
        read_people(root / "boxes.csv")
    folder(boxes__csv=table(row("a.mp4", 1, LEFT, "a", "")))
    with pytest.raises(ValueError, match=r"no validation part of 0.2 can be taken from 1 videos"):
        read_people(root / "boxes.csv")
    with pytest.raises(ValueError, match=r"1 s is before 2 s, at which the file begins"):
        read_people(root / "boxes.csv", offset_s=2, val_share=0)


def test_who_has_a_score_for_each_label_is_one_person(folder):
    header = HEADER.replace("person", "score")
    rows = (row("a.mp4", 1, LEFT, "a", 0.5), row("a.mp4", 1, LEFT, "b", 0.9), row("a.mp4", 1, LEFT, "a", ""))
    root = folder("a.mp4", boxes__csv=table(*rows, header=header))
    (frame,) = read_people(root / "boxes.csv", val_share=0).train
    assert frame.people == (Person(LEFT, (0, 1), 0.9),)


def test_a_file_has_one_name(folder):
    root = folder("a.mp4", boxes__csv=table(row("a.mp4", 1, LEFT, "a", ""), row("a", 2, LEFT, "a", "")))
    with pytest.raises(ValueError, match=r"boxes.csv:3: 'a' is .*a.mp4, which boxes.csv:2 calls 'a.mp4'; give it one"):
        read_people(root / "boxes.csv", val_share=0)


def test_normalised_boxes_among_pixels_are_refused_with_their_line(folder):
    rows = [row("a.mp4", second, (8, 8, 40, 90), "a", "") for second in range(9)]
    root = folder("a.mp4", boxes__csv=table(*rows, row("a.mp4", 9, (0.1, 0.2, 0.5, 0.9), "a", "")))
    with pytest.raises(
        ValueError, match=r"boxes.csv:11 is smaller than a pixel: is it normalised, among boxes in pixels"
    ):
        read_people(root / "boxes.csv", val_share=0)


def test_columns_that_nobody_uses_are_named(folder):
    header = "video,time,x1,y1,x2,y2,label,split,camera,weather"
    root = folder("a.mp4", boxes__csv=table(row("a.mp4", 1, LEFT, "a", "train", 7, "sun"), header=header))
    notes = read_people(root / "boxes.csv", val_share=0, group_from="camera").notes
    assert [note.partition("not used: ")[2] for note in notes if "columns not" in note] == ["weather"]
    assert any(
        note.endswith("not used: camera, weather") for note in read_people(root / "boxes.csv", val_share=0).notes
    )


def test_a_video_that_cannot_be_read_does_not_keep_the_others_from_being_understood(ava):
    """Neither a film whose length would tell where it begins nor one whose frames have no times."""
    (ava / "frames/film/film_000001.jpg").unlink()
    (ava / "frames/film").rmdir()
    (ava / "frames/film.mp4").write_bytes(b"no film")
    assert [frame.at_s for frame in read_people(ava).train] == [902.0, 903.0]
    (ava / "boxes.csv").write_text("video,frame,x1,y1,x2,y2,label\nfilm,30,0,0,1,1,a\nfilm,60,0,0,1,1,a\n")
    read = read_people(ava / "boxes.csv", videos=ava / "frames", val_share=0)
    assert [frame.at_s for frame in read.train] == [1.0, 2.0]
    (ava / "frames/film.mp4").unlink()
    with pytest.raises((ValueError, OSError), match=r"film"):
        read_people(ava / "boxes.csv", videos=ava / "frames", val_share=0)


def test_avas_own_files_are_held_to_its_actions(ava):
    (ava / "ava_action_list_v2.2_for_activitynet_2019.pbtxt").unlink()
    assert len(read_people(ava).classes) == 80
    (ava / "ava_train_v2.2.csv").write_text(AVA_TRAIN.replace(",80,", ",81,"))
    with pytest.raises(
        ValueError, match=r"ava_train_v2.2.csv:2: label '81' is no action; the list has .* from 1 to 80"
    ):
        read_people(ava)
    (ava / "ava_train_v2.2.csv").rename(ava / "train.csv")
    (ava / "ava_val_v2.2.csv").rename(ava / "val.csv")
    assert read_people(ava).classes == ("1", "12", "81")


def test_an_offset_is_taken_from_all_times(folder):
    root = folder("a.mp4", boxes__csv=table(row("a.mp4", 61.5, LEFT, "a", "")))
    (frame,) = read_people(root / "boxes.csv", offset_s=60, val_share=0).train
    assert (frame.at_s, frame.time) == (1.5, "61.5")


def test_frames_of_an_export_have_the_times_of_their_video(tmp_path):
    write_counting(tmp_path / "a.mkv", 60, fps=20)
    track = '<track id="3" label="run"><box frame="0" {0}/><box frame="40" {0}/></track>'
    sides = 'outside="0" keyframe="1" xtl="0" ytl="0" xbr="32" ybr="48"'
    meta = "<meta><task><source>a.mkv</source></task></meta>"
    (tmp_path / "set.xml").write_text(f"<annotations>{meta}{track.format(sides)}</annotations>")
    read = read_people(tmp_path / "set.xml", val_share=0)
    assert [(frame.at_s, frame.unit, frame.people[0].box) for frame in read.train] == [
        (second, "px", (0, 0, 32, 48)) for second in (0, 1, 2)
    ]


AVA_TRAIN = "film,0902,0.0,0.0,0.5,1.0,12,7\nfilm,0902,0.0,0.0,0.5,1.0,80,7\nfilm,0903,0.0,0.0,0.5,1.0,12,7\n"
AVA_VAL = "other,0950,0.5,0.0,1.0,1.0,1,0\nother,0951,0.5,0.0,1.0,1.0,1,0\n"
FOUND = "other,0950,0.5,0.0,0.9,1.0,,0.91\nother,0952,0.1,0.0,0.9,1.0,,0.35\nother,0951,0.1,0.0,0.9,1.0,,0.5\n"
ACTIONS = 'item {\n  name: "bend/bow (at the waist)"\n  id: 1\n}\nlabel {\n  name: "stand"\n  label_id: 12\n}\n'


@pytest.fixture
def ava(folder):
    """AVA in small, as it is distributed, with folders of frames."""
    root = folder("frames/film/film_000001.jpg", "frames/other/other_000001.jpg")
    (root / "ava_train_v2.2.csv").write_text(AVA_TRAIN)
    (root / "ava_val_v2.2.csv").write_text(AVA_VAL)
    (root / "ava_val_excluded_timestamps_v2.2.csv").write_text("other,0951\n")
    (root / "ava_val_predicted_boxes.csv").write_text(FOUND)
    (root / "ava_action_list_v2.2_for_activitynet_2019.pbtxt").write_text(ACTIONS)
    return root


def test_avas_folder_is_understood_as_it_is_distributed(ava):
    read = read_people(ava)
    assert read.classes == read_labels("ava80")
    assert len(read.evaluated) == 60
    assert [(frame.video.name, frame.at_s, frame.fps, frame.time) for frame in read.train] == [
        ("film", 2.0, 30.0, "0902"),
        ("film", 3.0, 30.0, "0903"),
    ]
    assert read.train[0].people == (Person(LEFT, (11, 79), None, "7"),)
    assert read.train[0].found is None  # nobody looked there
    assert any("begin at second 900" in note for note in read.notes)


def test_excluded_seconds_are_left_out_and_boxes_of_a_detector_stand_beside_the_truth(ava):
    read = read_people(ava)
    val = read.val
    assert read.excluded == {("other", 951_000)}
    assert [(frame.time, frame.at_s) for frame in val] == [("0950", 50.0), ("952", 52.0)]
    assert val[0].found == (Person((0.5, 0.0, 0.9, 1.0), (), 0.91),)
    assert (val[1].people, val[1].found) == ((), (Person((0.1, 0.0, 0.9, 1.0), (), 0.35),))


def test_mmaction2s_proposals_are_boxes_of_a_detector(ava):
    (ava / "ava_val_predicted_boxes.csv").unlink()
    proposals = {"other,0950": np.array([[0.5, 0, 0.9, 1, 0.91], [0, 0, 0.5, 0.5, 0.1]]), "film,0902": np.ones((0, 5))}
    path = ava / "ava_dense_proposals_val.FAIR.recall_93.9.pkl"
    path.write_bytes(pickle.dumps(proposals, protocol=2))
    val = read_people(ava).val
    assert val[0].found == (Person((0.5, 0, 0.9, 1), (), 0.91), Person((0, 0, 0.5, 0.5), (), 0.1))
    assert len(val) == 1


def test_boxes_of_a_detector_come_into_the_unit_of_the_truth(tmp_path):
    """Pictures of 64 x 48 px."""
    write_counting(tmp_path / "a.mkv", 30)
    (tmp_path / "boxes.csv").write_text(table(row("a.mkv", 1, LEFT, "a", "")))
    (tmp_path / "found.csv").write_text("video,time,x1,y1,x2,y2,score\na.mkv,1,0,0,32,48,0.9\nb.mkv,1,0,0,32,48,0.9\n")
    (frame,) = read_people(tmp_path / "boxes.csv", found=tmp_path / "found.csv", val_share=0).train
    assert (frame.unit, frame.found) == ("normalised", (Person(LEFT, (), 0.9),))
    (tmp_path / "boxes.csv").write_text(table(row("a.mkv", 1, (0, 0, 32, 48), "a", "")))
    (tmp_path / "found.csv").write_text("video,time,x1,y1,x2,y2,score\na.mkv,1,0,0,0.5,1,0.9\n")
    (frame,) = read_people(tmp_path / "boxes.csv", found=tmp_path / "found.csv", val_share=0).train
    assert (frame.unit, frame.found) == ("px", (Person((0, 0, 32, 48), (), 0.9),))


def test_boxes_of_two_units_are_never_held_together(ava):
    (ava / "ava_val_predicted_boxes.csv").write_text("other,0950,50,0,90,100,,0.91\n")
    with pytest.raises(
        ValueError,
        match=r"boxes are normalised in .* and px in ava_val_predicted_boxes.csv; bring them .* as other has no",
    ):
        read_people(ava)


class Harm:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle ran code')",))


@pytest.mark.parametrize("content", [Harm(), {"a,0902": Harm()}, {"a,0902": "no array"}, ["a"], {"a": np.ones((1, 5))}])
def test_a_pickle_of_anything_else_stays_closed(content, ava):
    path = ava / "found.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises((ConvertError, ValueError), match=r"found.pkl"):
        read_people(ava, found=path)


@pytest.mark.parametrize(("seconds", "at_s"), [(910, 902.0), (10, 2.0)])
def test_a_film_that_was_cut_is_known_by_its_length(seconds, at_s, tmp_path):
    """One frame every five seconds: a file of 910 s is the film, one of 10 s is the part that begins at second 900."""
    write_counting(tmp_path / "film.mkv", seconds // 5, fps=1, times=range(0, seconds, 5))
    (tmp_path / "ava_train_v2.2.csv").write_text("film,0902,0.0,0.0,0.5,1.0,12,7\n")
    (frame,) = read_people(tmp_path, val_share=0).train
    assert frame.at_s == at_s
    (frame,) = read_people(tmp_path, val_share=0, offset_s=901).train
    assert frame.at_s == 1.0


def test_a_list_of_frames_says_where_the_folder_of_a_video_is(ava):
    (ava / "frames/film").rename(ava / "frames/somewhere")
    (ava / "frame_lists").mkdir()
    lines = ["original_vido_id video_id frame_id path labels", 'film 0 0 somewhere/film_000001.jpg ""']
    (ava / "frame_lists/train.csv").write_text("\n".join(lines) + "\n")
    assert read_people(ava).train[0].video == ava / "frames/somewhere"


@pytest.mark.parametrize("second", ["1e306", "nan", "-1", "9" * 400, "0:15", "1,2", "9" * 200_000])
def test_a_second_that_no_film_has_is_refused(second, ava):
    (ava / "ava_val_excluded_timestamps_v2.2.csv").write_text(f"other,{second}\n")
    with pytest.raises(
        ValueError, match=r"ava_val_excluded_timestamps_v2.2.csv:1: expected `video,second`: .{10,200}$"
    ):
        read_people(ava)


def test_a_second_of_proposals_that_no_film_has_is_refused(ava):
    path = ava / "found.pkl"
    path.write_bytes(pickle.dumps({f"other,{'9' * 400}": np.ones((1, 5))}))
    with pytest.raises(ValueError, match=r"found.pkl, box 1: a time is a number from 0 to 1,000,000,000; got '999"):
        read_people(ava, found=path)


def test_a_set_of_avas_form_has_its_own_actions(folder):
    own = 'item { name: "serve" id: 3 } item { name: "smash" id: 7 }'
    root = folder("a.mp4", train__csv="a,12,0.1,0.1,0.2,0.2,7,0\n", actions__pbtxt=own)
    read = read_people(root, val_share=0)
    assert (read.classes, read.train[0].labels, read.train[0].at_s, read.evaluated) == (
        ("serve", "smash"),
        (1,),
        12,
        (),
    )
    (root / "train.csv").write_text("a,12,0.1,0.1,0.2,0.2,1,0\n")
    with pytest.raises(ValueError, match=r"train.csv:1: label '1' is no action; the list has numbers from 3 to 7"):
        read_people(root, val_share=0)


def same(first: LabelledPeople, second: LabelledPeople) -> bool:
    def plain(people: LabelledPeople) -> list[tuple]:
        names = ("video", "at_s", "people", "found", "unit", "group", "fps", "title", "time")
        return [
            (part, *(str(getattr(frame, name)) for name in names))
            for part in ("train", "val", "test")
            for frame in getattr(people, part)
        ]

    return plain(first) == plain(second) and (first.classes, first.evaluated) == (second.classes, second.evaluated)


def test_a_set_that_is_written_is_read_the_same(ava, tmp_path):
    read = read_people(ava)
    run = tmp_path / "run"
    run.mkdir()
    write_people(run / "people.csv", read)
    (run / "classes.txt").write_text("\n".join(read.classes) + "\n")
    assert same(read_people(run / "people.csv", val_share=0), read)
    assert same(read_people(run, val_share=0), read)


def test_nobody_pixels_groups_and_scores_are_written_too(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "c").mkdir()
    (tmp_path / "c/1.png").write_bytes(png_bytes(grey(1)))
    person, found = Person((1.5, 2.0, 30.0, 1 / 3 + 40), (0, 1), None, "ann"), (Person((0.0, 1.0, 2.0, 9.0), (), 0.25),)
    made = LabelledPeople(
        ("run, fast", "ü"),
        (
            KeyFrame(
                tmp_path / "a.mp4",
                1 / 3,
                (person, Person((0.0, 0.0, 9.0, 9.0))),
                unit="px",
                group="g",
                title="A",
                time="0.33",
            ),
        ),
        (
            KeyFrame(tmp_path / "b.mp4", 2.0, (), found, title="b", time="2"),
            KeyFrame(tmp_path / "b.mp4", 3.0, (Person(LEFT, (1,), 0.5),), (), title="b", time="3"),
        ),
        (KeyFrame(tmp_path / "c", 1.0, (), fps=12.0, title="c", time="1"),),
    )
    write_people(tmp_path / "people.csv", made)
    (tmp_path / "classes.txt").write_text("run, fast\nü\n", encoding="utf-8")
    assert same(read_people(tmp_path / "people.csv"), made)
    frames = KeyFrame(np.zeros((2, 4, 4, 3), np.uint8), 0.0, (person,))
    with pytest.raises(TypeError, match=r"a table names files; got a video of ndarray"):
        write_people(tmp_path / "memory.csv", LabelledPeople(("a", "b"), (frames,)))


def test_annotations_can_be_read_without_their_videos(folder):
    """As the official evaluation of AVA does: 37 lines of a csv are all there is."""
    root = folder(ava_val__csv="".join(f"-film,{902 + k:04d},0.1,0.1,0.5,0.9,12,{k}\n" for k in range(37)))
    with pytest.raises(FileNotFoundError, match="1 of 1 videos are not there"):
        read_people(root / "ava_val.csv", val_share=0)
    read = read_people(root / "ava_val.csv", val_share=0, need_videos=False)
    assert [(frame.title, frame.time, frame.at_s) for frame in read.train[:2]] == [
        ("-film", "0902", 902.0),
        ("-film", "0903", 903.0),
    ]
    assert (len(read.train), len(read.evaluated)) == (37, 60)
