"""How fast detectors answer: on 1 and 20 boxes, beside the classifier of the same backbone and PyTorchVideo's detector.

    pip install -e .[bench] && python benchmarks/detector.py [NAME ...]

The same weights everywhere, one clip of 256 x 256 px, float32; contestants take turns, ratios of medians.
"""

from __future__ import annotations

import argparse

import torch
from measure import machine
from speed import THEIR, fresh, lively, peer_input, turns
from torch import Tensor

from slowfast_hub.models.count import count
from slowfast_hub.predict.speed import prepare
from slowfast_hub.zoo.convert import to_pytorchvideo

SIDE = 256


def boxes(number: int) -> Tensor:
    """`(N, 5)` of one clip: of people from a sixteenth to half of the picture's side."""
    draws = torch.Generator().manual_seed(number)
    corners = torch.rand(number, 2, generator=draws) * SIDE / 2
    sides = SIDE / 16 + torch.rand(number, 2, generator=draws) * (SIDE / 2 - SIDE / 16)
    return torch.cat([torch.zeros(number, 1), corners, corners + sides], dim=1)


@torch.inference_mode()
def compare(name: str, repeats: int) -> None:
    from pytorchvideo.models import hub

    classifier, detector = lively(name.replace("_det", "")), lively(name)
    classifier_macs, macs = (count(model.arch).multiply_adds for model in (classifier, detector))
    clips = torch.randn(1, 3, detector.arch.clip.frames, SIDE, SIDE).to(memory_format=torch.channels_last_3d)
    one, twenty = boxes(1), boxes(20)
    ready, plain = prepare(detector), prepare(classifier)
    works = {
        "classifier": lambda: plain(clips),
        "1 box": lambda: ready(clips, one),
        "20 boxes": lambda: ready(clips, twenty),
    }
    builders = {"slowfast_det_r50_8x8": hub.slowfast_r50_detection, "slow_det_r50_4x16": hub.slow_r50_detection}
    if name in builders:
        their = builders[name](pretrained=False).eval()
        their.load_state_dict(
            {to_pytorchvideo(key, detector.arch): value for key, value in detector.state_dict().items()}
        )
        inputs = peer_input(detector, clips)
        apart = (their(fresh(inputs), twenty) - ready(clips, twenty).sigmoid()).abs().max().item()
        works[f"{THEIR}, 20 boxes"] = lambda: their(fresh(inputs), twenty)
        print(f"largest difference of a score from {THEIR}: {apart:.1e}")
    times = turns(works, repeats)
    for work, seconds in times.items():
        print(f"| {name} | {work} | {1e3 * seconds:.0f} ms |")
    ratio = times["20 boxes"] / times["classifier"]
    print(f"{name}: 20 boxes / 1 box {times['20 boxes'] / times['1 box']:.2f}")
    print(f"{name}: detector / classifier {ratio:.2f}; of their multiply-adds {macs / classifier_macs:.2f}: ", end="")
    print(f"{ratio / (macs / classifier_macs):.2f} of what they ask for")
    if name in builders:
        print(f"{name}: {THEIR} / ours {times[f'{THEIR}, 20 boxes'] / times['20 boxes']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["slowfast_det_r50_8x8", "slow_det_r50_4x16"])
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    print(machine())
    for name in arguments.names:
        compare(name, arguments.repeats)


if __name__ == "__main__":
    main()
