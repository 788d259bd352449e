"""`slowfast-hub eval` on people: detectors and files of detections to figures, reports, exit codes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from made_networks import TINY, noise, tiny_network
from made_videos import write_video
from typer.testing import CliRunner

from slowfast_hub.apps.evaluate import evaluate
from slowfast_hub.spec import RoISpec
from slowfast_hub.zoo.hub import save_pretrained

app = typer.Typer()
app.command()(evaluate)

CLASSES = ("jump", "lie", "run", "sit", "walk")


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> list[str]:
    """A SlowFast detector, another of the same classes, and a network that takes no boxes."""
    names = []
    for roi, labels in ((RoISpec(), CLASSES), (RoISpec(), CLASSES[::-1]), (None, CLASSES)):
        model = tiny_network(roi=roi, activation="sigmoid", clip=replace(TINY.clip, short_side=32, crop=32))
        model.labels = labels
        folder = tmp_path_factory.mktemp("network")
        save_pretrained(model, folder)
        names.append(f"local-dir:{folder}")
    return names


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two videos: one to train on and one to test on, with five classes and three people in two moments."""
    folder = tmp_path_factory.mktemp("people")
    for name in ("a", "b"):
        write_video(folder / f"{name}.mkv", noise(90), fps=30)
    rows = ["video,time,x1,y1,x2,y2,label,split"]
    for name, part in (("a", "train"), ("b", "val")):
        for label, (time, box) in zip(
            CLASSES,
            [(1, "0.1,0.1,0.5,0.9"), (1, "0.1,0.1,0.5,0.9"), (1, "0.6,0,1,1"), (2, "0.2,0,0.7,1"), (2, "0.2,0,0.7,1")],
        ):
            rows.append(f"{name}.mkv,{time},{box},{label},{part}")
    (folder / "people.csv").write_text("\n".join(rows) + "\n")
    return folder / "people.csv"


def test_two_networks_stand_side_by_side_in_one_report(networks, data, tmp_path):
    out = tmp_path / "report"
    result = run(*networks[:2], "--data", data, "--out", out, "--workers", 1)
    assert result.exit_code == 0, result.output
    assert "a.mkv" not in result.stderr  # of the train part, which is not measured
    lines = result.stdout.splitlines()
    for line, name in zip(lines, networks):
        assert line.startswith("mAP ")
        assert line.endswith(
            f"% at IoU 0.5 over 5 of 5 classes, 2 of 2 key frames, 3 people, val part, {name}, the truth's boxes, "
            "short side 32 px, 8 x 4 frames at 30 fps, float32"
        )
    first, second = json.loads((out / "metrics.json").read_text())
    assert [each["name"] for each in first["classes"]] == list(CLASSES)
    assert (first["requested"], first["decoded"], first["people"], first["failed"]) == (2, 2, 3, [])
    assert f"mAP {100 * second['mean_ap']:.1f} %" in lines[1]
    page = (out / "report.html").read_text()
    assert all(name in page for name in (*CLASSES, *networks[:2]))
    assert (out / "per_class.png").read_bytes()[:4] == b"\x89PNG"


def test_the_file_of_detections_is_worth_the_same_without_the_network(networks, data, tmp_path):
    result = run(networks[0], "--data", data, "--out", tmp_path, "--json")
    (told,) = json.loads(result.stdout)
    table = (tmp_path / "detections.csv").read_text().splitlines()
    assert (table[0], len(table)) == ("video,time,x1,y1,x2,y2,label,score", 1 + 3 * 5)
    again = run("--predictions", tmp_path / "detections.csv", "--data", data, "--json")
    assert again.exit_code == 0, again.output
    (read,) = json.loads(again.stdout)
    assert read["classes"] == told["classes"]
    assert read["mean_ap"] == told["mean_ap"]
    assert read["protocol"] == "val part, 15 detections of detections.csv"
    (tmp_path / "alone").mkdir()
    alone = Path(shutil.copy(data, tmp_path / "alone"))  # where there are no videos
    assert json.loads(run("--predictions", tmp_path / "detections.csv", "--data", alone, "--json").stdout) == [read]


