"""`slowfast-hub data prepare`: folders in, the same folders of small files out; never half a file, never elsewhere."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from made_videos import grey, write_counting, write_video
from typer.testing import CliRunner

from slowfast_hub.apps import data
from slowfast_hub.video.reader import open_video

X264 = {"codec": "libx264", "pixels": "yuv420p", "b_frames": 3, "options": {"qp": "1"}}

root = typer.Typer()
root.add_typer(data.app, name="data")


def prepare(*arguments: object, workers: int = 0):
    return CliRunner().invoke(root, ["data", "prepare", *map(str, arguments), "--workers", str(workers)])


def rows(*arguments: object, workers: int = 0) -> dict[str, dict]:
    """The JSON report, by the names of the sources."""
    return {Path(row["source"]).name: row for row in json.loads(prepare(*arguments, "--json", workers=workers).stdout)}


def states(*arguments: object, workers: int = 0) -> dict[str, str]:
    return {name: row["state"] for name, row in rows(*arguments, workers=workers).items()}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two classes with three videos, a text, a hidden file and one in a folder of its own."""
    folder = tmp_path / "videos"
    for name, count in (("walk/one.mkv", 20), ("walk/two.mp4", 12), ("run/fast/a.b.mkv", 8)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_counting(folder / name, count)
    (folder / "walk" / "labels.csv").write_text("one,1")
    (folder / "walk" / "._one.mkv").write_bytes(b"what another system left")
    return folder


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder_becomes_the_same_folder_of_mp4_files(videos, tmp_path):
    result = prepare(videos, tmp_path / "small")
    assert result.exit_code == 0
    assert result.stdout.endswith("small: 3 made, 0 kept, 0 failed\n")
    assert files(tmp_path / "small") == ["run/fast/a.b.mp4", "walk/one.mp4", "walk/two.mp4"]
    assert open_video(tmp_path / "small/walk/one.mp4").info.frames == 20


def test_options_reach_the_file(videos, tmp_path):
    write_video(videos / "walk/one.mkv", [grey(4 * k, height=96, width=128) for k in range(20)])
    prepare(videos, tmp_path / "small", "--short-side", 32, "--gop", 5, "--crf", 30)
    reader = open_video(tmp_path / "small/walk/one.mp4")
    assert (reader.info.height, reader.info.width) == (32, 42)  # 42.7
    assert len(reader._track.keys) >= 4


def test_a_second_run_makes_only_what_is_new_or_changed(videos, tmp_path):
    small = tmp_path / "small"
    first = rows(videos, small)
    assert {row["state"] for row in first.values()} == {"made"}
    assert first["one.mkv"]["frames"] == 20
    assert first["one.mkv"]["bytes"] == (small / "walk/one.mp4").stat().st_size
    assert set(states(videos, small).values()) == {"kept"}
    write_counting(videos / "walk/one.mkv", 21)
    write_counting(videos / "walk/new.mkv", 5)
    (small / "walk/two.mp4").unlink()
    assert states(videos, small) == {"one.mkv": "made", "new.mkv": "made", "two.mp4": "made", "a.b.mkv": "kept"}
    assert set(states(videos, small, "--crf", 20).values()) == {"made"}
    assert set(states(videos, small, "--crf", 20).values()) == {"kept"}
    assert set(states(videos, small, "--crf", 20, "--overwrite").values()) == {"made"}


def test_one_file_goes_into_a_folder_or_to_a_name(videos, tmp_path):
    assert prepare(videos / "walk/one.mkv", tmp_path / "small").exit_code == 0
    assert prepare(videos / "walk/one.mkv", tmp_path / "other" / "name.mp4").exit_code == 0
    assert files(tmp_path / "small") == ["one.mp4"]
    assert files(tmp_path / "other") == ["name.mp4"]


@pytest.mark.parametrize(
    ("on_error", "code", "reported", "made"),
    [("report", 1, True, 3), ("skip", 1, False, 3), ("raise", 1, True, 0)],
)
def test_a_file_that_cannot_be_read(on_error, code, reported, made, videos, tmp_path):
    (videos / "run" / "broken.mp4").write_bytes(b"not a video")  # comes first: in run/, before run/fast/
    result = prepare(videos, tmp_path / "small", "--on-error", on_error, "--json")
    assert result.exit_code == code
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {videos / 'run/broken.mp4'}: cannot be read as a video")
    failed = [row for row in json.loads(result.stdout) if row["state"] == "failed"]
    assert [line.removeprefix("error: ")] * reported == [row["error"] for row in failed]
    assert len(files(tmp_path / "small")) == made if made else not (tmp_path / "small/walk").exists()
    again = prepare(videos, tmp_path / "small", "--on-error", on_error)
    assert again.stdout.endswith(f"small: 0 made, {made} kept, 1 failed\n")


def test_limits_are_those_asked_for(videos, tmp_path):
    found = rows(videos, tmp_path / "small", "--limit", "frames=15")
    assert {name: row["state"] for name, row in found.items()} == {
        "one.mkv": "failed",
        "two.mp4": "made",
        "a.b.mkv": "made",
    }
    assert "more than 15 frames" in found["one.mkv"]["error"]


def test_files_that_this_command_did_not_make_are_not_replaced_unasked(videos, tmp_path):
    mine = write_counting(tmp_path / "mine.mkv", 3)
    for name in ("one.mp4", "two.mp4"):
        (tmp_path / "small/walk").mkdir(parents=True, exist_ok=True)
        (tmp_path / "small/walk" / name).write_bytes(mine.read_bytes() if name == "one.mp4" else b"no video at all")
    result = prepare(videos, tmp_path / "small")
    assert result.exit_code == 1
    assert result.stderr.count("is there and was not made here; choose another folder, or pass --overwrite") == 2
    assert (tmp_path / "small/walk/one.mp4").read_bytes() == mine.read_bytes()
    assert set(states(videos, tmp_path / "small", "--overwrite").values()) == {"made"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none", "small"), "none is no folder and no file"),
        (("empty", "small"), "no videos; expected files that end in one of .3gp"),
        (("videos", "videos/small"), "lies in videos"),
        (("videos", "videos"), "lies in videos"),
        (("videos", "taken.txt"), "taken.txt is a file"),
        (("videos", "small", "--short-side", "255"), "short_side must be even"),
        (("videos", "small", "--crf", "99"), "from 0 to 51"),
        (("videos", "small", "--on-error", "ignore"), "--on-error must be one of"),
        (("videos", "small", "--limit", "size=3"), "--limit is NAME=VALUE"),
        (("videos/walk/two.mp4", "videos/walk/two.mp4"), "is one of the videos, and would be replaced"),
        (("videos/walk/two.mp4", "videos/walk"), "is one of the videos, and would be replaced"),
        (("videos/walk", "videos/walk/../walk"), "lies in videos/walk"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_usage_errors_exit_with_2_and_write_nothing(arguments, said, videos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken.txt").write_text("text")
    before = files(tmp_path)
    result = prepare(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr.replace("\n", " ")
    assert files(tmp_path) == before


def test_two_files_that_would_become_one_are_refused(videos, tmp_path):
    write_counting(videos / "walk/one.mp4", 3)
    result = prepare(videos, tmp_path / "small")
    assert result.exit_code == 2
    assert "would both become" in result.stderr


def test_a_folder_around_the_sources_keeps_them(videos, tmp_path):
    """Prepared into the folder above, videos/a.mp4 of a folder of its own name would fall on a source."""
    (videos / "videos/walk").mkdir(parents=True)
    write_counting(videos / "videos/walk/two.mp4", 3)
    before = (videos / "walk/two.mp4").read_bytes()
    assert prepare(videos, tmp_path).exit_code == 2
    assert (videos / "walk/two.mp4").read_bytes() == before


def test_links_lead_nothing_out_of_the_target(videos, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "small").mkdir()
    (tmp_path / "small/walk").symlink_to(outside)
    result = prepare(videos, tmp_path / "small")
    assert result.exit_code == 2
    assert "there is a link on the way" in result.stderr
    assert files(outside) == []


def test_a_linked_file_is_replaced_and_what_it_leads_to_is_not(videos, tmp_path):
    outside = tmp_path / "outside.mp4"
    outside.write_text("precious")
    (tmp_path / "small/walk").mkdir(parents=True)
    (tmp_path / "small/walk/one.mp4").symlink_to(outside)
    prepare(videos, tmp_path / "small", "--overwrite")
    assert outside.read_text() == "precious"
    assert open_video(tmp_path / "small/walk/one.mp4").info.frames == 20


def test_linked_videos_are_read_and_linked_folders_are_named(videos, tmp_path):
    write_counting(tmp_path / "far.mkv", 7)
    (videos / "walk/far.mkv").symlink_to(tmp_path / "far.mkv")
    (videos / "circle").symlink_to(videos)
    result = prepare(videos, tmp_path / "small")
    assert result.exit_code == 0
    assert result.stderr == f"not followed: {videos / 'circle'} is a link\n"
    assert open_video(tmp_path / "small/walk/far.mp4").info.frames == 7
    assert len(files(tmp_path / "small")) == 4


def test_worker_processes_make_the_same_files(videos, tmp_path):
    (videos / "run" / "broken.mp4").write_bytes(b"not a video")
    found = rows(videos, tmp_path / "small", workers=2)
    assert {name: row["state"] for name, row in found.items()} == {
        "broken.mp4": "failed", "a.b.mkv": "made", "one.mkv": "made", "two.mp4": "made",
    }  # fmt: skip
    assert list(found) == ["broken.mp4", "a.b.mkv", "one.mkv", "two.mp4"]  # in the order of their paths
    prepare(videos, tmp_path / "alone")
    for name in files(tmp_path / "alone"):
        pair = [torch.stack(list(open_video(tmp_path / each / name).stream([0, 7]))) for each in ("small", "alone")]
        assert (pair[0].int() - pair[1].int()).abs().max() <= 2, name


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_whole_files_and_the_next_goes_on(end, tmp_path):
    folder, small = tmp_path / "videos", tmp_path / "small"
    folder.mkdir()
    draw = np.random.default_rng(0)
    # Noise, which takes x264 its time.
    pictures = [draw.integers(0, 256, (96, 128, 3), dtype=np.uint8) for _ in range(60)]
    source = write_video(folder / "0.mp4", pictures, codec="libx264", pixels="yuv420p", options={"preset": "ultrafast"})
    for number in range(1, 8):
        (folder / f"{number}.mp4").write_bytes(source.read_bytes())
    command = "from slowfast_hub.apps.data import app; app()"
    running = subprocess.Popen(
        [sys.executable, "-c", command, "prepare", str(folder), str(small), "--workers", "2"],
        cwd=Path(data.__file__).parents[2],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: list(small.glob("[0-9].mp4")) and list(small.glob(".*")))  # one is done, one has been begun
    os.killpg(running.pid, end)
    assert running.wait(60) != 0
    wait_until(lambda: not list(small.glob(".*")))
    whole = files(small)
    assert 0 < len(whole) < 8
    assert all(open_video(small / name).info.frames == 60 for name in whole)
    for path in folder.iterdir():
        if path.name not in whole:
            path.unlink()
    assert set(states(folder, small).values()) == {"kept"}


def wait_until(happened) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)
