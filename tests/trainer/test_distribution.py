"""Runs of several processes on one machine, with gloo on the CPU, as `torchrun` starts them."""

import multiprocessing
import os
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from made_training import __file__ as PROGRAM

from slowfast_hub.trainer.checkpoint import (
    Progress,
    checkpoints,
    clear,
    load_checkpoint,
    save_checkpoint,
)
from slowfast_hub.trainer.journal import read_lines

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
# What makes a step on one process and on two the same: batch norm within pieces of the step that neither divides.
SAME = ("batch_size=8", "norm_clips=4", "optimizer=sgd", "lr=0.002")


def launch(
    run: Path, *pairs: str, processes: int = 2, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    launcher = [*TORCHRUN, "--standalone", f"--nproc-per-node={processes}", *options]
    return subprocess.run(
        [*launcher, PROGRAM, str(run), *pairs],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=environment,
    )


def losses(run: Path) -> list[float]:
    records = [record for record in read_lines(run / "log.jsonl") if record["kind"] == "step"]
    assert [record["step"] for record in records] == list(range(1, len(records) + 1))
    return [record["loss"] for record in records]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps on two processes."""
    run = tmp_path_factory.mktemp("two") / "run"
    done = launch(run, *SAME)
    assert done.returncode == 0, done.stderr[-3000:]
    return run


def test_a_step_is_the_same_on_one_process_and_on_two(two, tmp_path):
    done = launch(tmp_path / "one", *SAME, processes=1)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(losses(two)) == 6
    assert losses(two) == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
    tests = [[r for r in read_lines(run / "log.jsonl") if r["kind"] == "test"] for run in (two, tmp_path / "one")]
    assert [[(r["requested"], r["decoded"]) for r in test] for test in tests] == [[(4, 4)] * 3] * 2
    (clips,) = {r["clips"] for r in read_lines(two / "log.jsonl") if r["kind"] == "step"}
    assert clips == 8  # of both processes together, each of them once


def test_a_box_weighs_the_same_on_one_process_and_on_two(tmp_path):
    """Steps of eight key frames with eleven to sixteen boxes in all, which two processes do not share evenly."""
    pairs = (*SAME, "people=true", "epochs=1")
    for processes in (1, 2):
        done = launch(tmp_path / str(processes), *pairs, processes=processes)
        assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path / "2") == pytest.approx(losses(tmp_path / "1"), rel=1e-3)


def test_two_processes_that_were_stopped_go_on_to_the_same_losses(two, tmp_path):
    """SIGTERM reaches one of them; both end after the step in which they tell each other, with one checkpoint."""
    done = launch(tmp_path / "run", *SAME, "save_every=1", "step=2")
    assert done.returncode != 0
    (_, last) = checkpoints(tmp_path / "run")
    progress, state = load_checkpoint(last)
    assert progress.step == 3  # the middle of the second epoch
    assert len(state["random"]) == 2
    assert launch(tmp_path / "run", *SAME, "save_every=1").returncode == 0
    assert losses(tmp_path / "run") == losses(two)


def test_the_launcher_starts_a_run_again_when_one_process_dies(two, tmp_path):
    done = launch(tmp_path / "run", *SAME, "save_every=1", "kill=4", options=("--max-restarts=1",))
    assert (tmp_path / "run" / "died").exists()
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path / "run") == losses(two)


@pytest.fixture
def cable():
    """Two network namespaces with a pair of virtual interfaces between them: two machines, to all that TCP can see."""
    names = [f"slowfast{os.getpid()}{side}" for side in "ab"]
    commands = [
        *(f"ip netns add {name}" for name in names),
        f"ip link add {names[0]} netns {names[0]} type veth peer name {names[1]} netns {names[1]}",
        *(
            line
            for place, name in enumerate(names, start=1)
            for line in (
                f"ip -n {name} addr add 10.99.0.{place}/24 dev {name}",
                f"ip -n {name} link set {name} up",
                f"ip -n {name} link set lo up",
            )
        ),
    ]
    try:
        for command in commands:
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no network namespaces here: {command}: {done.stderr.strip()}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@pytest.mark.parametrize("rendezvous", ["static", "c10d"])
def test_two_machines_train_as_two_processes_do(two, tmp_path, cable, rendezvous):
    run = tmp_path / "run"
    if rendezvous == "static":
        where = ["--master-addr=10.99.0.1", "--master-port=29511"]
    else:
        where = ["--rdzv-backend=c10d", "--rdzv-endpoint=10.99.0.1:29511", "--rdzv-id=one"]
    nodes = []
    for rank, name in enumerate(cable):
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "GLOO_SOCKET_IFNAME": name,
        }
        launcher = [*TORCHRUN, "--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1", *where]
        if rendezvous == "c10d":
            launcher += [f"--local-addr=10.99.0.{rank + 1}", f"--rdzv-conf=is_host={rank == 0}"]
        nodes.append(
            subprocess.Popen(
                ["ip", "netns", "exec", name, *launcher, PROGRAM, str(run), *SAME],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
            )
        )
        time.sleep(0.5)
    said = [node.communicate(timeout=240)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said[0][-2000:] + said[1][-2000:]
    assert losses(run) == losses(two)


def write_checkpoints(run: Path, first: int, told: Connection) -> None:
    clear(run, first)
    state = {"network": {"weight": torch.ones(500_000)}}
    for step in range(first, 10**9):
        save_checkpoint(run, Progress(step), state, keep=2)
        told.send(step)


def test_a_checkpoint_is_whole_whenever_the_process_dies(tmp_path):
    """A process that writes one checkpoint after the other is killed at ten moments."""
    context, step = multiprocessing.get_context("fork"), 0
    for turn in range(10):
        heard, told = context.Pipe(duplex=False)
        process = context.Process(target=write_checkpoints, args=(tmp_path, step + 1, told))
        process.start()
        step = heard.recv()
        time.sleep(0.002 * turn)
        process.kill()
        process.join()
        told.close()
        while heard.poll():
            try:
                step = heard.recv()
            except EOFError:
                break
        progress, state = load_checkpoint(checkpoints(tmp_path)[-1])
        assert progress.step >= step  # it may be written and not told yet
        assert float(state["network"]["weight"].sum()) == 500_000
        step = progress.step
    clear(tmp_path, step)
    assert [path.name[0] for path in (tmp_path / "checkpoints").iterdir()].count(".") == 0