def test_a_file_of_another_project_is_wrong_where_the_set_has_nobody_but_for_excluded_moments(data, tmp_path):
    """One person is found after a wrong one of a higher score: precision 1/2. Second 2.5 is excluded."""
    box = "0.1,0.1,0.5,0.9"
    lines = [f"b.mkv,{time},{box},{CLASSES[0]},{score}" for time, score in ((1.5, 0.9), (2.5, 0.8), (1, 0.7))]
    (tmp_path / "theirs.csv").write_text(
        "\n".join(["video,time,x1,y1,x2,y2,label,score", *lines, f"a.mkv,1,{box},{CLASSES[0]},1"])
    )
    (tmp_path / "excluded.csv").write_text("b.mkv,2.5\n")
    arguments = ("--predictions", tmp_path / "theirs.csv", "--data", data, "--excluded", tmp_path / "excluded.csv")
    done = run(*arguments, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    (told,) = json.loads(done.stdout)
    assert told["classes"][0] == {"name": CLASSES[0], "people": 1, "average_precision": 0.5}
    assert told["protocol"].endswith("without 2 of other videos or moments that do not count")
    assert len((tmp_path / "out" / "detections.csv").read_text().splitlines()) == 3


def test_key_frames_of_another_part_are_no_frames_without_truth(data, tmp_path):
    table = data.read_text().replace("a.mkv", "b.mkv").replace(",1,", ",0.5,", 2).replace(",2,", ",1.25,", 2)
    (tmp_path / "people.csv").write_text(table)
    (tmp_path / "theirs.csv").write_text("b.mkv,0.5,0.1,0.1,0.5,0.9,1,0.9\nb.mkv,1,0.1,0.1,0.5,0.9,1,0.8\n")
    arguments = ("--predictions", tmp_path / "theirs.csv", "--data", tmp_path / "people.csv", "--part", "val")
    (told,) = json.loads(run(*arguments, "--json").stdout)
    assert told["classes"][0]["average_precision"] == 1
    assert (
        told["protocol"]
        == "val part, 1 detections of theirs.csv, without 1 of other videos or moments that do not count"
    )


def test_found_boxes_are_taken_where_the_set_has_them(networks, data, tmp_path):
    found = tmp_path / "found.csv"
    found.write_text("video,time,x1,y1,x2,y2,score\nb.mkv,1,0.1,0.1,0.5,0.9,0.95\nb.mkv,2,0.2,0,0.7,1,0.5\n")
    result = run(networks[0], "--data", data, "--found", found, "--json", "--found-score", 0.9)
    assert result.exit_code == 0, result.output
    (told,) = json.loads(result.stdout)
    assert "found boxes of score 0.9 or more" in told["protocol"]
    assert [each["average_precision"] for each in told["classes"]] == [1, 1, 0, 0, 0]
    truth = run(networks[0], "--data", data, "--found", found, "--boxes", "truth", "--scales", "32,48", "--flip")
    assert "the truth's boxes, short side 32, 48 px, plain and mirrored" in truth.stdout


def test_a_moment_that_cannot_be_seen_ends_with_1(networks, data, tmp_path):
    (tmp_path / "people.csv").write_text(data.read_text())
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mkv", noise(50), fps=30)  # 1.7 s, and there are people at 2 s
    stopped = run(networks[0], "--data", tmp_path / "people.csv")
    assert (stopped.exit_code, stopped.stdout) == (1, "")
    assert "at_s must be in [0.000, 1.667), the time of the video; got 2.0" in stopped.stderr
    assert "--on-error report goes on without such key frames" in stopped.stderr
    told = run(networks[0], "--data", tmp_path / "people.csv", "--on-error", "report")
    assert told.exit_code == 1
    assert "over 3 of 5 classes, 1 of 2 key frames, 2 people" in told.stdout
    assert "b.mkv at 2 s: at_s must be" in told.stderr


def test_key_frames_of_videos_that_a_run_was_trained_on_are_warned_of(networks, data):
    result = run(networks[0], "--data", data, "--part", "all")
    assert "was trained on" not in result.stderr
    table = Path(networks[0].removeprefix("local-dir:")) / "people.csv"
    table.write_text(f"video,time,split\n{data.parent}/a.mkv,1,train\n{data.parent}/b.mkv,1,val\n")
    result = run(networks[0], "--data", data, "--part", "all")
    table.unlink()
    assert "was trained on 2 of these 4 key frames" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["CLASSIFIER", "--data", "DATA"], "classifies whole clips"),
        (["--data", "DATA"], "give detectors or --predictions, and --data"),
        (["DETECTOR", "--data", "DATA", "--part", "test"], "nothing in --part test; it has train 2, val 2, test 0"),
        (["DETECTOR", "--data", "DATA", "--boxes", "found"], "no boxes of a person detector"),
        (["DETECTOR", "--data", "DATA", "--boxes", "some"], "boxes must be one of"),
        (["DETECTOR", "--data", "DATA", "--scales", "big"], "--scales is whole numbers"),
        (["--predictions", "DATA", "--data", "DATA"], "people.csv:1: "),
        (["DETECTOR", "--data", "DATA", "--views", "5x1"], "--views: these are boxes of people, not whole videos"),
        (["DETECTOR", "--data", "DATA", "--one-label"], "--multilabel/--one-label: these are boxes of people"),
        (["--predictions", "DATA", "--data", "DATA", "--flip"], "--flip: --predictions are measured as they are"),
    ],
)  # fmt: skip
def test_what_is_asked_wrongly_ends_with_2(networks, data, arguments, message):
    known = {"DETECTOR": networks[0], "CLASSIFIER": networks[2], "DATA": data}
    result = run(*(known.get(argument, argument) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
