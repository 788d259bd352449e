"""`slowfast-hub eval`: networks and predictions to figures, reports, exit codes."""

import json
from pathlib import Path

import pytest
import torch
import typer
from made_networks import tiny_network
from made_videos import moving, write_video
from typer.testing import CliRunner

from slowfast_hub.apps.evaluate import evaluate
from slowfast_hub.zoo.hub import save_pretrained
from slowfast_hub.zoo.registry import DEFAULT_MODEL

app = typer.Typer()
app.command()(evaluate)

CLASSES = ("a", "b", "c", "d", "e")


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> list[str]:
    """Names of two networks with the same classes in another order."""
    names = []
    for number, labels in enumerate((CLASSES, CLASSES[::-1])):
        folder, model = tmp_path_factory.mktemp(f"network{number}"), tiny_network()
        model.labels = labels
        save_pretrained(model, folder)
        names.append(f"local-dir:{folder}")
    return names


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Three classes with two videos each for training, and one for validation."""
    folder = tmp_path_factory.mktemp("data")
    for part, count in (("train", 2), ("val", 1)):
        for place, name in enumerate(CLASSES[:3]):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                frames = moving(40 + 7 * place + number, height=18, width=24)[place:]
                write_video(folder / part / name / f"{number}.mkv", frames, fps=30)
    return folder


def test_figures_come_with_their_protocol_and_a_report(networks, data, tmp_path):
    out = tmp_path / "report"
    result = run(networks[0], "--data", data, "--views", "2x1", "--out", out, "--workers", 1)
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    assert line.startswith("top-1 ")
    assert line.endswith(
        f"3 of 3 videos, {networks[0]}, views 2x1, crop 16 px of short side 16 px, 8 x 4 frames at 30 fps, float32"
    )
    assert {path.name for path in out.iterdir()} == {
        *("confusion.csv", "confusion.png", "per_class.csv", "predictions.jsonl", "report.html", "report.json")
    }
    assert f"report: {out / 'report.html'}" in result.stderr


def test_saved_predictions_are_measured_again_to_the_same_figures(networks, data, tmp_path):
    first = run(networks[0], "--data", data, "--part", "all", "--out", tmp_path / "one", "--json")
    again = run("--predictions", tmp_path / "one" / "predictions.jsonl", "--json")
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert json.loads(first.stdout) == [json.loads((tmp_path / "one" / "report.json").read_text())]
    assert json.loads(first.stdout)[0]["decoded"] == 9


def test_several_networks_are_reported_each_and_together(networks, data, tmp_path):
    result = run(*networks, "--data", data, "--out", tmp_path / "all")
    assert result.exit_code == 0, result.output
    one, two, both = result.stdout.splitlines()
    assert "3 of 3 videos, mean of 2: local-dir:" in both
    folders = sorted(path for path in (tmp_path / "all").iterdir() if path.is_dir())
    files = [folder / "predictions.jsonl" for folder in (*folders, tmp_path / "all")]
    assert [path.parent.name[:2] for path in files[:2]] == ["1_", "2_"]
    scores = [torch.tensor([json.loads(row)["scores"] for row in path.open().readlines()[1:]]) for path in files]
    assert torch.allclose(scores[2], (scores[0] + scores[1]) / 2)
    again = run("--predictions", files[0], "--predictions", files[1])
    assert again.stdout.splitlines() == [one, two, both]


def test_a_video_that_cannot_be_read_ends_the_run_or_is_counted(networks, data, tmp_path):
    copy = tmp_path / "data"
    for name in CLASSES[:2]:
        (copy / "val" / name).mkdir(parents=True)
        (copy / "train" / name).mkdir(parents=True)
        for part in ("train", "val"):
            (copy / part / name / "0.mkv").write_bytes((data / part / name / "0.mkv").read_bytes())
    (copy / "val" / "a" / "torn.mkv").write_bytes(b"no video")
    stopped = run(networks[0], "--data", copy)
    assert (stopped.exit_code, stopped.stdout) == (1, "")
    assert "torn.mkv: cannot be read" in stopped.stderr
    result = run(networks[0], "--data", copy, "--on-error", "report", "--json", "--out", tmp_path / "out")
    assert result.exit_code == 1
    (report,) = json.loads(result.stdout)
    assert (report["decoded"], report["requested"]) == (2, 3)
    assert [Path(failure["video"]).name for failure in report["failed"]] == ["torn.mkv"]
    assert "torn.mkv: cannot be read" in result.stderr
    assert "torn.mkv" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give networks and --data, or --predictions alone"),
        (["NET"], "give networks and --data"),
        (["--data", "DATA"], "give networks and --data"),
        (["NET", "--data", "DATA", "--predictions", "p.jsonl"], "give networks and --data"),
        (["NET", "--data", "DATA", "--part", "dev"], "--part must be one of"),
        (["NET", "--data", "DATA", "--part", "test"], "nothing in --part test; it has train 6, val 3, test 0"),
        (["NET", "--data", "DATA", "--on-error", "skip"], "--on-error must be one of"),
        (["NET", "--data", "DATA", "--views", "7"], "views is 'centre'"),
        (["NET", "--data", "DATA", "--precision", "float16", "--device", "cpu"], "float16 is for GPUs"),
        (["NET", "--data", "DATA", "--out", "DATA/val/a/0.mkv"], "is a file; the report needs a folder"),
        (["NET", "--data", "nowhere"], "nowhere"),
        (["slowfast_r50_9x9", "--data", "DATA"], "slowfast_r50_9x9"),
        (
            [DEFAULT_MODEL, "--data", "DATA"],
            "does not know 3 of the 3 classes: a, b, c; its classes are",
        ),
        (["--predictions", "nowhere.jsonl"], "nowhere.jsonl"),
        (
            ["--predictions", "p.jsonl", "--views", "centre"],
            "--views: --predictions are measured as they are; leave it",
        ),
        (
            ["NET", "--data", "DATA", "--flip", "--found-score", "0.8", "--excluded", "e.csv"],
            "--excluded, --found-score, --flip: these are whole videos, not boxes of people",
        ),
    ],
)
def test_what_is_asked_wrongly_is_said_with_exit_code_2(networks, data, arguments, message):
    given = [word.replace("DATA", str(data)).replace("NET", networks[0]) for word in arguments]
    result = run(*given)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert message in result.stderr


def test_a_report_that_cannot_be_written_does_not_cost_the_figures(networks, data, tmp_path):
    (tmp_path / "out" / "report.json").mkdir(parents=True)
    result = run(networks[0], "--data", data, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stdout.startswith("top-1 ")
    assert "report.json is there and is no file" in result.stderr


def test_predictions_of_other_videos_have_no_mean(networks, data, tmp_path):
    run(networks[0], "--data", data, "--out", tmp_path / "val")
    run(networks[0], "--data", data, "--part", "train", "--out", tmp_path / "train")
    files = [tmp_path / part / "predictions.jsonl" for part in ("val", "train")]
    result = run("--predictions", files[0], "--predictions", files[1])
    assert result.exit_code == 2
    assert "saw different videos; only one of them 9" in result.stderr


def test_classes_that_the_network_does_not_know_are_named_before_any_work(networks, data, tmp_path):
    (tmp_path / "val" / "walk").mkdir(parents=True)
    (tmp_path / "train" / "walk").mkdir(parents=True)
    for part in ("train", "val"):
        (tmp_path / part / "walk" / "torn.mkv").write_bytes(b"no video")
    result = run(networks[0], "--data", tmp_path)
    assert result.exit_code == 2
    assert "does not know 1 of the 1 classes: walk" in result.stderr


def test_videos_that_a_run_was_trained_on_are_warned_of(tmp_path, capsys):
    from slowfast_hub.apps.tested import warn_of_training_videos
    from slowfast_hub.trainer.samples import Sample

    run = tmp_path / "run"
    run.mkdir()
    (run / "videos.csv").write_text(f"video,label,split\n{tmp_path}/a.mp4,x,train\n{tmp_path}/b.mp4,x,val\n")
    samples = [Sample(tmp_path / f"{name}.mp4", (0,)) for name in "ab"]
    warn_of_training_videos([f"local-dir:{run}"], samples, listed="videos.csv", noun="videos")
    assert "was trained on 1 of these 2 videos" in capsys.readouterr().err.replace("\n", " ")
    warn_of_training_videos([f"local-dir:{run}"], samples[1:], listed="videos.csv", noun="videos")
    assert capsys.readouterr().err == ""
