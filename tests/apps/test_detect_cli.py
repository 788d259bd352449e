"""Who does what, by the command: rows, files, drawings, exit codes."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer
from made_networks import TINY, noise, tiny_network
from made_videos import write_video
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from slowfast_hub.apps.cli import app as whole_command
from slowfast_hub.apps.detect import HEADER, detect
from slowfast_hub.people import finder
from slowfast_hub.people.tables import read_boxes
from slowfast_hub.predict.detector import Detector
from slowfast_hub.spec import RoISpec
from slowfast_hub.video.reader import open_video
from slowfast_hub.zoo.hub import save_pretrained

LABELS = ("stand", "walk", "=1+1", "sit (on a chair)", "run/jog")
TABLE = "time,x1,y1,x2,y2,person,score\n0.5,2,3,14,17,eve,0.9\n0.5,10,1,22,18,bob,0.5\n2.5,11,1,23,18,bob,0.75\n"
app = typer.Typer()
app.command()(detect)


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> str:
    """The name of a small detector."""
    folder = tmp_path_factory.mktemp("network")
    model = tiny_network(
        roi=RoISpec(aligned=True), activation="sigmoid", clip=replace(TINY.clip, short_side=32, crop=32)
    )
    model.labels = LABELS
    save_pretrained(model, folder)
    return f"local-dir:{folder}"


@pytest.fixture
def video(tmp_path) -> Path:
    """Four seconds of 24 x 18 px."""
    return write_video(tmp_path / "a.mkv", noise(120), fps=30)


@pytest.fixture
def table(tmp_path) -> Path:
    (tmp_path / "people.csv").write_text(TABLE)
    return tmp_path / "people.csv"


class Known(nn.Module):
    """A detector of objects that sees one person, and less and less surely a second, as it has looked before."""

    def forward(self, pictures):
        self.looks = getattr(self, "looks", 0) + 1
        boxes = torch.tensor([[2.0, 3, 14, 17], [10, 1, 22, 18]])
        return [{"boxes": boxes, "labels": torch.tensor([1, 1]), "scores": torch.tensor([0.95, 0.9 / self.looks])}]


class Nobody(nn.Module):
    def forward(self, pictures):
        return [{"boxes": torch.empty(0, 4), "labels": torch.empty(0), "scores": torch.empty(0)}]


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(finder, "open_finder", lambda name: Known())


def test_json_has_the_people_of_every_moment_of_the_table(network, video, table):
    result = run(video, "--model", network, "--boxes", table, "--top-k", 2, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    expected = [detection.as_json(2) for detection in Detector(network).along(str(video), boxes=table)]
    assert answer["moments"] == expected
    assert [[who["person"] for who in row["people"]] for row in expected] == [["eve", "bob"], ["bob"]]
    assert answer["model"] == network
    assert (answer["video"]["width"], answer["video"]["frames"]) == (24, 120)


def test_a_csv_has_a_row_for_each_action_and_is_a_table_of_boxes(network, video, table, tmp_path):
    result = run(video, "--model", network, "--boxes", table, "--top-k", 5, "--out", tmp_path / "out.csv")
    assert result.exit_code == 0, result.output
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == HEADER
    assert len(rows) == 3 * 5
    assert rows[0] | {"label": "", "score": ""} == {
        **dict(zip(("time", "person", "x1", "y1", "x2", "y2"), ("0.500", "eve", "2.00", "3.00", "14.00", "17.00"))),
        **{"label": "", "score": "", "box_score": "0.9000"},
    }
    assert {row["label"] for row in rows} == {*LABELS[:2], "'=1+1", *LABELS[3:]}  # no formula
    (again, _) = Detector(network).along(str(video), boxes=tmp_path / "out.csv")
    assert again.boxes.tolist() == [[2, 3, 14, 17], [10, 1, 22, 18]]
    assert again.box_scores.tolist() == pytest.approx([0.9, 0.5])
    assert set(read_boxes(tmp_path / "out.csv").people) == {"eve", "bob"}


def test_one_moment_alone_is_asked_for_by_its_time(network, video, known):
    result = run(video, "--model", network, "--at", 1.5, "--json")
    (row,) = json.loads(result.stdout)["moments"]
    assert row["at_s"] == 1.5
    assert [who["box_score"] for who in row["people"]] == pytest.approx([0.95, 0.9])


def test_people_are_found_looked_at_every_so_often_and_keep_their_ids(network, video, known):
    result = run(video, "--model", network, "--every", 2, "--json")
    moments = json.loads(result.stdout)["moments"]
    assert [row["at_s"] for row in moments] == [1, 3]
    assert [[who["person"] for who in row["people"]] for row in moments] == [[0, 1], [0]]  # 0.45 is below 0.8
    result = run(video, "--model", network, "--every", 2, "--person-score", 0.4, "--json")
    assert [len(row["people"]) for row in json.loads(result.stdout)["moments"]] == [2, 2]


def test_actions_below_a_score_are_left_out_and_their_people_stay(network, video, table, tmp_path):
    options = ("--model", network, "--boxes", table, "--score", 1, "--out", tmp_path / "out.csv", "--json")
    moments = json.loads(run(video, *options).stdout)["moments"]
    assert [[who["top"] for who in row["people"]] for row in moments] == [[[], []], [[]]]
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [(row["label"], row["score"]) for row in csv.DictReader(file)] == [("", "")] * 3


def test_scales_and_mirrored_pictures_are_averaged(network, video, table):
    options = ("--boxes", table, "--scales", "32,48", "--flip", "--json", "--top-k", 5)
    answer = json.loads(run(video, "--model", network, *options).stdout)
    expected = Detector(network, scales=(32, 48), flip=True).along(str(video), boxes=table)
    assert answer["moments"] == [detection.as_json(5) for detection in expected]


def test_the_table_on_the_terminal_has_a_row_for_each_person(network, video, table):
    result = run(video, "--model", network, "--boxes", table, "--top-k", 1)
    assert "0:00:02.50" in result.stdout
    assert "2 moments, 2 people" in result.stdout.replace("\n", " ")


def test_a_drawn_video_has_all_frames_and_a_drawn_moment_is_a_picture(network, video, table, tmp_path):
    result = run(video, "--model", network, "--boxes", table, "--draw", tmp_path / "drawn.mp4", "--json")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["moments"]) == 2
    info = open_video(tmp_path / "drawn.mp4").info
    assert (info.frames, info.fps, info.width, info.height) == (120, 30, 24, 18)
    result = run(video, "--model", network, "--boxes", table, "--at", 0.5, "--draw", tmp_path / "drawn.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "drawn.png") as picture:
        assert picture.size == (24, 18)


def test_nobody_is_no_failure(network, video, tmp_path, monkeypatch):
    monkeypatch.setattr(finder, "open_finder", lambda name: Nobody())
    out = tmp_path / "out.csv"
    result = run(video, "--model", network, "--out", out, "--draw", tmp_path / "drawn.mp4", "--json")
    assert result.exit_code == 0, result.output
    assert "nobody was found" in result.stderr
    assert [row["people"] for row in json.loads(result.stdout)["moments"]] == [[]] * 4
    assert out.read_text().splitlines()[1:] == [f"{at}.500,,,,,,,," for at in range(4)]
    assert open_video(tmp_path / "drawn.mp4").info.frames == 120


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--out", "a.txt"), 2, "'.json', '.csv'"),
        (("--draw", "a.avi"), 2, "'.mp4'"),
        (("--at", "1", "--draw", "a.mp4"), 2, "'.png'"),
        (("--out", "there.csv"), 2, "--force"),
        (("--draw", "video.mp4"), 2, "is the video itself"),
        (("--at", "1", "--every", "1"), 2, "leave one of them out"),
        (("--people", "yolo"), 2, "leave one of them out"),
        (("--every", "1"), 2, "moments of its own"),
        (("--at", "1.1"), 2, "has no boxes at 1.1 s"),
        (("--scales", "224;256"), 2, "224,256,320"),
        (("--unit", "cm"), 2, "'px', 'normalised'"),
        (("--boxes", "none.csv"), 2, "none.csv"),
        (("--limit", "duration_s=1"), 1, "duration_s"),
        (("--device", "nonsense"), 2, "nonsense"),
    ],
)
def test_wrong_wishes_are_one_line(network, video, table, tmp_path, monkeypatch, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    video.rename("video.mp4")  # FFmpeg reads what is in a file, not its name
    Path("there.csv").write_text("mine")
    boxes = () if "--boxes" in arguments else ("--boxes", table)
    result = run("video.mp4", "--model", network, *boxes, *arguments)
    assert result.exit_code == code, result.output
    assert says in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("error")]) == 1
    assert result.stdout == ""
    assert Path("there.csv").read_text() == "mine"


def test_a_network_for_whole_clips_and_a_finder_nobody_has_are_refused(network, video, table, tmp_path):
    save_pretrained(tiny_network(), tmp_path / "classifier")
    result = run(video, "--model", f"local-dir:{tmp_path / 'classifier'}", "--boxes", table)
    assert result.exit_code == 2
    assert "_det" in result.stderr
    result = run(video, "--model", network, "--people", "yolo")
    assert result.exit_code == 2
    assert "torchvision has no detector 'yolo'" in result.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_one_line_for_the_finder_too(network, video, known):
    result = run(video, "--model", network, "--device", "cuda")
    assert result.exit_code == 2
    assert "finds no CUDA device" in result.stderr


def test_weights_of_a_finder_that_cannot_be_had_are_a_failure(network, video, monkeypatch):
    def refuse(name):
        raise ConnectionError("the weights cannot be fetched")

    monkeypatch.setattr(finder, "open_finder", refuse)
    result = run(video, "--model", network)
    assert result.exit_code == 1
    assert "cannot be fetched" in result.stderr


def test_a_run_that_fails_in_the_middle_writes_nothing(network, video, table, tmp_path):
    targets = ("--out", tmp_path / "o.json", "--draw", tmp_path / "o.mp4")
    result = run(video, "--model", network, "--boxes", table, *targets, "--limit", "frames=60")
    assert result.exit_code == 1
    assert "Limits(frames=" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv", "people.csv"]


def test_the_command_is_one_of_slowfast_hub():
    assert "detect" in CliRunner().invoke(whole_command, ["--help"]).stdout
