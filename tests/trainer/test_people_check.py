"""`data check` of people: each classic mistake, made on purpose, is named with its line, and a clean set is clean."""

from pathlib import Path

import pytest

from slowfast_hub.spec import ClipSpec, VideoInfo
from slowfast_hub.trainer.check import KINDS, VideoCheck
from slowfast_hub.trainer.check_report import as_json, summary
from slowfast_hub.trainer.formats.people import read_people
from slowfast_hub.trainer.formats.people_files import gather
from slowfast_hub.trainer.people_check import people_left, report_of_people, table_findings
from slowfast_hub.video.sampling import centred_indices

CLIP = ClipSpec(frames=10, stride=3, fps=30.0)  # a second, of pictures of 256 px
LENGTH_S = 20.0
FPS = 30.0
HEADER = "video,time,x1,y1,x2,y2,label,split\n"
BOX = "0.1,0.2,0.6,0.8"


def healthy(path: Path, *, fps: float = FPS, size: tuple[int, int] = (640, 480)) -> VideoCheck:
    """A file like no other, of 20 s."""
    info = VideoInfo(str(path), frames=round(fps * LENGTH_S), fps=fps, width=size[0], height=size[1])
    told = path.name.encode() * 90
    return VideoCheck(str(path), info, decoded=info.frames, sha256=path.name, fingerprint=told[:270])


def rows(*, times=range(1, 9), box: str = BOX, labels=("a", "b")) -> str:
    """Two videos, one in each part, and a row for each time."""
    return HEADER + "".join(
        f"{part}.mp4,{time},{box},{label},{part}\n" for part in ("train", "val") for time in times for label in labels
    )


@pytest.fixture
def check(tmp_path):
    """check(text, **files): {kind: [texts]} of a table beside two healthy videos; `found` and `actions` are files."""

    def run(
        text: str, *, fps: float = FPS, size: tuple[int, int] = (640, 480), name: str = "set.csv", **how: object
    ) -> dict[str, list[str]]:
        for video in ("train.mp4", "val.mp4"):
            (tmp_path / video).touch()
        (tmp_path / name).write_text(text)
        for option, suffix in (("found", "csv"), ("actions", "pbtxt"), ("classes", "txt")):
            (tmp_path / f"{option}.{suffix}").unlink(missing_ok=True)
            if option in how:
                (tmp_path / f"{option}.{suffix}").write_text(str(how[option]))
        beside = {"found": "found.csv", "actions": "actions.pbtxt"}
        files = {option: tmp_path / file for option, file in beside.items() if option in how}
        sources = gather(tmp_path / name, unit=how.get("unit"), **files)
        told = list(table_findings(sources))
        people = people_left(sources, told, offset_s=how.get("offset_s"), group_from=None, val_share=0, seed=0)
        videos = {Path(frame.video) for frame in people.samples()}
        report = report_of_people(people, told, [healthy(video, fps=fps, size=size) for video in sorted(videos)], CLIP)
        assert list(summary(report))[-1] == (
            "no errors" if report.passed else "errors: put them right before you train"
        )
        assert as_json(report)["passed"] == report.passed
        return {kind: [finding.text for finding in found] for kind, found in report.by_kind.items()}

    return run


def test_a_clean_set_raises_nothing(check):
    assert check(rows()) == {}
    assert check(rows(box="64,96,320,400")) == {}
    assert check(rows(labels=("0", "1")), classes="run\nwalk\n") == {}
    found = "video,time,x1,y1,x2,y2,score\nval.mp4,1,0.1,0.1,0.5,0.5,0.9\n"
    assert check(rows(), found=found) == {}
    assert check(rows(times=[number / 30 for number in range(1, 40)])) == {}
    assert check(rows(times=[0.917, 1.3, 2.41892, 3.3, 4.71, 5.05, 6.66, 7.123, 8.2, 9.9])) == {}


