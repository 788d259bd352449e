"""A network made ready for inference on its device: the same answers, sooner.

`prepare` copies a network and replaces its bricks (fused.py). In float32 the answers are the same to rounding. A
reduced precision, and what torch.compile builds, is used only after its maps were compared on this machine, as kernels
have been silently wrong: `KNOWN_BAD` lists those that matter here. A NaN in a clip may get lost on the CPU, as the ReLU
of oneDNN makes 0 of it; weights with one are refused.
"""

from __future__ import annotations

import copy
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from slowfast_hub.models import VideoModel
from slowfast_hub.predict.fused import fuse
from slowfast_hub.predict.onednn import Target, has_bfloat16
from slowfast_hub.spec import one_of, yes_or_no

Precision = Literal["float32", "bfloat16", "float16", "auto"]
PRECISIONS = ("float32", "bfloat16", "float16", "auto")

# The most that a map may differ from float32's, as a share of its largest value. bfloat16 rounds to 1 in 256 and has
# 0.02 at res5 of an R50, float16 0.002; a wrong kernel has about 1 (docs/performance.md).
TOLERANCE = 0.1


@dataclass(frozen=True)
class BadKernel:
    """A kernel of torch or its libraries that gives wrong numbers, or good ones slowly."""

    kernel: str
    effect: str
    issue: str
    refused: bool  # wrong where these networks come: that precision is not offered
    here: Callable[[], bool]  # whether this installation has it


def cudnn() -> int:
    """The version of cuDNN as a number like 91002, 0 without it."""
    return torch.backends.cudnn.version() or 0 if torch.cuda.is_available() else 0


KNOWN_BAD = (
    BadKernel(
        "CUDA: Conv3d in bfloat16, cuDNN 9.8 to 9.12",
        "silently wrong numbers on large inputs",
        "https://github.com/pytorch/pytorch/issues/163539",
        True,
        lambda: 90800 <= cudnn() < 91300,
    ),
    BadKernel(
        "CUDA: Conv3d in half precision, torch 2.9 with cuDNN before 9.15",
        "several times slower, and more memory, than in torch 2.8",
        "https://github.com/pytorch/pytorch/issues/166643",
        False,
        lambda: torch.__version__ >= "2.9" and 0 < cudnn() < 91500,
    ),
    BadKernel(
        "CPU: Conv3d in bfloat16, with a stride along an axis that ends with one place",
        "wrong numbers; the convolutions of these networks are padded to more",
        "https://github.com/pytorch/pytorch/issues/169688",
        False,
        has_bfloat16,
    ),
)


def known_bad() -> list[str]:
    """The entries of `KNOWN_BAD` that this installation has, in words."""
    return [f"{bad.kernel}: {bad.effect} ({bad.issue})" for bad in KNOWN_BAD if bad.here()]


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The numbers to compute in; ValueError for those that `device` has no fast kernels for.

    "auto": float16 on NVIDIA cards with tensor cores (7.0 and newer), bfloat16 on CPUs that have it (AVX512_BF16, AMX),
    float32 elsewhere: on other CPUs, and on MPS, where nothing has been measured.
    """
    one_of("precision", precision, PRECISIONS)
    cores = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0)
    if precision == "auto":
        if cores:
            return torch.float16
        return torch.bfloat16 if device.type == "cpu" and has_bfloat16() else torch.float32
    if precision == "bfloat16" and device.type == "cpu" and not has_bfloat16():
        raise ValueError("this processor has no bfloat16 (AVX512_BF16 or AMX): precision='float32' is faster here")
    if precision == "bfloat16" and device.type == "cuda":
        for bad in (bad for bad in KNOWN_BAD if bad.refused and bad.here()):
            raise ValueError(f"{bad.kernel}: {bad.effect} ({bad.issue}); take float16 or float32")
    if precision == "float16" and device.type == "cpu":
        raise ValueError("float16 is for GPUs: on the CPU take precision='float32' or 'bfloat16'")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


def name_of(dtype: torch.dtype) -> str:
    """As `precision` has it: "float32"."""
    return str(dtype).removeprefix("torch.")


def best_batch_size(device: torch.device) -> int:
    """Clips per run: on the CPU one at a time stays in its cache, and more take no less time each."""
    return 1 if device.type == "cpu" else 8


def prepare(model: VideoModel, *, precision: Precision = "float32", compile: bool = False) -> VideoModel:
    """A copy of `model` for inference on the device it is on, with the same methods.

    It takes no gradients, and later changes of `model` are not seen. Clips and logits are float32, maps as the
    precision has them.
    precision: see `choose_dtype`. "auto" warns and stays with float32 where a reduced precision fails the comparison;
        asked for by name, that is a RuntimeError.
    compile: build with torch.compile too, which takes about a minute, less when it finds its own cache
        (TORCHINDUCTOR_CACHE_DIR); what it built is used if it is faster. What was done is said on stderr. Batches of
        more than one clip are built when the first one comes.
    """
    yes_or_no("compile", compile)
    device = next(model.parameters()).device
    target = Target(device, choose_dtype(precision, device))
    ready = built(model, target)
    if target.dtype != torch.float32:
        exact = built(model, Target(device))
        apart = difference(ready, exact)
        if not apart <= TOLERANCE:
            message = (
                f"{name_of(target.dtype)} differs from float32 by {apart:.3f} of the largest value, "
                f"more than {TOLERANCE}: a wrong kernel, see `slowfast-hub doctor`"
            )
            if precision != "auto":
                raise RuntimeError(f"{message}; precision='float32' is safe")
            warnings.warn(f"{message}; using float32", stacklevel=2)
            target, ready = Target(device), exact
    return faster(ready, compiled(model, target)) if compile else ready


def built(model: VideoModel, target: Target) -> VideoModel:
    """A copy of `model` with its bricks replaced. The head stays in float32."""
    ready = copy.deepcopy(model).eval().float().requires_grad_(False)
    fuse(ready, target=target)
    if not all(parameter.isfinite().all() for parameter in ready.parameters()):
        raise ValueError("the weights hold NaN or infinity")  # which oneDNN's ReLU would hide: it makes 0 of NaN
    if target.dtype != torch.float32:
        for name, child in ready.named_children():
            if name != "head":
                child.to(target.dtype)
        ready.head.register_forward_pre_hook(maps_to_head)
    return ready


def maps_to_head(head: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Maps in the numbers of the head, float32 unless it was replaced."""
    dtype = next((parameter.dtype for parameter in head.parameters()), torch.float32)
    return ([m.to(dtype) for m in arguments[0]], *arguments[1:])


