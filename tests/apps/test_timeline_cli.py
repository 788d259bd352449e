import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import typer
from local_server import LocalServer, file
from made_networks import noise, tiny_network
from made_videos import write_video
from typer.testing import CliRunner

from slowfast_hub.apps.stream import stream
from slowfast_hub.apps.timeline import timeline
from slowfast_hub.predict.timeline import timeline as scored
from slowfast_hub.zoo.hub import save_pretrained

CLIP = str(Path(__file__).parents[2] / "examples" / "clip.mp4")
COMMAND = "import typer; from slowfast_hub.apps.timeline import timeline; typer.run(timeline)"
ONE_THREAD = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
}  # as in this process: sums of several threads differ in the last bit
app = typer.Typer()
app.command()(timeline)
app.command()(stream)


def run(*arguments: object, given: bytes | None = None):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> str:
    """The name of a small network."""
    folder = tmp_path_factory.mktemp("network")
    save_pretrained(tiny_network(), folder)
    return f"local-dir:{folder}"


@pytest.fixture
def video(tmp_path) -> Path:
    """Four seconds: windows of 32 ticks every 16, so seven."""
    return write_video(tmp_path / "a.mkv", noise(120), fps=30)


def test_segments_are_a_table_and_everything_else_is_on_stderr():
    result = run("timeline", CLIP, "--stride-s", "1")
    assert result.exit_code == 0
    assert "jack" in result.stdout
    assert "0:00:04.00" in result.stdout
    assert "3 windows of 2.13 s every 1.00 s, 1 segments" in result.stdout
    assert "the embedded network" in result.stderr


def test_json_is_alone_on_stdout(network, video):
    found = json.loads(run("timeline", video, "--model", network, "--json").stdout)
    answer = scored(video, network)
    assert [window["start"] for window in found["windows"]] == answer.starts_s.tolist()
    assert found["segments"] == [vars(segment) for segment in answer.segments()]


def test_options_reach_what_they_are_for(network, video, tmp_path):
    options = ("--window-s", 2, "--stride-s", 0.5, "--crop", "left", "--batch-size", 2)
    by = ("--enter", 0.4, "--leave", 0.2, "--smooth-s", 1, "--shortest-s", 0.6, "--gap-s", 1.5, "--label", "class 0")
    result = run("timeline", video, "--model", network, "--out", tmp_path / "a.csv", *options, *by)
    assert result.exit_code == 0
    answer = scored(video, network, window_s=2, stride_s=0.5, crop="left", batch_size=2)
    segments = answer.segments(enter=0.4, leave=0.2, smooth_s=1, shortest_s=0.6, gap_s=1.5, labels=["class 0"])
    assert segments != []
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], row["start"]) for row in rows] == [(s.label, f"{s.start:.3f}") for s in segments]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.mkv"]  # no .partial


def test_a_file_that_is_there_is_replaced_only_by_force(network, video, tmp_path):
    (tmp_path / "a.srt").write_text("mine")
    result = run("timeline", video, "--model", network, "--out", tmp_path / "a.srt")
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert (tmp_path / "a.srt").read_text() == "mine"
    assert run("timeline", video, "--model", network, "--out", tmp_path / "a.srt", "--force").exit_code == 0
    assert (tmp_path / "a.srt").read_text() != "mine"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--out", "a.txt"), 2, ".srt"),
        (("--enter", "0.2"), 2, "leave <= enter"),
        (("--gap-s", "inf"), 2, "gap_s must be a number of seconds"),
        (("--label", "clas 0"), 2, "did you mean 'class 0'"),
        (("--window-s", "-1"), 2, "window_s"),
        (("--device", "nonsense"), 2, "nonsense"),
        (("--limit", "duration_s=1"), 1, "duration_s"),
        (("--fps", "25"), 2, "leave fps out"),
    ],
)
def test_wrong_wishes_are_one_line(network, video, tmp_path, monkeypatch, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    result = run("timeline", video, "--model", network, *arguments)
    assert result.exit_code == code
    assert says in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("error")]) == 1
    assert result.stdout == ""


