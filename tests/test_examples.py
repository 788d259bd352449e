"""The examples run as written, on videos the tests make."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from made_videos import write_video

from slowfast_hub import Predictor

EXAMPLES = Path(__file__).parents[1] / "examples"


def noise_clip(path: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    frames = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(12)]
    return write_video(path, frames, codec="libx264", pixels="yuv420p")


def test_every_good_file_of_a_folder_gets_a_line(tmp_path, capsys):
    noise_clip(tmp_path / "good.mp4", 0)
    (tmp_path / "bad.mp4").write_text("not a video")
    runpy.run_path(str(EXAMPLES / "classify_folder.py"))["main"](str(tmp_path))
    output = capsys.readouterr()
    assert "good.mp4" in output.out
    assert "bad.mp4" in output.err


def test_a_folder_per_class_becomes_a_network_that_names_its_classes(tmp_path):
    for i, name in enumerate(("left", "right", "left", "right")):
        (tmp_path / "clips" / name).mkdir(parents=True, exist_ok=True)
        noise_clip(tmp_path / "clips" / name / f"{i}.mp4", i)
    out = tmp_path / "out"
    runpy.run_path(str(EXAMPLES / "finetune.py"))["main"](
        str(tmp_path / "clips"), str(out), "epochs=1", "head_epochs=0", "warmup_epochs=0", "workers=0"
    )
    answer = Predictor(f"local-dir:{out}")(tmp_path / "clips" / "left" / "0.mp4")
    assert sorted(answer.labels) == ["left", "right"]
    assert answer.probs.sum() == pytest.approx(1)


def test_a_box_gets_a_line_for_each_second(capsys):
    runpy.run_path(str(EXAMPLES / "detect.py"))["main"](str(EXAMPLES / "clip.mp4"), "0", "0", "1", "1")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" s ")[0].strip() for line in lines] == ["0.50", "1.50", "2.50", "3.50"]
    assert any("jack" in line for line in lines)


@pytest.mark.parametrize("name", ["classify_folder.py", "detect.py", "finetune.py"])
def test_examples_are_one_screen(name):
    assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) < 45