def test_pixels_among_normalised_boxes_are_named(check):
    text = rows() + "train.mp4,9,64,96,320,400,a,train\n"
    assert check(text) == {
        "unit": ["set.csv:34 [64, 96, 320, 400]: is in pixels, where boxes from 0 to 1 are meant, as in 32 rows"]
    }
    text = rows(box="64,96,320,400") + "train.mp4,9,0.1,0.2,0.6,0.8,a,train\n"
    assert check(text) == {
        "unit": ["set.csv:34 [0.1, 0.2, 0.6, 0.8]: lies in 0..1, where pixels are meant, as in 32 rows"]
    }


def test_a_unit_that_was_asked_for_and_does_not_fit_is_named(check):
    (text,) = check(rows(box="64,96,320,400"), unit="normalised")["unit"]
    assert text.startswith("set.csv:2 [64, 96, 320, 400], set.csv:3")
    assert text.endswith("and 28 more of 32: is in pixels, where boxes from 0 to 1 are meant")
    (text,) = check(rows(), unit="px")["unit"]
    assert text.endswith("lies in 0..1, where pixels are meant")


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        (
            "0.6,0.2,0.3,0.5",
            "is reversed: x2 and y2 must lie right of and below x1 and y1 (is it x, y, width, height?); as these, all",
        ),
        ("0.1,0.2,0.1,0.5", "is empty"),
        ("0.1,0.2,inf,0.5", "is not finite"),
    ],
)
def test_boxes_that_are_none_are_named(box, problem, check):
    text = rows(box="0.1,0.2,0.6,0.7") + f"train.mp4,9,{box},a,train\n"
    (found,) = check(text)["no box"]
    assert found.startswith(f"set.csv:34 [{box.replace(',', ', ')}]: {problem}")


AVA = "".join(f"{part},{time:04d},{BOX},{label},0\n" for part in ("train",) for time in (1, 2) for label in (1, 2, 3))
ACTIONS = "".join(f'item {{ name: "{name}" id: {number} }}\n' for number, name in enumerate("xyz", 1))


def test_numbers_that_the_list_of_actions_lacks_are_named(check):
    assert check(AVA, actions=ACTIONS) == {}
    found = check(AVA.replace(f"{BOX},3", f"{BOX},4"), actions=ACTIONS)
    assert found["action"] == [
        "set.csv:3 [0.1, 0.2, 0.6, 0.8], set.csv:6 [0.1, 0.2, 0.6, 0.8]: 4: no action; the list has numbers from 1 to 3"
    ]
    assert "count" not in found
    found = check(AVA.replace(f"{BOX},3", f"{BOX},0"), actions=ACTIONS)
    assert found["count"] == ["set.csv: labels go from 0 to 2 and the list of actions begins with 1: one too low?"]
    assert "action" in found


def test_labels_mean_over_all_tables_what_they_mean_to_who_trains(tmp_path):
    """Of three classes 3 is the last where nobody is 0, in whichever file, and none where somebody is."""
    (tmp_path / "classes.txt").write_text("run\nwalk\nsit\n")
    header, row = "video,time,x1,y1,x2,y2,label\n", "a.mp4,1,0.1,0.2,0.6,0.8,"
    for name, label, lacking in (("train", 1, []), ("train", 0, ["val.csv:2 [0.1, 0.2, 0.6, 0.8]: 3: none of the 3"])):
        (tmp_path / f"{name}.csv").write_text(f"{header}{row}{label}\n")
        (tmp_path / "val.csv").write_text(f"{header}{row}3\n")
        (tmp_path / "a.mp4").touch()
        found = [finding.text for finding in table_findings(gather(tmp_path)) if finding.kind == "action"]
        assert [text.partition(" classes")[0] for text in found] == lacking
        if lacking:
            with pytest.raises(ValueError, match=r"val.csv:2: label '3' is none of the 3 classes"):
                read_people(tmp_path)
        else:
            assert read_people(tmp_path).val[0].labels == (2,)


def test_numbers_that_count_from_one_are_named(check):
    numbers = rows(labels=("1", "2"))
    assert check(numbers) == {
        "count": [
            "set.csv: labels go from 1 to 2 and no list names them: classes.txt or --actions would, and show what fits"
        ]
    }
    assert check(numbers, classes="run\nwalk\n") == {}
    found = check(numbers, classes="run\nwalk\nsit\n")
    assert found["count"] == ["set.csv: labels go from 1 to 2 of 3 classes; is nobody 'run', or do they begin at 1?"]
    found = check(rows(labels=("0", "3")), classes="run\nwalk\nsit\n")
    assert found["action"][0].endswith("3: none of the 3 classes, 'run' (0) to 'sit' (2)")


