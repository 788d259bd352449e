"""How fast networks are on this machine, each measured in a fresh process, with fresh weights.

Time does not depend on the values of weights, so that nothing is downloaded. The machine's matrix-product rate stands
beside, as times of different machines do not compare.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from slowfast_hub.models import VideoModel, build
from slowfast_hub.models.count import count
from slowfast_hub.predict.clips import batch, batches_of
from slowfast_hub.predict.dense import dense_logits
from slowfast_hub.predict.network import here
from slowfast_hub.predict.predictor import check_answers_rgb, run_views
from slowfast_hub.predict.speed import Precision, best_batch_size, choose_dtype, name_of, noise, prepare
from slowfast_hub.predict.views import parse_views, plan_views
from slowfast_hub.spec import WHOLE, Arch, ViewPlan, whole
from slowfast_hub.transforms.eval import EvalTransform
from slowfast_hub.video.reader import VideoReader, open_video
from slowfast_hub.zoo.manifest import arch_changes
from slowfast_hub.zoo.registry import DEFAULT_MODEL, find_arch, override, weights_info

USUAL = (DEFAULT_MODEL, "slowfast_r50_4x16", "slowfast_r50_8x8", "slow_r50_8x8", "slowfast_r101_16x8")
SIDE = 2048  # of the matrices whose product is timed


@dataclass(frozen=True)
class Conditions:
    """How networks are measured."""

    video: str  # a path, a URL, or a folder of frames: what decoding is timed on
    views: str = "paper"  # of the video
    precision: Precision = "float32"
    compile: bool = False
    batch_size: int | None = None  # None: what the device is fastest with
    repeats: int = 5  # of one batch, after one that is not counted

    def __post_init__(self) -> None:
        parse_views(self.views)
        whole("repeats", self.repeats, 1)
        if self.batch_size is not None:
            whole("batch_size", self.batch_size, 1)


@dataclass(frozen=True)
class Machine:
    """Where networks are measured."""

    processor: str
    threads: int  # of torch, on the processor
    torch: str  # its version
    device: str  # as torch calls it, "cuda:1"
    device_name: str
    dtype: str  # of the product, and of networks whose precision holds
    matrix_rate: float  # FLOP/s of a product of two matrices of `SIDE`


@dataclass(frozen=True)
class Bench:
    """What one network takes."""

    network: str
    dtype: str  # that it computes in
    batch_size: int
    views: str
    ms_per_view: float  # median
    video_s: float  # from a file to the logits of all views
    decode_s: float  # of the same without the network: opening, decoding, resizing, cropping
    peak_mb: float | None  # above the start, to make ready and to run batches; None where the system does not say
    multiply_adds: int  # of one view
    matrix_rate: float  # FLOP/s of a product in this dtype

    @property
    def views_per_second(self) -> float:
        return 1000 / self.ms_per_view

    @property
    def decode_share(self) -> float:
        """Of the time for a whole video. Near 1 on a card, which computes meanwhile, decoding is what all waits for."""
        return min(1.0, self.decode_s / self.video_s)  # two runs: with a tiny network noise may turn them round

    @property
    def rate_fraction(self) -> float:
        """Of the matrix-product rate; above 1 where kernels save multiplications."""
        return 2 * self.multiply_adds / (self.ms_per_view / 1000 * self.matrix_rate)

    def as_json(self) -> dict[str, Any]:
        derived = ("views_per_second", "decode_share", "rate_fraction")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


def find_network(name: str) -> Arch:
    """The network of a `row` or `row.tag`; ValueError or LookupError for one not there, or that cannot be measured."""
    arch = find_arch(name.partition(".")[0])
    if "." in name:
        arch = override(name, arch, arch_changes(weights_info(name)))
    check_answers_rgb(name, arch)
    return arch


def this_machine(device: str | None = None, precision: Precision = "float32") -> Machine:
    """This machine, and its rate of products; device: None takes CUDA where there is one. RuntimeError if not there."""
    place = here(device)
    dtype = choose_dtype(precision, place)
    rate = matrix_rate(place, dtype)
    called = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
    return Machine(
        processor(), torch.get_num_threads(), torch.__version__, str(place), called, name_of(dtype), matrix_rate=rate
    )


def bench(name: str, arch: Arch, machine: Machine, conditions: Conditions) -> Bench:
    """Measure one network in a process of its own. Errors are those of `prepare`, the device, and the video.

    A script that calls this needs `if __name__ == "__main__":`, as with every process that is spawned.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(measure, name, arch, machine, conditions).result()