def noise(model: VideoModel) -> Any:
    """A clip of the network's own size, of noise; two for a network that sees flow."""
    arch, like = model.arch, next(model.parameters())
    draws = torch.Generator("cpu").manual_seed(0)

    def clip(channels: int, frames: int) -> Tensor:
        values = torch.randn(
            1, frames, arch.clip.crop, arch.clip.crop, channels, generator=draws, device="cpu", dtype=torch.float32
        )
        return values.to(like.device).permute(0, 4, 1, 2, 3)

    if getattr(arch, "fast_input", "rgb") == "flow":
        return [clip(arch.in_chans, arch.clip.frames // arch.alpha), clip(2, arch.clip.frames)]  # type: ignore[union-attr]
    return clip(arch.in_chans, arch.clip.frames)


@torch.inference_mode()
def difference(ready: VideoModel, exact: VideoModel) -> float:
    """How far the maps of res5 lie apart on noise, as a share of the largest value; NaN if there are any."""
    clips = noise(exact)
    pairs = zip(ready.forward_features(clips), exact.forward_features(clips))
    apart = [(a.float() - b).abs().max() / b.abs().max().clamp(min=1e-12) for a, b in pairs]
    return float(torch.stack(apart).max())  # Python's max would pass over a NaN


def compiled(model: VideoModel, target: Target) -> VideoModel:
    """As `built`, with `forward_features` made by torch.compile."""
    ready = built(model, Target(target.device, target.dtype, compiler=True))
    difference(ready, ready)  # makes what depends on the size of the clip
    mode = None if target.cpu else "reduce-overhead"  # CUDA graphs: hundreds of small kernels at once
    build = torch.compile(ready.forward_features, mode=mode, dynamic=False)

    def forward_features(clips: Any, stage: str = "res5") -> tuple[Tensor, ...]:
        # Only a frozen graph has its weights in the order of oneDNN; torch.compile(options=) does not reach that far.
        with torch._inductor.config.patch(freezing=target.cpu), torch.no_grad():
            maps = build(clips, stage)
        return maps if target.cpu else tuple(m.clone() for m in maps)  # a graph's own are overwritten by the next run

    ready.forward_features = forward_features  # type: ignore[method-assign, assignment]
    return ready


@torch.inference_mode()
def faster(eager: VideoModel, built: VideoModel) -> VideoModel:
    """The faster of two on a clip of the network's own size; tells how long building took, and which it is."""
    clips, seconds = noise(eager), []
    begin = time.perf_counter()
    built.forward_features(clips)
    wait = time.perf_counter() - begin
    for one in (eager, built):
        for _ in range(2):  # the first run makes ready
            begin = time.perf_counter()
            maps = one.forward_features(clips)
            float(maps[0].flatten()[0])  # waits for a GPU
        seconds.append(time.perf_counter() - begin)
    agrees = difference(built, eager) <= TOLERANCE
    kept = "compiled" if agrees and seconds[1] < seconds[0] else "not compiled"
    times = f"{seconds[1] * 1e3:.1f} ms a clip, {seconds[0] * 1e3:.1f} ms without"
    sys.stderr.write(f"torch.compile took {wait:.0f} s: {times}; used: {kept}\n")
    return built if kept == "compiled" else eager