def test_a_list_of_classes_that_is_one_too_long_is_named(check):
    found = check(rows(labels=("run", "walk")), classes="background\nrun\nwalk\n")
    assert found["count"] == ["the list of 3 classes begins with 'background', which nobody has: one too long?"]
    found = check(rows(labels=("run", "wlak")), classes="run\nwalk\n")
    assert found["action"][0].endswith("wlak: none of the 2 classes, 'run' (0) to 'walk' (1)")


def test_boxes_of_a_detector_without_scores_are_named(check):
    (text,) = check(rows(), found="video,time,x1,y1,x2,y2\nval.mp4,1,0.1,0.1,0.5,0.5\n")["no score"]
    assert text.endswith("found.csv: 1 boxes of a detector without scores")


def test_a_person_id_in_the_place_of_a_score_is_named(check):
    """PySlowFast's configs list the truth among the boxes that were found: its last column says who it is."""
    (text,) = check(rows(), found="val.mp4,1,0.1,0.1,0.5,0.5,1,17\n")["no score"]
    assert text.endswith("without scores, and the last column, whole numbers, is taken for who it is")
    found = check(rows(), found="video,time,x1,y1,x2,y2,score\nval.mp4,1,0.1,0.1,0.5,0.5,97\n")
    assert found == {"scores": ["found.csv:2 [0.1, 0.1, 0.5, 0.5]: its score is not from 0 to 1"]}


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ([902, 905, 919], "they fit a film that was cut at second 900: --offset-s 900"),
        ([15, 300, 599], "they look like numbers of frames (600 at 30 a second): name the column `frame`"),
        ([1000, 2000, 19000], "they look like milliseconds: divide them by 1000"),
        ([1, 12.04, 23.96], "they look like frames divided by 25, and the file has 30 a second"),
        (
            [41.5, 50, 60],
            "all are after its end, as if they counted from another begin; --offset-s takes up to 41.5 s off",
        ),
    ],
)
def test_times_outside_their_video_are_named_with_what_they_look_like(times, reason, check):
    found = check(rows(times=times))
    assert [text.endswith(reason) for text in found["moment"]] == [True, True]
    assert found["moment"][0].startswith("set.csv:")


def test_one_moment_behind_the_end_is_named_and_an_offset_cures_a_cut_film(check):
    (train, _) = check(rows(times=[1, 33]))["moment"]
    assert train.startswith("set.csv:4 (33 s): ")
    assert train.endswith("train.mp4 goes from 0.00 s to 20.00 s")
    assert check(rows(times=[902, 905, 919]), offset_s=900) == {}


def test_times_that_are_frames_of_another_rate_are_named(check):
    """Frames 1, 2, 3 ... of 25 a second lie between those of a file of 30, and their boxes drift away."""
    found = check(rows(times=[round(number / 25, 3) for number in range(1, 24, 2)]))
    assert [text.partition(": ")[2].partition(" of ")[0] for text in found["rate"]] == [
        "10 times"
    ] * 2  # but 0.2 and 0.6
    assert found["rate"][0].endswith("are frames of 25 a second; the file has 30")


def test_few_times_of_each_video_are_judged_together(check):
    """Four of each of two videos, frames 1, 3, 5, 7 divided by 25, where the files have 30 a second."""
    (found,) = check(rows(times=[0.04, 0.12, 0.28, 0.36]))["rate"]
    assert found.startswith("set.csv:2: 8 times of ")
    assert found.endswith("are frames of 25 a second; the file has 30")
    for round_times in ([0.1, 0.2, 0.3, 0.4], [0.25, 0.75, 1.25, 1.75], [k / 8 for k in range(1, 40)]):
        assert check(rows(times=round_times)) == {}


