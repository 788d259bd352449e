"""Fixtures of all rooms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from made_videos import write_counting

torch.set_num_threads(1)


@pytest.fixture
def counting_video(tmp_path: Path) -> Callable[..., Path]:
    """counting_video(count=90, name="counting.mkv", **how): see `write_counting`."""

    def make(count: int = 90, *, name: str = "counting.mkv", **how: object) -> Path:
        return write_counting(tmp_path / name, count, **how)

    return make


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference figures and difficult files beside the repository; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no shared folder beside the repository")
    return folder
