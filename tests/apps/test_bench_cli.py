import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from slowfast_hub.apps.bench import write_video
from slowfast_hub.apps.cli import app
from slowfast_hub.predict import bench as module
from slowfast_hub.video.reader import open_video
from slowfast_hub.zoo.registry import DEFAULT_MODEL

CLIP = str(Path(__file__).parents[2] / "examples" / "clip.mp4")
QUICK = ("--views", "1x1", "--repeats", "1")


def run(*arguments: str):
    return CliRunner().invoke(app, ["bench", *arguments])


def test_a_table_with_the_machine_above_it():
    result = run(DEFAULT_MODEL, *QUICK, "--video", CLIP)
    assert result.exit_code == 0
    head, *table = result.stdout.splitlines()
    assert f"{torch.get_num_threads()} threads, torch {torch.__version__}" in head
    assert "GFLOP/s in float32" in head
    (row,) = (line.split() for line in table if DEFAULT_MODEL in line)
    assert len(row) == 7
    assert row[3].endswith("%")
    assert row[5] == "0.12"  # G multiply-adds, as in the README
    assert result.stderr == ""


def test_json_is_alone_on_stdout_and_its_numbers_fit_one_another():
    result = run(f"{DEFAULT_MODEL}.hub_actions16", *QUICK, "--json")
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    machine, (row,) = record["machine"], record["networks"]
    assert {"processor", "threads", "torch", "device", "device_name", "dtype", "matrix_rate"} == set(machine)
    assert row["network"] == f"{DEFAULT_MODEL}.hub_actions16"
    assert row["views_per_second"] == pytest.approx(1000 / row["ms_per_view"])
    seconds = row["ms_per_view"] / 1000
    assert row["rate_fraction"] == pytest.approx(2 * row["multiply_adds"] / (seconds * machine["matrix_rate"]))
    assert 0 < row["decode_share"] <= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((DEFAULT_MODEL, "slowfast_r50_8x9"), "did you mean 'slowfast_r50_8x8'"),
        (("slowfast_r50_8x8.nothing",), "no weights called 'slowfast_r50_8x8.nothing'"),
        (("slowfast_det_r50_4x16",), "slowfast_det_r50_4x16 is a detector"),
        ((DEFAULT_MODEL, "--views", "many"), "'centre', 'paper'"),
        ((DEFAULT_MODEL, "--video", "/nowhere.mp4"), "/nowhere.mp4: there is no such file"),
        ((DEFAULT_MODEL, "--precision", "float8", "--video", CLIP), "'float32', 'bfloat16'"),
        ((DEFAULT_MODEL, "--device", "nonsense", "--video", CLIP), "nonsense"),
        ((DEFAULT_MODEL, "--repeats", "0"), "--repeats"),
    ],
)
def test_usage_errors_exit_with_2_before_anything_is_measured(arguments, said, monkeypatch):
    def measured(*arguments: object):
        pytest.fail("it was measured")

    monkeypatch.setattr(module, "matrix_rate", measured)
    monkeypatch.setattr(module, "bench", measured)
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


def test_a_network_that_fails_is_named_and_the_others_go_on(monkeypatch):
    measure = module.bench

    def too_large(name: str, *how: object):
        if name.endswith("8x8"):
            raise RuntimeError("out of memory")
        return measure(name, *how)

    monkeypatch.setattr(module, "bench", too_large)
    result = run("slowfast_r50_8x8", DEFAULT_MODEL, *QUICK, "--video", CLIP, "--json")
    assert result.exit_code == 1
    assert result.stderr == "error: slowfast_r50_8x8: out of memory\n"
    good, bad = json.loads(result.stdout)["networks"]
    assert good["network"] == DEFAULT_MODEL
    assert bad == {"network": "slowfast_r50_8x8", "error": "out of memory"}


def test_the_video_that_is_made_has_ten_seconds_of_moving_pictures(tmp_path):
    write_video(tmp_path / "a.mp4")
    reader = open_video(tmp_path / "a.mp4")
    info = reader.info
    assert (info.frames, info.fps, info.width, info.height) == (300, 30, 340, 256)
    first, later = (frame.float() for frame in reader.stream([0, 150]))
    assert (first - later).abs().mean() > 10  # of 255


def test_help_says_that_the_rate_may_be_exceeded():
    assert "can exceed 1" in " ".join(run("--help").stdout.replace("│", " ").split())
