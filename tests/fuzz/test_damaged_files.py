"""Damaged files are answered or refused, never more; and the tools that look for exceptions to that would see them."""

import hashlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fuzz.mutate import DAMAGES, mutate
from fuzz.parents import MADE, made_parents, parents_in
from fuzz.run import Outcome, Worker, reason_of, run, table

from slowfast_hub.spec import VideoError, VideoLimitError

BYTES = [bytes(range(256)) * 20, b"ftypmoov" * 300, b"RIFF" + bytes(3000)]


@pytest.fixture(scope="module")
def parents(tmp_path_factory) -> list[Path]:
    return made_parents(tmp_path_factory.mktemp("parents"))


def test_a_seed_makes_the_same_file_on_every_machine():
    digest = hashlib.sha256(b"".join(mutate(seed, BYTES).data for seed in range(500))).hexdigest()
    assert digest[:16] == "39400cb08ed16297"


def test_every_damage_occurs_and_changes_files():
    kinds = Counter(kind for seed in range(500) for kind in mutate(seed, BYTES).kind.split("+"))
    assert set(kinds) == set(DAMAGES)
    assert min(kinds.values()) > 20
    assert sum(mutate(seed, BYTES).data in BYTES for seed in range(500)) < 50


def test_damage_to_nothing_is_nothing_that_fails():
    assert [len(mutate(seed, [b""]).data) <= 32 for seed in range(200)] == [True] * 200
    with pytest.raises(ValueError, match="at least one parent"):
        mutate(0, [])


def test_parents_are_of_many_containers(parents):
    assert len(parents) == len(MADE) + 1 > 20
    assert len({path.suffix for path in parents}) > 12
    assert parents_in(parents[0].parent) == sorted(parents)


def test_damaged_files_are_answered_or_refused(parents):
    outcomes = list(run(range(120), parents, workers=1, limit_s=60, memory_mb=2000))
    assert [outcome.seed for outcome in outcomes] == list(range(120))
    assert [outcome for outcome in outcomes if not outcome.fine] == []
    assert len({outcome.result for outcome in outcomes}) == 2  # some of either


@pytest.mark.slow
def test_two_thousand_damaged_files_are_answered_or_refused(parents):
    outcomes = list(run(range(2000), parents, workers=2, limit_s=60, memory_mb=2000))
    assert [outcome for outcome in outcomes if not outcome.fine] == []


@pytest.mark.slow
def test_two_thousand_damaged_files_of_difficult_parents_are_answered_or_refused(parents, shared):
    parents = [*parents, *parents_in(shared / "data/robustness")]
    outcomes = list(run(range(2000), parents, workers=2, limit_s=60, memory_mb=2000))
    assert [outcome for outcome in outcomes if not outcome.fine] == []


def test_crashes_and_hangs_are_seen_and_the_next_file_has_a_new_worker(parents):
    worker = Worker(parents[:1], limit_s=60, memory_mb=2000)
    assert worker.ask(0).fine
    os.kill(worker.process.pid, signal.SIGSEGV)
    crash = worker.ask(1)
    assert (crash.result, crash.reason) == ("crash", f"the worker died with exit code {-signal.SIGSEGV}")
    assert (crash.kind, crash.parent) == (mutate(1, [parents[0].read_bytes()]).kind, parents[0].name)
    worker.limit_s = 0.0
    assert worker.ask(2).result == "hang"
    worker.limit_s = 60.0
    assert worker.ask(3).fine
    worker.stop()


def test_a_table_counts_like_with_like_and_names_what_failed():
    one = VideoError("a.mp4", "decoding reached frame 3 of 90, then the stream ended")
    two = VideoError("b.mp4", "decoding reached frame 77 of 1, then the stream ended")
    assert reason_of(one) == reason_of(two)
    assert reason_of(VideoLimitError("a.mp4", "pixels", "is large")) == "beyond Limits.pixels"
    refused = [Outcome(seed, "VideoError", reason_of(error)) for seed, error in enumerate((one, two))]
    text = table([*refused, Outcome(2, "hang")])
    assert "2  VideoError   decoding reached frame N of N" in text
    assert "FAILED   seed 2" in text
    assert "FAILED   seed 1" not in text


@pytest.mark.parametrize("target", ["files", "packets"])
def test_fuzz_target_finds_nothing_in_a_short_run(target, tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed")
    command = [sys.executable, str(Path(__file__).with_name("fuzz_probe.py")), "--corpus", str(tmp_path), target]
    done = subprocess.run(
        [*command, "-runs=200", "-seed=1", f"-artifact_prefix={tmp_path}/"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(re.search(r"cov: (\d+)", done.stderr)[1]) > 10
