"""`data check`: what is wrong with files, lines and parts of a split is found, said, and written."""

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_videos import grey, moving, png_bytes, write_counting, write_video
from PIL import Image

from slowfast_hub.spec import ClipSpec, Limits, VideoInfo
from slowfast_hub.trainer.check import (
    KINDS,
    Job,
    Report,
    VideoCheck,
    check_file,
    check_files,
    clip_length_s,
    jobs_of,
    report_of,
)
from slowfast_hub.trainer.check_report import as_json, printable, summary, write_report
from slowfast_hub.trainer.samples import LabelledVideos, Sample

CLIP = ClipSpec(frames=10, stride=3, fps=30.0)  # a second


def job(video: Path | str, *, pictured: bool = False, **limits: int) -> Job:
    return Job(video, None, Limits(**limits), pictured)


def healthy(video: str, *, seconds: float = 4.0, start_s: float = 0.0) -> VideoCheck:
    """A file like no other."""
    told = np.random.default_rng(int.from_bytes(video.encode(), "big")).bytes(270)
    info = VideoInfo(video, frames=round(25 * seconds), fps=25.0, width=64, height=48, start_s=start_s)
    return VideoCheck(video, info, decoded=info.frames, sha256=video, fingerprint=told)


def findings(
    train: list[Sample], val: list[Sample] = (), test: list[Sample] = (), files: list[VideoCheck] = (), classes: int = 2
) -> list[tuple[str, str]]:
    """(kind, text) of all findings but those about classes; files that are not given are healthy."""
    names = tuple(f"class {number}" for number in range(classes))
    videos = LabelledVideos(names, tuple(train), tuple(val), tuple(test))
    known = {each.video: each for each in files}
    checks = [known.get(name) or healthy(name) for name in {str(sample.video) for sample in videos.samples()}]
    found = report_of(videos, checks, CLIP).findings
    return [(each.kind, each.text) for each in found if each.kind not in ("missing", "imbalance")]


def test_a_healthy_file_is_known_whole(tmp_path):
    path = write_video(tmp_path / "a.mkv", moving(40, height=96, width=320), fps=20)
    found = check_file(job(path, pictured=True))
    assert (found.fault, found.decoded, found.info.frames, found.varying) == ("", 40, 40, False)
    assert (found.info.width, found.info.height, found.info.fps, found.length_s) == (320, 96, 20, 2)
    assert found.size == path.stat().st_size
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(found.fingerprint) == 270
    with Image.open(io.BytesIO(found.picture)) as picture:
        assert picture.size == (160, 48)
        assert np.asarray(picture).mean() == pytest.approx(30 + 3 * 20, abs=3)  # the middle frame
    assert check_file(job(path)).picture == b""


def test_a_folder_of_frames_is_checked_like_a_file(tmp_path):
    pictures = [png_bytes(grey(10 * level)) for level in range(12)]
    for number, png in enumerate(pictures):
        (tmp_path / f"{number}.png").write_bytes(png)
    found = check_file(Job(tmp_path, 12.0, Limits(), pictured=False))
    assert (found.decoded, found.length_s, found.size) == (12, 1, sum(map(len, pictures)))
    assert found.sha256 == hashlib.sha256(b"".join(pictures)).hexdigest()
    (tmp_path / "7.png").write_bytes(b"no picture")
    assert check_file(Job(tmp_path, 12.0, Limits(), pictured=False)).decoded == 7


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [("text.mp4", b"not a video", "cannot be read as a video"), ("empty.mp4", b"", "cannot be read as a video")],
)
def test_what_is_no_video_is_a_row(name, content, reason, tmp_path):
    (tmp_path / name).write_bytes(content)
    found = check_file(job(tmp_path / name))
    assert found.fault.startswith(reason)
    assert (found.info, found.decoded, found.sha256) == (None, 0, "")


def test_a_file_beyond_the_limits_is_a_row_that_says_how_far_it_went(tmp_path):
    path = write_counting(tmp_path / "long.mkv", 30)
    found = check_file(job(path, frames=20))
    assert "more than 20 frames" in found.fault
    assert (found.decoded, found.info.frames) == (20, 30)
    assert check_file(job(tmp_path / "gone.mkv")).fault == "there is no such file"


def test_damaged_files_say_how_many_frames_came(shared):
    found = check_file(job(shared / "data/robustness/made/bitflips_middle.mp4"))
    assert (found.decoded, found.info.frames) == (122, 280)
    assert found.fault.startswith("decoding reached frame 122 of 280")


