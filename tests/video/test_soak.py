"""Reading leaves no memory and no open file behind, and readers stay where they were opened."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from slowfast_hub.video.reader import open_video

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory and open files are read in /proc")
SOAK = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"


def soak(*options: str) -> str:
    """What the benchmark prints; it ends with status 1 where memory grew by 20 MB or files stayed open."""
    command = [sys.executable, str(SOAK), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False, cwd=SOAK.parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@linux
@pytest.mark.parametrize("workers", ["0", "2"])
def test_two_hundred_clips(workers):
    assert "200 clips of 6 files" in soak("--clips", "200", "--warm-up", "80", "--workers", workers)


@linux
@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_five_thousand_clips(workers):
    assert "5000 clips of 6 files" in soak("--workers", workers)


def test_an_open_file_is_not_pickled(counting_video):
    with pytest.raises(TypeError, match=r"counting\.mkv: a reader stays in its process; open the video in the worker"):
        pickle.dumps(open_video(counting_video(3)))
