"""Seconds per view: this package and PyTorchVideo's network with the same weights, in one run.

    pip install -e .[bench] && python benchmarks/forward.py

Prints the machine's float32 matrix-product rate beside, as timings of different machines do not compare.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date

import torch
from torch import Tensor, nn

from slowfast_hub import create_model
from slowfast_hub.zoo.convert import to_pytorchvideo


def seconds(run: Callable[[], Tensor], repeats: int) -> float:
    """Median of `repeats` runs, after one that is not counted."""
    run()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def matrix_rate() -> float:
    """GFLOP/s of a 1024 x 1024 float32 product."""
    a, b = torch.randn(2, 1024, 1024)
    return 2 * 1024**3 / seconds(lambda: a @ b, 20) / 1e9


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--size", type=int, default=256)
    arguments = parser.parse_args()
    from pytorchvideo.models.hub import slowfast_r50 as peer_slowfast_r50

    torch.manual_seed(0)
    ours = create_model("slowfast_r50_8x8", pool="window_logits")
    for module in ours.modules():
        # Fresh networks start every block as the identity and give near-constant logits: nothing to compare.
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
    nn.init.normal_(ours.get_classifier().weight, std=0.02)
    peer = peer_slowfast_r50(pretrained=False).eval()
    peer.load_state_dict({to_pytorchvideo(key, ours.arch): value for key, value in ours.state_dict().items()})

    clip = torch.randn(1, 3, 32, arguments.size, arguments.size)
    slow, fast = ours.split(clip)
    channels_last = clip.contiguous(memory_format=torch.channels_last_3d)
    logits = ours(channels_last)
    scale = logits.std()
    difference = (logits - peer([slow, fast])).abs().max() / scale
    their_seconds = seconds(lambda: peer([slow, fast]), arguments.repeats)
    rows = {
        "slowfast_hub, Predictor's layout": seconds(lambda: ours(channels_last), arguments.repeats),
        "slowfast_hub, contiguous": seconds(lambda: ours(clip), arguments.repeats),
        "pytorchvideo 0.1.5": their_seconds,
    }
    machine = platform.processor() or platform.machine()
    print(f"{date.today()}, {machine}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    size = arguments.size
    print(f"slowfast_r50_8x8, one view of 32 x {size} x {size}, float32, median of {arguments.repeats}")
    print(f"matrix product {matrix_rate():.0f} GFLOP/s; largest difference of logits {difference:.1e} of their spread")
    for name, value in rows.items():
        print(f"{value:8.3f} s  {value / their_seconds:5.2f} of pytorchvideo's time  {name}")


if __name__ == "__main__":
    main()
