"""Fixtures of all rooms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from local_server import LocalServer, running_server
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


@pytest.fixture(scope="session")
def running() -> Iterator[LocalServer]:
    with running_server() as local:
        yield local


@pytest.fixture
def server(running: LocalServer) -> LocalServer:
    """An HTTP server on this machine that does what a test tells it."""
    running.paths.clear()
    running.seen.clear()
    return running


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of weights, no mirror, no proxy, no pauses between requests."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "SLOWFAST_HUB_MIRROR", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLOWFAST_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("slowfast_hub.zoo.download.sleep", lambda seconds: None)
    return tmp_path / "cache"