def test_a_video_that_cannot_be_read_is_one_line(network, tmp_path):
    (tmp_path / "bad.mp4").write_text("not a video")
    result = run("timeline", tmp_path / "bad.mp4", "--model", network, "--out", tmp_path / "bad.json")
    assert result.exit_code == 1
    assert "bad.mp4" in result.stderr
    assert not (tmp_path / "bad.json").exists()


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(network, tmp_path):
    video = write_video(tmp_path / "a.mkv", noise(900), fps=30)
    command = [sys.executable, "-c", COMMAND, str(video), "--model", network, "--stride-s", "0.05", "--out"]
    process = subprocess.Popen([*command, str(tmp_path / "a.json")], env=ONE_THREAD, stderr=subprocess.PIPE)
    partial = tmp_path / "a.json.partial"
    end = time.monotonic() + 60
    while not partial.exists() or partial.read_bytes().count(b"\n") < 4:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, says = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"a.json.partial keeps what is done, and the same command goes on" in says
    assert not (tmp_path / "a.json").exists()
    done = partial.read_bytes()
    # Another command does not go on with it, nor does it harm it.
    other = run("timeline", video, "--model", network, "--stride-s", "0.1", "--out", tmp_path / "a.json")
    assert other.exit_code == 2
    assert "windows" in other.stderr
    assert partial.read_bytes() == done
    assert run("timeline", video, "--model", network, "--stride-s", 0.05, "--out", tmp_path / "a.json").exit_code == 0
    assert not partial.exists()
    scored(video, network, stride_s=0.05).save(tmp_path / "b.json")
    assert json.loads((tmp_path / "a.json").read_text()) == json.loads((tmp_path / "b.json").read_text())


def test_lengths_are_checked_before_the_work(network, tmp_path):
    """Nobody has looked yet for the video, which is not there."""
    result = run("timeline", tmp_path / "missing.mp4", "--model", network, "--smooth-s", "inf")
    assert result.exit_code == 2
    assert "smooth_s must be a number of seconds" in result.stderr


def test_an_address_has_a_timeline_too_without_a_partial(network, video, tmp_path, server: LocalServer):
    address = server.serve("/a.mkv", file(video.read_bytes()))
    assert run("timeline", address, "--model", network, "--out", tmp_path / "a.json").exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "a.mkv"}


def test_standard_input_is_left_at_its_limit(network, video):
    code = "import typer; from slowfast_hub.apps.stream import stream; typer.run(stream)"
    command = [sys.executable, "-c", code, "-", "--model", network, "--limit", "duration_s=2"]
    with video.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Limits(duration_s=" in done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_a_stream_is_a_line_for_each_window(network, video):
    lines = run("stream", video, "--model", network, "--json", "--top-k", 2).stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    answer = scored(video, network, batch_size=1)
    assert [row["start"] for row in rows] == answer.starts_s.tolist()
    assert [row["end"] for row in rows] == answer.ends_s.tolist()
    scores = torch.tensor([[each["score"] for each in row["top"]] for row in rows])
    assert torch.allclose(scores, answer.probs.topk(2).values, atol=1e-5)
    result = run("stream", video, "--model", network)
    assert result.stdout.splitlines()[1].split()[:2] == ["0.53", "1.60"]
    assert "7 windows, 120 frames" in result.stderr


def test_standard_input_is_a_stream(network, video):
    code = "import typer; from slowfast_hub.apps.stream import stream; typer.run(stream)"
    with video.open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code, "-", "--model", network],
            stdin=file,
            capture_output=True,
            text=True,
            check=True,
        )
    assert len(done.stdout.splitlines()) == 7


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("missing.mp4",), 1, "there is no such file"),
        (("rtsp://127.0.0.1:1/x",), 1, "cannot be read"),
        ((CLIP, "--drop", "all"), 2, "'never', 'oldest', 'newest'"),
        ((CLIP, "--limit", "duration_s=1"), 1, "duration_s"),
    ],
)
def test_a_stream_that_fails_is_one_line(network, arguments, code, says):
    result = run("stream", *arguments, "--model", network)
    assert result.exit_code == code
    assert says in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("error")]) == 1