def test_a_moment_at_the_end_of_its_video_is_outside_as_the_networks_see_it(check):
    (train, _) = check(rows(times=[1, LENGTH_S]))["moment"]
    assert train.startswith("set.csv:4 (20 s)")
    with pytest.raises(ValueError, match=r"at_s must be in"):
        centred_indices(healthy(Path("a")).info, CLIP, LENGTH_S)
    assert check(rows(times=[1, LENGTH_S - 1 / FPS])) == {}


def test_boxes_of_a_detector_at_other_moments_are_named(check):
    found = "video,time,x1,y1,x2,y2,score\n" + "".join(f"val.mp4,{k + 0.25},0.1,0.1,0.5,0.5,0.9\n" for k in range(1, 9))
    (text,) = check(rows(), found=found)["apart"]
    assert text.endswith(
        "0 of its 8 moments are among the 8 labelled ones of its videos: do they count from another begin?"
    )
    assert check(rows(), found=found.replace(".25,", ",")) == {}
    assert "apart" not in check(rows(), found=found + "val.mp4,1,0.1,0.1,0.5,0.5,0.9\n")
    assert check(rows(), found=found.replace("val.mp4", "other.mp4")) == {}


def test_names_that_are_almost_the_same_are_named(check):
    text = rows(labels=("hugging", "lift left", "lift right")) + "".join(
        f"train.mp4,9,{BOX},{label},train\n" for label in ("huging", "Lift Left")
    )
    assert check(text)["alike"] == [
        "'Lift Left' with 1 people and 'lift left' with 16",
        "'hugging' with 16 people and 'huging' with 1",
    ]


def test_boxes_for_another_size_of_picture_are_named(check):
    found = check(rows(box="700,100,900,300"))
    assert found["picture"][0].endswith("outside of 640 x 480 px")
    found = check(rows(box="5,10,90,99.5"), size=(80, 60))
    assert found["beyond"][0].endswith("reaches out of 80 x 60 px; all boxes lie in 0..100: are they per cent?")
    found = check(rows(box="500,100,900,300"))
    assert found["beyond"][0].endswith("reaches out of 640 x 480 px")
    found = check(rows(box="500,100,510,300"))
    assert found["tiny"][0].endswith("less than 8 px in a clip of 256 px")


def test_what_is_said_twice_and_who_has_no_label_is_named(check):
    text = rows() + f"train.mp4,1,{BOX},a,train\ntrain.mp4,9,{BOX},,train\n"
    assert check(text) == {
        "twice": ["set.csv:34 [0.1, 0.2, 0.6, 0.8]: the same was said before"],
        "no label": ["set.csv:35 [0.1, 0.2, 0.6, 0.8]: a person without a label"],
    }
    found = check(f"train,1,{BOX},1,0.95\ntrain,2,{BOX},1,0.9\n", actions=ACTIONS)
    assert "its last column is a score, as of boxes that a detector found" in found["no label"][0]


def test_a_video_on_both_sides_and_classes_without_people_are_named(check):
    found = check(rows().replace("val.mp4", "train.mp4"))
    assert found["leak"][0].endswith("one file")
    found = check(rows(labels=("a",)) + f"val.mp4,9,{BOX},b,val\n")
    assert found["missing"] == ["b: none in train, 1 elsewhere"]
    many = rows(times=[number / 4 for number in range(1, 49)], labels=("a",)) + f"train.mp4,19,{BOX},b,train\n"
    assert check(many)["imbalance"] == ["a with 48 and b with 1 people in train: 48.0 to 1"]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "set.csv").write_text(f"video,time,x1,y1,x2,y2,label\na.mp4,1,{BOX},a\n")
    sources = gather(tmp_path / "set.csv")
    people = people_left(sources, [], offset_s=None, group_from=None, val_share=0, seed=0)
    report = report_of_people(people, [], [VideoCheck(str(tmp_path / "a.mp4"), fault="damaged")], CLIP)
    assert list(report.by_kind) == ["unreadable"]


def test_where_every_row_is_wrong_the_report_is_still_made(check):
    found = check(rows(box="0.6,0.8,0.1,0.2"))
    assert list(found) == ["no box"]


def test_every_kind_has_a_title_and_something_to_do():
    assert all(kind.title and kind.advice for kind in KINDS.values())
