"""From a trained run to the file in the package: safetensors and manifest record.

python weights/embedded/publish.py weights/embedded/runs/RUN.safetensors
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from protocol import accuracy, done, wilson

import slowfast_hub
from slowfast_hub.trainer.train import save_weights
from slowfast_hub.zoo.load import load_weights
from slowfast_hub.zoo.registry import DEFAULT_MODEL, create_model, find_arch

NAME = f"{DEFAULT_MODEL}.hub_actions16"
PACKAGE = Path(slowfast_hub.__file__).parent
FIXED = "fixed/people+set2/slowfast/0"


def measured() -> dict[str, object]:
    """Accuracy of the fixed split, as `done` has it."""
    record = done()[FIXED]
    figures: dict[str, object] = {"views": "1x1", "split": "three people of nine; scene 2 of 2"}
    for title, part in (("single_actions", range(10)), ("interactions", range(10, 16))):
        right, total = accuracy(record, views="centre", classes=part)
        low, high = wilson(right, total)
        figures[title] = {"right": right, "of": total, "top1": round(100 * right / total, 1)}
        figures[f"{title}_interval_95"] = [round(100 * low, 1), round(100 * high, 1)]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    arguments = parser.parse_args()
    arch = find_arch(DEFAULT_MODEL)
    model = create_model(DEFAULT_MODEL)
    load_weights(model, arguments.weights)
    file = PACKAGE / "zoo" / "embedded" / f"{NAME}.safetensors"
    # With this header a file found on a disk says what it is.
    header = {
        "name": NAME,
        "arch": DEFAULT_MODEL,
        "changes": "{}",
        "clip": json.dumps(asdict(arch.clip)),
        "format": "pt",
    }
    save_weights(model, file, metadata=header)
    content = file.read_bytes()
    record = {
        "arch": DEFAULT_MODEL,
        "changes": {},
        "labels": "actions16",
        "file": file.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "license": "Apache-2.0",
        "origin": "trained by this project: weights/embedded/protocol.py",
        "measured": measured(),
    }
    manifest = PACKAGE / "zoo" / "manifest.json"
    records = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**records, NAME: record}, indent=2) + "\n", encoding="utf-8")
    print(f"{file}: {len(content)} bytes")


if __name__ == "__main__":
    main()
