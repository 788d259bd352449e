import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from made_training import NAME, register_tiny
from made_videos import write_video
from typer.testing import CliRunner

from slowfast_hub import from_pretrained
from slowfast_hub.apps.cli import app
from slowfast_hub.spec import RoISpec
from slowfast_hub.trainer.figures import figures, write_figures
from slowfast_hub.trainer.journal import read_lines
from slowfast_hub.zoo.registry import ARCHS

MODEL = "slowfast_r14_4x16_w16"
FAST = ["epochs=1", "batch_size=4", "head_epochs=0", "warmup_epochs=0", "workers=0", "batch_norm=batch"]


@pytest.fixture(autouse=True)
def tiny_row():
    register_tiny()
    yield
    del ARCHS[NAME]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Five small videos of each of two classes."""
    for label in ("black", "white"):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for number in range(5):
            frames = [np.full((48, 64, 3), (label == "white") * 200 + number, np.uint8)] * 20
            write_video(tmp_path / "clips" / label / f"take{number}.mkv", frames)
    return tmp_path / "clips"


def command(*arguments: object):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_a_folder_of_clips_becomes_a_model_that_classifies(clips, tmp_path):
    run = tmp_path / "run"
    done = command("--data", clips, "--model", NAME, "--out", run, *FAST)
    assert done.exit_code == 0, done.output
    assert "10 videos" in done.stderr or "8 " in done.stderr
    assert f"slowfast-hub classify VIDEO --model local-dir:{run}" in done.stdout.replace("\n", "")
    answer = CliRunner().invoke(
        app, ["classify", str(clips / "black" / "take0.mkv"), "--model", f"local-dir:{run}", "--json"]
    )
    assert {row["label"] for row in json.loads(answer.stdout)[0]["top"]} == {"black", "white"}
    tested = CliRunner().invoke(
        app, ["eval", f"local-dir:{run}", "--data", str(run / "videos.csv"), "--part", "all", "--json"]
    )
    assert tested.exit_code == 0, tested.output
    assert json.loads(tested.stdout)[-1]["decoded"] == 10


def test_a_table_of_boxes_becomes_a_detector_and_its_run_trains_the_same_again(tmp_path):
    people, run, again = (
        write_figures(figures(train=4, moments=2), tmp_path / "set"),
        tmp_path / "run",
        tmp_path / "again",
    )
    detector = ["changes.roi={grid=2}", "changes.beta_inv=4"]
    done = command("--data", people, "--model", NAME, "--out", run, *FAST, *detector)
    assert done.exit_code == 0, done.output
    assert f"slowfast-hub detect VIDEO --model local-dir:{run}" in done.stdout.replace("\n", "")
    records = read_lines(run / "log.jsonl")
    (test,) = [record for record in records if record["kind"] == "test"]
    assert (test["requested"], test["decoded"]) == (2, 2)
    assert from_pretrained(run).arch.roi == RoISpec(grid=2)
    done = command("--data", run / "people.csv", "--recipe", run / "recipe.toml", "--out", again)
    assert done.exit_code == 0, done.output
    assert [r["loss"] for r in read_lines(again / "log.jsonl") if r["kind"] == "step"] == [
        r["loss"] for r in records if r["kind"] == "step"
    ]


def test_a_network_without_boxes_is_refused_for_a_table_of_boxes(tmp_path):
    people = write_figures(figures(train=2, moments=1), tmp_path / "set")
    done = command("--data", people, "--val-share", 0, "--model", NAME, "--out", tmp_path / "run", *FAST)
    assert done.exit_code == 1
    assert "classifies whole clips, and this is a set of people in boxes" in done.stderr.replace("\n", " ")
    assert command("--data", people, "--task", "boxes").exit_code == 2


def test_the_same_command_goes_on_and_a_finished_run_stays(clips, tmp_path):
    first = command("--data", clips, "--model", NAME, "--out", tmp_path / "run", *FAST)
    again = command("--data", clips, "--model", NAME, "--out", tmp_path / "run", *FAST)
    assert (first.exit_code, again.exit_code) == (0, 0)
    steps = [record for record in read_lines(tmp_path / "run" / "log.jsonl") if record["kind"] == "step"]
    assert [record["step"] for record in steps] == [1, 2]
    never = command("--data", clips, "--model", NAME, "--out", tmp_path / "run", "--resume", "never", *FAST)
    assert never.exit_code == 1
    assert "holds a run already" in never.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["epoch=5"], "a recipe has no field 'epoch'"),
        (["batch_size=many"], "batch_size is int; got 'many'"),
        (["--model", "slowfast_r50_9x9"], "unknown model 'slowfast_r50_9x9'"),
        (["--recipe", "nothing"], "no such recipe"),
        (["--group-from", "(nobody)"], "nobody"),
        (["--unit", "px", "--offset-s", "0"], "--offset-s, --unit: these are whole videos, not boxes of people"),
        (["--task", "detection", "--one-label"], "--multilabel/--one-label: these are boxes of people"),
    ],
)
def test_what_is_asked_wrongly_is_said_before_any_work(clips, tmp_path, arguments, said):
    done = command("--data", clips, "--out", tmp_path / "run", *arguments)
    assert done.exit_code in (1, 2)
    assert said in done.stderr.replace("\n", "")
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_a_batch_that_fits_into_memory_is_found(clips, tmp_path):
    done = command("--data", clips, "--model", NAME, "--out", tmp_path / "run", "--auto-batch", *FAST)
    assert done.exit_code == 0, done.output
    assert "micro_batch = 4" in (tmp_path / "run" / "recipe.toml").read_text()


def test_sigterm_ends_a_run_with_a_checkpoint_and_the_command_goes_on(clips, tmp_path):
    run = tmp_path / "run"
    options = ["--data", clips, "--model", MODEL, "--out", run, *FAST[1:], "epochs=200", "patience=0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "slowfast_hub", "train", *map(str, options)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while '"test"' not in ((run / "log.jsonl").read_text() if (run / "log.jsonl").exists() else ""):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in said.replace("\n", " ")
    assert list((run / "checkpoints").glob("step-*.pt"))


def test_without_the_extra_its_name_is_said(clips, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "accelerate" else object())
    for name in [name for name in sys.modules if name.startswith("slowfast_hub.trainer")]:
        monkeypatch.delitem(sys.modules, name)
    done = command("--data", clips)
    assert done.exit_code == 2
    assert 'training needs accelerate: pip install "slowfast-hub[train]", in a clone -e ".[train]"' in done.stderr
