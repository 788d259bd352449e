"""What the benchmarks share: the machine in words, and work measured in processes of its own."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import NamedTuple

import torch

# Printed by every measured process: seconds, and peak MB above the time after the imports.
MEASURE = """
import sys, time, warnings
warnings.simplefilter("ignore")
def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1e3 for line in file if line.startswith(field))
def measured(imports, work):
    exec(imports, globals())
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
    before, begin = status("VmRSS"), time.perf_counter()
    exec(work, globals())
    print(time.perf_counter() - begin, status("VmHWM") - before)
"""


class Figures(NamedTuple):
    """Medians of several fresh processes."""

    seconds: float
    megabytes: float  # peak above what the process has after its imports


def measured(works: dict[str, tuple[str, str]], repeats: int) -> dict[str, Figures]:
    """Run each (imports, work), both Python, `repeats` times in fresh processes.

    They take turns, so that all of them see the same noise.
    """
    rows: dict[str, list[Figures]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, (imports, work) in works.items():
            code = f"{MEASURE}\nmeasured({imports!r}, {work!r})"
            done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
            rows[name].append(Figures(*map(float, done.stdout.split()[-2:])))
    return {name: Figures(*map(statistics.median, zip(*found))) for name, found in rows.items()}


def machine() -> str:
    """Date, processor, threads and versions, for the head of a table."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    processor = next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown processor")
    threads = f"{torch.get_num_threads()} threads"
    return f"{date.today()}, {processor}, {threads}, torch {torch.__version__}, Python {platform.python_version()}"