def test_workers_find_the_same(tmp_path):
    paths = [write_counting(tmp_path / f"{count}.mkv", count) for count in (5, 6)]
    paths.append(tmp_path / "gone.mkv")
    jobs = [job(path) for path in paths]
    alone, together = ({each.video: each for each in check_files(jobs, workers=workers)} for workers in (0, 2))
    assert alone == together
    assert [each.decoded for each in alone.values()] == [5, 6, 0]


def test_every_file_is_decoded_once_and_eight_of_a_class_are_pictured():
    samples = [Sample(f"{number}.mp4", (0,)) for number in range(10)]
    parts = [Sample("9.mp4", (1,), start_s=second, end_s=second + 1) for second in range(3)]
    jobs = jobs_of(LabelledVideos(("a", "b"), (*samples, *parts)), Limits())
    assert [each.video for each in jobs] == [f"{number}.mp4" for number in range(10)]
    assert [each.pictured for each in jobs] == [True] * 8 + [False] * 2
    with pytest.raises(TypeError, match="only files and folders of frames can be checked; got ndarray"):
        jobs_of(LabelledVideos(("a",), (Sample(np.zeros((1, 2, 2, 3), np.uint8), (0,)),)), Limits())


def test_a_good_set_has_no_findings():
    assert findings([Sample("a", (0,)), Sample("b", (1,))], [Sample("c", (0,))]) == []


def test_files_that_break_off_stand_still_vary_or_turn():
    turned = replace(healthy("t"), info=replace(healthy("t").info, rotation=90))
    files = [
        replace(healthy("b"), decoded=41, fault="the stream ended"),
        replace(healthy("s"), fingerprint=b""),
        replace(healthy("v"), varying=True),
        turned,
    ]
    assert findings([Sample(name, (0,)) for name in "bstv"], files=files) == [
        ("unreadable", "b: the stream ended (41 frames came)"),
        ("still", "s"),
        ("varying", "v: 25.00 frames a second on average"),
        ("rotated", "t: by 90 degrees"),
    ]


def test_parts_are_held_against_their_file():
    file = healthy("a", seconds=4, start_s=10)  # to 14 s
    samples = [
        Sample("a", (0,), start_s=10, end_s=14.03),  # within a frame
        Sample("a", (0,), start_s=13.01, where="l.csv:2"),  # 0.99 s: within a frame of a clip
        Sample("a", (0,), start_s=11, end_s=14.05, where="l.csv:3"),
        Sample("a", (0,), start_s=12, end_s=12.9, where="l.csv:4"),
        Sample("a", (0,), start_s=14, end_s=15, where="l.csv:5"),
        Sample("a", (0,), start_s=2, end_s=9, where="l.csv:6"),
    ]
    assert findings(samples, files=[file]) == [
        ("outside", "l.csv:5: a [14 s to 15 s]: the file goes from 10.00 s to 14.00 s"),
        ("outside", "l.csv:6: a [2 s to 9 s]: the file goes from 10.00 s to 14.00 s"),
        ("overrun", "l.csv:3: a [11 s to 14.05 s]: the file ends at 14.00 s"),
        ("short", "l.csv:4: a [12 s to 12.9 s]: 0.90 s, and a clip is 1.00 s"),
    ]


def test_a_clip_lasts_as_long_as_its_clock_says():
    assert clip_length_s(ClipSpec(frames=32, stride=2, fps=30.0), 25) == pytest.approx(64 / 30)
    assert clip_length_s(ClipSpec(frames=32, stride=2, fps=None), 16) == 4
    assert clip_length_s(ClipSpec(frames=32, stride=2, sampling="segments"), 25) == pytest.approx(32 / 30)


def test_copies_on_both_sides_of_the_split_are_errors():
    same = [replace(healthy(name), sha256="one", fingerprint=bytes(270)) for name in ("a", "b", "c")]
    again = replace(healthy("d"), fingerprint=bytes(27) + b"\xff" * 27 + bytes(216))  # 216 of 2160 bits
    found = findings([Sample("a", (0,)), Sample("x", (1,))], [Sample("b", (0,)), Sample("x", (1,))], files=same)
    assert found == [
        ("leak", "train a, val b: the same bytes"),
        ("leak", "train x, val x: one file"),
    ]
    found = findings([Sample("d", (0,))], test=[Sample("a", (0,)), Sample("b", (0,))], files=[*same, again])
    assert found == [("leak", "test a, test b, train d: they look alike, 10 % of bits differ")]
    assert findings([Sample("x", (0,))], [Sample("a", (0,))], [Sample("b", (0,))], files=same) == [
        ("copies", "val a, test b: the same bytes")
    ]