def measure(name: str, arch: Arch, machine: Machine, conditions: Conditions) -> Bench:
    """What `bench` does in the fresh process."""
    torch.set_num_threads(machine.threads)
    device = torch.device(machine.device)
    size = conditions.batch_size or best_batch_size(device)
    before_mb = memory_mb(device)
    model = prepare(build(arch).eval().to(device), precision=conditions.precision, compile=conditions.compile)
    with torch.inference_mode():  # as those of a video are made: torch.compile builds again for clips of another kind
        clips = batch([noise(model)[0]] * size, device)
    seconds = median_seconds(lambda: model(clips), conditions.repeats, device)
    peak_mb = memory_mb(device, peak=True)
    decode_s, video_s = road_seconds(model, conditions, size, device)
    dtype = next(model.parameters()).dtype  # "auto" may have stayed with float32; the head, which does, comes last
    return Bench(
        network=name,
        dtype=name_of(dtype),
        batch_size=size,
        views=conditions.views,
        ms_per_view=seconds * 1000 / size,
        video_s=video_s,
        decode_s=decode_s,
        peak_mb=None if peak_mb is None or before_mb is None else peak_mb - before_mb,
        multiply_adds=count(arch).multiply_adds,
        matrix_rate=machine.matrix_rate if name_of(dtype) == machine.dtype else matrix_rate(device, dtype),
    )


@torch.inference_mode()
def median_seconds(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Of `repeats` runs, after one that is not counted; each is waited for."""
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        run()
        wait_for(device)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a product of two square matrices of `SIDE`, median."""
    a, b = torch.randn(2, SIDE, SIDE).to(device, dtype)
    together = 1 if device.type == "cpu" else 50  # on a card one takes as long as the wait for it

    def products() -> None:
        for _ in range(together):
            a @ b

    return 2 * SIDE**3 * together / median_seconds(products, 9, device)


@torch.inference_mode()
def road_seconds(model: VideoModel, conditions: Conditions, size: int, device: torch.device) -> tuple[float, float]:
    """Seconds from a file to the clips of all views, and to their logits."""

    def opened() -> tuple[VideoReader, ViewPlan]:
        reader = open_video(conditions.video)
        return reader, plan_views(reader.info, model.arch, conditions.views)

    def decoded() -> tuple[torch.Tensor, bool]:
        """The last batch, and whether it is of dense views; as `run_views`, which takes those one by one."""
        reader, plan = opened()
        dense, transform = plan.crops == WHOLE, EvalTransform(model.arch.clip)
        road = batches_of(reader, transform, plan.indices, plan.crops, size=1 if dense else size, device=device)
        return deque(road, maxlen=1).pop(), dense

    # Not counted: what a process does once, and making ready for the last batch, which may be of another shape.
    last, dense = decoded()
    dense_logits(model, last) if dense else model(last)
    wait_for(device)
    begin = time.perf_counter()
    decoded()
    wait_for(device)  # its copies to a card may be under way
    between = time.perf_counter()
    run_views(model, *opened(), batch_size=size)
    return between - begin, time.perf_counter() - between


def memory_mb(device: torch.device, *, peak: bool = False) -> float | None:
    """MB of this process now, on its card if it computes there; with `peak`, the most since. None on Windows."""
    if device.type == "cuda":
        return (torch.cuda.max_memory_allocated(device) if peak else torch.cuda.memory_allocated(device)) / 1e6
    refs, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if refs.exists():
        if not peak:
            refs.write_text("5", encoding="utf-8")  # the peak starts anew
        field = "VmHWM:" if peak else "VmRSS:"
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024 / 1e6
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # since the process began: there is no other here
    return most * (1 if sys.platform == "darwin" else 1024) / 1e6  # bytes there, KiB elsewhere


def processor() -> str:
    """Its name, as far as the system says one."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
