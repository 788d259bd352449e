"""Files of weights: conversion, loading and starting up, each in processes of its own.

    python benchmarks/weights.py

Memory is the peak of the process above what it has after its imports. The file is a PyTorchVideo checkpoint of
slowfast_r50_8x8 (138 MB) with random values, and for loading, of slowfast_r101_8x8 (251 MB) too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from measure import machine, measured

from slowfast_hub.zoo.convert import to_pytorchvideo
from slowfast_hub.zoo.create import create_model

OURS = """
import torch, safetensors.torch
from slowfast_hub.models import build
from slowfast_hub.zoo.load import load_weights
from slowfast_hub.zoo.registry import ARCHS
"""
WORK = {
    "convert": (
        "from slowfast_hub.zoo.convert import convert_file; import safetensors.torch",
        "convert_file({pyth!r}, {out!r}, arch={row!r})",
    ),
    "load ours": (
        OURS + "\nwith torch.device('meta'): model = build(ARCHS[{row!r}])",
        "load_weights(model, {out!r})",
    ),
    "load ours and read every value": (
        OURS + "\nwith torch.device('meta'): model = build(ARCHS[{row!r}])",
        "load_weights(model, {out!r}); total = sum(value.double().sum() for value in model.state_dict().values())",
    ),
    "torch.load and load_state_dict": (
        OURS + "from slowfast_hub.zoo.convert import to_pytorchvideo\nmodel = build(ARCHS[{row!r}])\n"
        "names = {{to_pytorchvideo(key, ARCHS[{row!r}]): key for key in model.state_dict()}}",
        "state = torch.load({pyth!r}, map_location='cpu')['model_state']\n"
        "model.load_state_dict({{names[key]: value for key, value in state.items()}})",
    ),
    "create_model from the cached file": (
        "import torch, safetensors.torch; from slowfast_hub import create_model",
        "create_model({row!r}, checkpoint_path={out!r})",
    ),
    "build for a file (meta device)": (OURS, "with torch.device('meta'): model = build(ARCHS[{row!r}])"),
    "create_model with random values": ("from slowfast_hub import create_model", "create_model({row!r})"),
    "hash": ("from slowfast_hub.zoo.cache import sha256_of; from pathlib import Path", "sha256_of(Path({out!r}))"),
}


def import_seconds(code: str, repeats: int) -> float:
    timed = f"import time; begin = time.perf_counter()\n{code}\nprint(time.perf_counter() - begin)"
    return statistics.median(
        float(subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout)
        for _ in range(repeats)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    print(machine())
    for row in ("slowfast_r50_8x8", "slowfast_r101_8x8"):
        with tempfile.TemporaryDirectory() as folder:
            pyth, out = str(Path(folder) / "in.pyth"), str(Path(folder) / "out.safetensors")
            model = create_model(row)
            state = {to_pytorchvideo(key, model.arch): value for key, value in model.state_dict().items()}
            torch.save({"model_state": state}, pyth)
            size = Path(pyth).stat().st_size / 1e6
            print(f"\n{row}, {size:.0f} MB\n\n| | seconds | peak MB | of the file |\n|---|---|---|---|")
            names = {"row": row, "pyth": pyth, "out": out}
            for name, work in WORK.items():  # in order: what one writes, the next one reads
                found = measured({name: (work[0].format(**names), work[1].format(**names))}, arguments.repeats)[name]
                print(f"| {name} | {found.seconds:.3f} | {found.megabytes:.0f} | {found.megabytes / size:.2f} |")
    both = import_seconds("import torch, slowfast_hub", arguments.repeats)
    alone = import_seconds("import torch", arguments.repeats)
    print(json.dumps({"import torch": round(alone, 3), "import torch, slowfast_hub": round(both, 3)}))


if __name__ == "__main__":
    main()
