"""docs/finetune.md runs as written, from the first block to the last: with three classes and fewer epochs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(
    r"```(sh|python)\n(.*?)```", (ROOT / "docs" / "finetune.md").read_text(encoding="utf-8"), flags=re.DOTALL
)
CLASSES = ("hugging", "pointing", "pushing")
SHORTER = "epochs=12 eval_every=12 batch_size=6 lr_batch=6 hold=96 workers=0"


def miniature(block: str) -> str:
    """The block with a shorter training."""
    return re.sub(r"^(slowfast-hub train .*)$", rf"\1 {SHORTER}", block, flags=re.MULTILINE)


@pytest.fixture
def place(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the command and the videos where the blocks look for them."""
    command = tmp_path / "bin" / "slowfast-hub"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m slowfast_hub "$@"\n')
    command.chmod(0o755)
    for name in CLASSES:
        shutil.copytree(shared / "data" / "actions" / "ut_interaction" / name, tmp_path / "actions" / name)
    monkeypatch.setenv("ACTIONS", str(tmp_path / "actions"))
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_the_tutorial_runs_and_its_network_knows_new_videos(place: Path):
    for language, block in BLOCKS:
        start = ["sh", "-e", "-c"] if language == "sh" else [sys.executable, "-c"]
        ran = subprocess.run([*start, miniature(block)], cwd=place, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{block}\n{ran.stdout}\n{ran.stderr}"
    assert ran.stdout.count("'label'") == 3  # the three clips of hugging that were kept for the end
    report = json.loads((place / "eval" / "report.json").read_text(encoding="utf-8"))
    assert report["top1"] > 2 / 3  # of nine clips; chance is a third


def test_there_is_a_block_for_each_step():
    assert [language for language, _ in BLOCKS] == ["sh", "sh", "sh", "sh", "sh", "python"]
    text = "".join(block for _, block in BLOCKS)
    assert re.findall(r"^slowfast-hub (\w+)", text, flags=re.MULTILINE) == ["data", "train", "eval", "classify"]
