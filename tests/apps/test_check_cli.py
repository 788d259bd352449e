"""`slowfast-hub data check`: a set in, findings and files out, exit codes."""

import json
from pathlib import Path

import pytest
import typer
from made_videos import moving, write_video
from typer.testing import CliRunner

from slowfast_hub.apps import data

root = typer.Typer()
root.add_typer(data.app, name="data")


def check(*arguments: object):
    return CliRunner().invoke(root, ["data", "check", *map(str, arguments), "--workers", "0"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, in train and val, of two and one videos, all of other lengths, of 2.5 s and more."""
    for place, name in enumerate(
        ("train/walk/a", "train/walk/b", "train/run/c", "train/run/d", "val/walk/e", "val/run/f")
    ):
        path = tmp_path / "set" / f"{name}.mkv"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, moving(50 + 4 * place, height=36, width=48), fps=20)
    return tmp_path / "set"


def kinds(result) -> list[str]:
    return [each["kind"] for each in json.loads(result.stdout)["findings"]]


def test_a_good_set_gives_zero(folder):
    result = check(folder)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == ["6 files, 2 classes: train 4, val 2", "no errors"]
    assert "a folder per class" in result.stderr


def test_warnings_give_zero_and_the_model_says_what_is_short(folder):
    result = check(folder, "--model", "slowfast_r50_16x8", "--json")  # 128 ticks: 4.27 s
    assert result.exit_code == 0
    assert kinds(result) == ["short"] * 6
    assert not kinds(check(folder, "--model", "slowfast_r50_8x8.fair_k400", "--json"))


def test_damaged_files_and_copies_across_the_split_give_one_and_a_report(folder, tmp_path):
    (folder / "val/run/copy.mkv").write_bytes((folder / "train/run/c.mkv").read_bytes())
    (folder / "train/run/text.mkv").write_text("not a video")
    result = check(folder, "--out", tmp_path / "report")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "8 files, 2 classes: train 5, val 3"
    assert lines[1].startswith("error: cannot be read whole: 1. To do: ")
    assert lines[3].startswith("error: copies on both sides of the split: 1. To do: ")
    assert lines[4].endswith(f"val {folder / 'val/run/copy.mkv'}: the same bytes")
    assert lines[5:] == ["errors: put them right before you train"]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["bad.csv", "report.html", "report.json"]
    assert (
        (tmp_path / "report/bad.csv").read_text().splitlines()[1].startswith(f"{folder / 'train/run/text.mkv'},cannot")
    )


def test_a_list_with_groups_and_lines_twice(folder, tmp_path):
    lines = ["train/walk/a.mkv,walk", "train/walk/b.mkv,walk", "train/walk/b.mkv,run", "train/run/c.mkv,run"]
    (tmp_path / "list.csv").write_text("video,label\n" + "\n".join(lines))
    (tmp_path / "val.csv").write_text("video,label\nval/walk/e.mkv,walk\nval/run/f.mkv,run\n")
    options = ("--val", tmp_path / "val.csv", "--videos", folder, "--group-from", "walk|run", "--json")
    result = check(tmp_path / "list.csv", *options)
    assert result.exit_code == 1
    assert kinds(result) == ["group", "group", "labels"]
    found = json.loads(result.stdout)["findings"]
    assert found[0]["text"] == "walk: 3 in train, 1 in val"
    assert found[2]["text"] == "list.csv:3 (walk), list.csv:4 (run)"


def test_limits_are_those_asked_for(folder):
    result = check(folder, "--limit", "frames=51", "--json")
    assert kinds(result).count("unreadable") == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere"),
        (["{folder}", "--model", "slowfast_r50_8x9"], "did you mean 'slowfast_r50_8x8'"),
        (["{folder}", "--limit", "frames=x"], "--limit frames takes a number"),
        (["{folder}", "--out", "{folder}/val/run/f.mkv"], "is a file; the report needs a folder"),
    ],
)
def test_what_is_asked_wrongly_gives_two(arguments, message, folder):
    result = check(*(argument.format(folder=folder) for argument in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
