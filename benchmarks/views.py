"""What other views and another scaler change: answers of the embedded network on its held-out clips, and their cost.

    python benchmarks/views.py --data ACTIONS

ACTIONS as in weights/embedded/protocol.py. The network sees whole pictures, so that 10 clips x 3 crops are 10 x 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from measure import machine
from torch.utils.flop_counter import FlopCounterMode

from slowfast_hub import Predictor
from slowfast_hub.models import build
from slowfast_hub.predict.dense import dense_logits, plan_dense
from slowfast_hub.spec import VideoInfo
from slowfast_hub.zoo.registry import ARCHS

sys.path.insert(0, str(Path(__file__).parents[1] / "weights" / "embedded"))
from protocol import RUNS, read_actions, split


def answers(data: Path) -> None:
    """Right answers and agreement with the paper's views, on the test part of the fixed split."""
    _, samples, _ = split(read_actions(data), RUNS[0])
    labels = torch.tensor([sample.label for sample in samples])
    roads = {
        "10x3, the paper's": Predictor(views=(10, 1)),
        "10x3, swscale": Predictor(views=(10, 1), scaler="swscale"),
        "centre": Predictor(views="centre"),
        "centre, swscale": Predictor(views="centre", scaler="swscale"),
        "dense": Predictor(views="dense"),
    }
    print(f"\n{len(samples)} held-out clips\n\n| views | right | same top-1 | largest change | mean change | seconds |")
    print("|---|---|---|---|---|---|")
    reference: dict[str, torch.Tensor] = {}
    for name, predict in roads.items():
        begin = time.perf_counter()
        probs = torch.stack([predict(sample.video).probs for sample in samples])
        seconds = time.perf_counter() - begin
        against = reference.setdefault(name.split(",")[0] if "swscale" in name else "10x3", probs)
        right, same = (probs.argmax(1) == labels).sum(), (probs.argmax(1) == against.argmax(1)).sum()
        change = (probs - against).abs()
        print(f"| {name} | {right} | {same} | {change.max():.3f} | {change.mean():.4f} | {seconds:.1f} |")
        reference.setdefault(name.split(",")[0], probs)


def costs() -> None:
    """Multiply-adds for a ten-second 30 fps video, by torch's counter on networks without values."""
    print("\n| network | picture | 30 views (G) | 10 clips of whole pictures (G) | dense (G) | in space | in all |")
    print("|---|---|---|---|---|---|---|")
    for name in ("slowfast_r50_4x16", "slowfast_r50_8x8", "slowfast_r101_16x8", "slow_r50_8x8"):
        arch = ARCHS[name]
        with torch.device("meta"):
            model = build(arch)
        for width in (340, 455):
            info = VideoInfo("made", frames=300, fps=30.0, width=width, height=256)
            length = plan_dense(info, arch).indices.shape[1]

            def giga(frames: int, width: int) -> float:
                with FlopCounterMode(display=False) as counter:
                    dense_logits(model, torch.empty(1, 3, frames, 256, width, device="meta"))  # noqa: B023
                return counter.get_total_flops() / 2e9

            crops, whole = 30 * giga(arch.clip.frames, 256), 10 * giga(arch.clip.frames, width)
            dense = giga(length, width)
            print(f"| {name} | {width}x256 | {crops:.0f} | {whole:.0f} | {dense:.0f} | "
                  f"{crops / whole:.2f}x | {crops / dense:.2f}x |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="without it, the costs alone")
    arguments = parser.parse_args()
    print(machine())
    costs()
    if arguments.data:
        answers(arguments.data)


if __name__ == "__main__":
    main()
