"""From a trained run to the file in the package: safetensors and manifest record.

python weights/embedded/publish.py weights/embedded/runs/RUN.safetensors
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import asdict
from pathlib import Path

from protocol import accuracy, done, wilson

sys.path.insert(0, str(Path(__file__).parents[1]))
from records import read_records, write_records

import slowfast_hub
from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.describe import Description, to_header
from slowfast_hub.zoo.load import load_weights
from slowfast_hub.zoo.manifest import read_labels
from slowfast_hub.zoo.registry import DEFAULT_MODEL
from slowfast_hub.zoo.save import save_tensors

NAME = f"{DEFAULT_MODEL}.hub_actions16"
PACKAGE = Path(slowfast_hub.__file__).parent
FIXED = "fixed/people+set2/slowfast/0"
SOURCE = "trained by this project: weights/embedded/protocol.py"


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
    model = create_model(DEFAULT_MODEL)
    load_weights(model, arguments.weights)
    labels = read_labels("actions16")
    described = Description(NAME, model.arch, labels, {"source": SOURCE, "license": "Apache-2.0"})
    file = PACKAGE / "zoo" / "embedded" / f"{NAME}.safetensors"
    save_tensors(model.state_dict(), file, metadata=to_header(described))
    content = file.read_bytes()
    record = {
        "arch": DEFAULT_MODEL,
        "changes": {},
        "num_classes": model.num_classes,
        "labels": "actions16",
        "activation": model.arch.activation,
        "clip": asdict(model.arch.clip),
        "hosted": {"file": file.name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)},
        "origin": {"source": SOURCE, "license": "Apache-2.0"},
        "measured": measured(),
    }
    write_records({**read_records(), NAME: record})
    print(f"{file}: {len(content)} bytes")


if __name__ == "__main__":
    main()
