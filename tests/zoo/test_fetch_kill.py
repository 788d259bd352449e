"""kill -9 at any line of a download: what remains is a cache that works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from local_server import file, running_server, status

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

REPOSITORY = Path(__file__).parents[2]
OLD, NEW = b"old " * 300, b"new " * 300
NAME = "slow_r50_8x8.test"

# Forks a process for each line; the parent has no threads, and imports everything once.
PRELUDE = f"""
import json, logging, os, shutil, signal, sys
from pathlib import Path
import huggingface_hub.utils, filelock, safetensors
from slowfast_hub.zoo import cache, convert, download, fetch
from test_fetch import record

logging.disable()
download.CHUNK_BYTES = 256
NAME = {NAME!r}
OURS = {{module.__file__ for module in (cache, download, fetch)}}

def convert_file(source, target, *, weights, origin):
    content = source.read_bytes()
    with open(target, "wb", buffering=0) as made:
        made.write(b"made of ")
        made.write(content)  # killed before this line, half a file lies there

convert.convert_file = convert_file
OURS.add(convert_file.__code__.co_filename)

def forked(work):
    process = os.fork()
    if process == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

def killed_at(number, work):
    left = number

    def trace(frame, event, argument):
        nonlocal left
        if frame.f_code.co_filename not in OURS:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def traced():
        sys.settrace(trace)
        work()

    return forked(traced) == -signal.SIGKILL
"""

EVERY_LINE = """
old, new = record(sys.argv[1]), record(sys.argv[2])
folder, again, step = cache.cache_dir(), sys.argv[3] == "again", int(sys.argv[4])
points, kept, parts, stayed, bad = 0, 0, 0, 0, []
while True:
    shutil.rmtree(folder, ignore_errors=True)
    if again:
        fetch.weights_path(old)
    if not killed_at(1 + points * step, lambda: fetch.download(new, trust_new=again)):
        break
    points += 1
    entry = cache.Entry(folder, NAME)
    kept += entry.weights.exists()
    parts += entry.part.exists()
    try:
        found = fetch.weights_path(new).read_bytes()
    except Exception as error:
        found = repr(error).encode()
    stayed += b"old" in found
    allowed = [b"made of " + text.encode() for text in sys.argv[5:]]
    if found not in allowed or fetch.verify(new).state != "ok":
        bad.append([points, found.decode()[:200]])
    # At worst an empty folder stays behind; a part that an interrupted replacement left waits for the next one.
    left = {path.name for path in folder.rglob("*") if path.suffix not in (".lock", ".tmp")}
    if not again and left != {NAME + ".json", NAME + ".safetensors"}:
        bad.append([points, sorted(left)])
print(json.dumps({"points": points, "kept": kept, "parts": parts, "old": stayed, "bad": bad}))
"""


def start(code: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "tests", REPOSITORY / "tests" / "zoo")))
    own = {"PYTHONPATH": paths, "SLOWFAST_HUB_CACHE": str(folder / "cache"), "no_proxy": "*"}
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **own})


@pytest.mark.parametrize(
    ("kind", "step", "least"),
    [
        ("first", 4, 75),
        ("again", 4, 75),
        pytest.param("first", 1, 300, marks=pytest.mark.slow),
        pytest.param("again", 1, 300, marks=pytest.mark.slow),
    ],
)
def test_kill_at_any_line_leaves_a_cache_that_works(tmp_path, kind: str, step: int, least: int):
    """A first download and one that replaces an entry, killed before each line; a short run takes a quarter of them."""
    with running_server() as server:
        old, new = server.serve("/old", file(OLD)), server.serve("/new", file(NEW))
        allowed = [NEW.decode()] if kind == "first" else [OLD.decode(), NEW.decode()]
        with start(PRELUDE + EVERY_LINE, tmp_path, old, new, kind, str(step), *allowed) as process:
            answer = json.loads(process.communicate(timeout=300)[0])
    assert answer["bad"] == []
    assert answer["points"] >= least
    if kind == "first":
        assert 0 < answer["kept"] < answer["points"]  # before and behind the rename
    else:
        assert answer["kept"] == answer["points"]  # there is one at any time: the old or the new
        assert 0 < answer["old"] < answer["points"]
    assert 0 < answer["parts"] < answer["points"]


def test_process_killed_from_outside_in_mid_download_is_gone_on_with(tmp_path):
    large = NEW * 100
    with running_server() as server:
        url = server.serve("/new", file(large, piece=10_000, pause_s=0.05), status(404))
        code = PRELUDE + "print(fetch.weights_path(record(sys.argv[1])).read_bytes().decode())"
        part = tmp_path / "cache" / f"{NAME}.part"
        with start(code, tmp_path, url) as process:
            until = time.monotonic() + 60
            while not (part.exists() and part.stat().st_size):
                assert time.monotonic() < until
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        size = part.stat().st_size
        assert 0 < size < len(large)
        server.serve("/new", file(large))
        with start(code, tmp_path, url) as process:
            assert process.communicate(timeout=60)[0] == f"made of {large.decode()}\n"
        assert server.seen[-1].headers["Range"] == f"bytes={size}-"
        assert server.seen[-1].sent == len(large) - size