def test_what_is_listed_twice_is_one_thing_and_with_two_labels_another():
    one, two = Sample("a", (0,), where="l.csv:1"), Sample("a", (0,), where="l.csv:2")
    assert findings([one, two]) == [("twice", "l.csv:1, l.csv:2")]
    assert findings([one, replace(two, labels=(1,))]) == [("labels", "l.csv:1 (class 0), l.csv:2 (class 1)")]
    assert findings([replace(one, start_s=0, end_s=2), replace(two, start_s=2, end_s=4, labels=(1,))]) == []
    same = [replace(healthy(name), sha256="one") for name in ("a", "b")]
    assert findings([one, Sample("b", (1,), where="l.csv:9")], files=same) == [
        ("labels", "l.csv:1 (class 0), l.csv:9 (class 1)"),
        ("copies", "train a, train b: the same bytes"),
    ]


def test_groups_on_both_sides_are_errors_and_no_group_is_none():
    train = [Sample("a", (0,), "ira"), Sample("b", (0,), "ira"), Sample("c", (0,), "ido"), Sample("d", (0,))]
    assert findings(train, [Sample("e", (1,), "ira"), Sample("f", (1,))]) == [("group", "ira: 2 in train, 1 in val")]
    assert findings(train, [Sample("e", (1,), "x")], [Sample("f", (1,), "x")]) == []


def test_classes_are_counted():
    train = [Sample(f"a{number}", (0,)) for number in range(11)] + [Sample("b", (1,))]
    videos = LabelledVideos(("many", "one", "val alone", "none"), tuple(train), (Sample("c", (2,)), Sample("d", (0,))))
    report = report_of(videos, [healthy(str(sample.video)) for sample in videos.samples()], CLIP)
    assert report.class_counts()["many"] == {"train": 11, "val": 1, "test": 0}
    assert [each.text for each in report.findings] == [
        "val alone: none in train, 1 elsewhere",
        "none: none in train",
        "many with 11 and one with 1 videos in train: 11.0 to 1",
    ]
    assert report.passed


EVIL = "<script>alert(1)</script>\x1b[31m\udcff"


@pytest.fixture
def report(tmp_path) -> Report:
    """Of two files: one whole, one with an evil name and reason."""
    path = write_video(tmp_path / "a.mkv", moving(30), fps=20)
    whole = check_file(job(path, pictured=True))
    evil = VideoCheck(EVIL, fault=f"cannot be read: {EVIL}", decoded=7)
    videos = LabelledVideos((EVIL, "b"), (Sample(str(path), (0,)), Sample(EVIL, (1,))), notes=(EVIL,))
    return report_of(videos, [whole, evil], CLIP)


def test_the_report_is_three_files(report, tmp_path):
    write_report(report, tmp_path / "report")
    written = json.loads((tmp_path / "report/report.json").read_text())
    assert written == json.loads(json.dumps(as_json(report)))
    assert list(written) == [
        *("passed", "parts", "multilabel", "notes", "findings", "classes", "lengths_s", "sizes", "rates", "files")
    ]
    assert not written["passed"]
    assert written["lengths_s"]["median"] == 1.5
    assert (written["sizes"], written["rates"]) == ({"64x48": 1}, {"20.00": 1})
    rows = {Path(row["video"]).name: row for row in written["files"]}
    assert (rows["a.mkv"]["frames"], rows["a.mkv"]["decoded"], rows["a.mkv"]["fault"]) == (30, 30, "")
    assert len({tuple(row) for row in written["files"]}) == 1  # the same keys for all
    bad = (tmp_path / "report/bad.csv").read_text().split("\n")
    assert bad[0] == "video,reason,decodable_frames,row"
    assert bad[1].endswith(",7,")
    assert bad[2:] == [""]


def test_the_page_holds_its_pictures_and_no_name_becomes_markup(report, tmp_path):
    write_report(report, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 1
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<title>Data check</title>" in page
    assert '<progress value="1" max="1">' in page


def test_the_summary_says_what_to_do_and_leaves_the_terminal_alone(report):
    lines = list(summary(report))
    assert lines[0] == "2 files, 2 classes: train 2"
    assert lines[1] == f"error: cannot be read whole: 1. To do: {KINDS['unreadable'].advice}"
    assert r"\x1b[31m\udcff (7 frames came)" in lines[2]
    assert lines[-1] == "errors: put them right before you train"
    assert printable("ünï\x1b\n\udcff") == r"ünï\x1b\n\udcff"
