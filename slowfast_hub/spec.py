"""The words every room uses: what a clip is, what a network is, what an answer is.

Frozen dataclasses only; each checks itself, so an object that exists is a possible one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

import torch
from torch import Tensor

Fit = Literal["cover", "contain"]
Sampling = Literal["stride", "segments"]
SlowRule = Literal["linspace", "strided"]
Views = str | tuple[int, int]

CROPS = ("left", "centre", "right")
WHOLE = ("whole",)  # the crop of dense views: none

# Blocks per stage (res2..res5); all of them are bottlenecks (paper, Table 1).
# 14 and 26 are the small bottleneck networks of timm's ResNet family.
STAGE_BLOCKS = {14: (1, 1, 1, 1), 26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

NONLOCAL_KINDS = ("dot_product", "softmax", "softmax_unscaled", "gaussian")

KernelPattern = tuple[tuple[int, ...], ...]

# Temporal kernel of the stem and of the first convolution in each block of res2..res5, repeated over blocks.
SLOW_KERNELS: KernelPattern = ((1,), (1,), (1,), (3,), (3,))  # paper, Table 1
FAST_KERNELS: KernelPattern = ((5,), (3,), (3,), (3,), (3,))  # paper, Table 1
I3D_KERNELS: KernelPattern = ((5,), (3,), (3, 1), (3, 1), (1, 3))  # PySlowFast, video_model_builder.py
C2D_KERNELS: KernelPattern = ((1,), (1,), (1,), (1,), (1,))


class VideoError(ValueError):
    """A video that cannot give the frames asked for: names the source, the reason and how far it got."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, ...]]:
        # An exception with two arguments does not survive a worker process without this.
        return type(self), (self.source, self.reason)


class VideoLimitError(VideoError):
    """A video beyond one of the `Limits` it was opened with; `limit` is the name of that field."""

    def __init__(self, source: str, limit: str, reason: str) -> None:
        super().__init__(source, f"{reason}; if the file can be trusted, open it with other Limits({limit}=...)")
        self.limit = limit
        self._arguments = (source, limit, reason)

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, ...]]:
        return type(self), self._arguments


LARGEST = 1_000_000  # of any count or size


def one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}")


def at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ValueError(f"{name} must be at least {least}; got {value!r}")


def whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}")
    if value > LARGEST:  # a description may come from anyone
        raise ValueError(f"{name} may be at most {LARGEST}; got {value!r}")


def yes_or_no(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False; got {value!r}")


def sized(name: str, value: object, length: int, meaning: str) -> None:
    if not isinstance(value, tuple) or len(value) != length:
        raise ValueError(f"{name} is a tuple of {length}: {meaning}; got {value!r}")


@dataclass(frozen=True)
class ClipSpec:
    """What one clip is, for one file of weights: with it alone the pixels are right."""

    frames: int = 32  # pictures in a clip: what the Fast pathway sees
    stride: int = 2  # ticks of the clock between them
    fps: float | None = 30.0  # the clock; None means the file's own frames
    sampling: Sampling = "stride"  # or "segments": one frame of each of T equal parts of the whole video (SSv2)
    short_side: int = 256  # px, after the resize
    crop: int = 256  # px, square
    fit: Fit = "cover"  # cover: short side, then crop. contain: the whole picture, padded to a square
    antialias: bool = False  # the published weights saw bilinear resizing without it
    mean: tuple[float, ...] = (0.45, 0.45, 0.45)  # of RGB in 0..1; of flow in x and y, two numbers
    std: tuple[float, ...] = (0.225, 0.225, 0.225)

    def __post_init__(self) -> None:
        for name in ("frames", "stride", "short_side", "crop"):
            whole(f"ClipSpec.{name}", getattr(self, name), 1)
        one_of("ClipSpec.fit", self.fit, ("cover", "contain"))
        one_of("ClipSpec.sampling", self.sampling, ("stride", "segments"))
        yes_or_no("ClipSpec.antialias", self.antialias)
        if self.fps is not None and not 0 < self.fps < 1e4:
            raise ValueError(f"ClipSpec.fps must be a positive rate or None; got {self.fps!r}")
        if self.fit == "cover" and self.crop > self.short_side:
            raise ValueError(f"ClipSpec.crop {self.crop} px is larger than short_side {self.short_side} px")
        if len(self.mean) not in (2, 3) or len(self.std) != len(self.mean) or min(self.std) <= 0:
            raise ValueError(
                f"ClipSpec.mean and .std are three numbers each (two for flow), std > 0; got {self.mean}, {self.std}"
            )


@dataclass(frozen=True)
class RoISpec:
    """How a detector looks at a box (paper, section 5): res5 keeps its stride of 1, its maps are cut by RoIAlign."""

    grid: int = 7  # RoIAlign's output is grid x grid; its maximum is taken (MMAction2: 8)
    aligned: bool = False  # RoIAlign's half-pixel shift; the code bases differ
    time_pool: Literal["mean", "max"] = "mean"  # over the frames of each pathway
    dilation: int = 2  # of the 3x3 convolutions of res5 (MMAction2: 1)

    def __post_init__(self) -> None:
        whole("RoISpec.grid", self.grid, 1)
        whole("RoISpec.dilation", self.dilation, 1)
        yes_or_no("RoISpec.aligned", self.aligned)
        one_of("RoISpec.time_pool", self.time_pool, ("mean", "max"))


@dataclass(frozen=True)
class Arch:
    """One network as a row of the registry: what all families share. Build it with `build`."""

    clip: ClipSpec = ClipSpec()
    num_classes: int = 400
    depth: int = 50  # a key of STAGE_BLOCKS
    width: int = 64  # channels of the stem; the other stages follow in the proportion of ResNet
    in_chans: int = 3
    temporal_kernels: KernelPattern = SLOW_KERNELS
    temporal_blocks: tuple[int, ...] | None = None  # blocks per stage that may have a temporal kernel; None: all
    nonlocal_at: tuple[tuple[int, ...], ...] = ((), (), (), ())  # block positions in res2..res5
    nonlocal_kind: str = "dot_product"
    nonlocal_pool: tuple[int, int, int] = (1, 2, 2)
    nonlocal_pool_at: str = "before"  # phi and g (PySlowFast), or "after" them (MMAction2)
    nonlocal_out_bias: bool = True  # MMAction2's last convolution has none
    pool: str = "global"
    roi: RoISpec | None = None  # a detector: logits for boxes instead of for the clip
    activation: str = "softmax"  # how logits become scores: sigmoid for multi-label data
    dropout: float = 0.5
    zero_init_last: bool = True  # the last batch-norm gamma of every block starts at 0

    def __post_init__(self) -> None:
        if not isinstance(self.clip, ClipSpec):
            raise TypeError(f"clip must be a ClipSpec; got {self.clip!r}")
        one_of("depth", self.depth, tuple(STAGE_BLOCKS))
        one_of("nonlocal_kind", self.nonlocal_kind, NONLOCAL_KINDS)
        one_of("nonlocal_pool_at", self.nonlocal_pool_at, ("before", "after"))
        yes_or_no("nonlocal_out_bias", self.nonlocal_out_bias)
        yes_or_no("zero_init_last", self.zero_init_last)
        one_of("pool", self.pool, ("global", "window_logits", "window_probs"))
        one_of("activation", self.activation, ("softmax", "sigmoid"))
        whole("num_classes", self.num_classes, 0)
        whole("width", self.width, 1)
        whole("in_chans", self.in_chans, 1)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1); got {self.dropout!r}")
        sized("nonlocal_pool", self.nonlocal_pool, 3, "sizes T, H, W of at least 1")
        for size in self.nonlocal_pool:
            whole("nonlocal_pool", size, 1)
        check_kernels("temporal_kernels", self.temporal_kernels)
        blocks = STAGE_BLOCKS[self.depth]
        limit = self.temporal_blocks if self.temporal_blocks is not None else blocks
        sized("temporal_blocks", limit, 4, "counts of res2..res5")
        if any(not 0 <= count <= most for count, most in zip(limit, blocks)):
            raise ValueError(f"temporal_blocks is four counts up to {blocks} at depth {self.depth}; got {limit}")
        sized("nonlocal_at", self.nonlocal_at, 4, "a tuple of block positions for each of res2..res5")
        if not all(isinstance(places, tuple) and all(type(at) is int for at in places) for places in self.nonlocal_at):
            raise ValueError(f"nonlocal_at is four tuples of block positions; got {self.nonlocal_at}")
        if not any(self.nonlocal_at):
            for name in NONLOCAL_DETAILS:
                if getattr(self, name) != getattr(Arch, name):
                    raise ValueError(f"{name} belongs to non-local blocks: give nonlocal_at too")
        if self.roi is not None and not isinstance(self.roi, RoISpec):
            raise TypeError(f"roi must be a RoISpec or None; got {self.roi!r}")
        if self.roi is not None and self.pool != "global":
            raise ValueError(f"pool={self.pool!r} is how a whole clip is pooled; a detector (roi) has boxes")
        for stage, (places, count) in enumerate(zip(self.nonlocal_at, blocks), start=2):
            if len(set(places)) != len(places) or any(not 0 <= place < count for place in places):
                raise ValueError(
                    f"nonlocal_at: res{stage} has blocks 0..{count - 1} at depth {self.depth}; got {places}"
                )


# The fields that mean something only where there are non-local blocks.
NONLOCAL_DETAILS = ("nonlocal_kind", "nonlocal_pool", "nonlocal_pool_at", "nonlocal_out_bias")


@dataclass(frozen=True)
class ResNet3DArch(Arch):
    """One pathway and a head: Slow-only, Fast-only, I3D, C2D."""

    temporal_pool: int = 1  # max-pool over time after res2 (I3D and C2D: 2)
    stem_strides: tuple[int, int] = (1, 1)  # over time, of conv1 and pool1 (I3D of MMAction2 and GluonCV: 2, 2)
    stem_padding: int = 1  # px, of pool1 (C2D of MMAction2: 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("temporal_pool", self.temporal_pool, 1)
        sized("stem_strides", self.stem_strides, 2, "temporal strides of conv1 and pool1")
        for stride in self.stem_strides:
            whole("stem_strides", stride, 1)
        one_of("stem_padding", self.stem_padding, (0, 1))


@dataclass(frozen=True)
class SlowFastArch(Arch):
    """Two pathways with lateral connections from Fast to Slow (paper, section 3)."""

    alpha: int = 8  # Fast frames per Slow frame
    beta_inv: int = 8  # Slow channels per Fast channel
    lateral: str = "tconv"
    fuse_kernel: int = 5  # temporal size of the lateral convolution
    lateral_norm: bool = True  # batch norm and ReLU after it
    fast_temporal_kernels: KernelPattern = FAST_KERNELS
    fast_input: str = "rgb"
    slow_rule: SlowRule = "linspace"
    fast_depth: int | None = None  # of the Fast pathway; None: the same as the Slow one's

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fast_depth is not None:
            one_of("fast_depth", self.fast_depth, tuple(STAGE_BLOCKS))
        one_of("lateral", self.lateral, ("none", "ttoc_sum", "ttoc_cat", "tsample", "tconv"))
        one_of("fast_input", self.fast_input, ("rgb", "gray", "diff", "half", "flow"))
        one_of("slow_rule", self.slow_rule, ("linspace", "strided"))
        yes_or_no("lateral_norm", self.lateral_norm)
        whole("alpha", self.alpha, 1)
        whole("beta_inv", self.beta_inv, 1)
        whole("fuse_kernel", self.fuse_kernel, 1)
        if self.clip.frames % self.alpha:
            raise ValueError(
                f"clip.frames must be a multiple of alpha; got {self.clip.frames} and {self.alpha}: pass clip= too"
            )
        check_kernels("fast_temporal_kernels", self.fast_temporal_kernels)
        if self.lateral == "ttoc_sum" and self.alpha != self.beta_inv:
            raise ValueError(
                "lateral 'ttoc_sum' adds alpha * C_fast channels to C_slow channels: needs alpha == beta_inv, "
                f"got {self.alpha} and {self.beta_inv}"
            )
        if self.lateral == "ttoc_sum" and self.width % self.beta_inv:
            raise ValueError(
                f"lateral 'ttoc_sum' needs a width that beta_inv divides; got width {self.width} and {self.beta_inv}"
            )
        if self.fuse_kernel < 1 or self.fuse_kernel % 2 == 0:
            raise ValueError(f"fuse_kernel must be odd, so that the Slow frames stay aligned; got {self.fuse_kernel}")
        if self.lateral != "tconv" and self.fuse_kernel != type(self).fuse_kernel:
            raise ValueError(f"fuse_kernel={self.fuse_kernel} belongs to lateral='tconv'; lateral is {self.lateral!r}")
        if self.lateral != "tconv" and not self.lateral_norm:
            raise ValueError(f"lateral_norm belongs to lateral='tconv'; lateral is {self.lateral!r}")
        if self.fast_input == "half" and self.pool != "global":
            raise ValueError("fast_input='half' leaves maps of two sizes: needs pool='global'")
        if self.fast_input == "half" and self.roi is not None:
            raise ValueError("fast_input='half' leaves maps of two sizes, and a detector (roi) cuts boxes out of one")
        if self.fast_input in ("gray", "diff") and self.in_chans != 3:
            raise ValueError(
                f"fast_input={self.fast_input!r} is computed from RGB: needs in_chans=3, got {self.in_chans}"
            )


def check_kernels(name: str, kernels: KernelPattern) -> None:
    sized(name, kernels, 5, "odd sizes of the stem and res2..res5, a tuple each")
    for stage in kernels:
        whole_sizes = isinstance(stage, tuple) and stage and all(type(size) is int for size in stage)
        if not whole_sizes or any(size % 2 == 0 or not 0 < size < 100 for size in stage):
            raise ValueError(f"{name} has five tuples (stem, res2..res5) of odd sizes; got {kernels}")


@dataclass(frozen=True)
class Limits:
    """What a video may ask of this machine. The defaults let every honest film pass; a service sets its own."""

    bytes: int = 32 * 2**30  # size of the file
    duration_s: float = 86_400.0  # from the first picture to the end of the last
    pixels: int = 36_000_000  # of one picture: 8192 x 4320 passes
    frames: int = 10_000_000  # decoded in one reading, those that nobody asked for included
    wall_s: float = 600.0  # spent inside FFmpeg in one reading; what a network does in between does not count
    streams: int = 64
    protocols: tuple[str, ...] = ("file", "http", "https")
    playlists: bool = False  # files that point to other files: HLS, DASH, concat scripts, SDP

    def __post_init__(self) -> None:
        for name in ("bytes", "pixels", "frames", "streams"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ValueError(f"Limits.{name} must be a whole number of at least 1; got {getattr(self, name)!r}")
        for name in ("duration_s", "wall_s"):
            if not isinstance(getattr(self, name), int | float) or not getattr(self, name) > 0:
                raise ValueError(f"Limits.{name} must be a positive number of seconds; got {getattr(self, name)!r}")
        if not isinstance(self.protocols, tuple) or not all(
            isinstance(name, str) and re.fullmatch(r"[a-z0-9+.-]+", name) for name in self.protocols
        ):
            raise ValueError(f"Limits.protocols is a tuple of names like 'file' and 'https'; got {self.protocols!r}")
        yes_or_no("Limits.playlists", self.playlists)


LONG = Limits(wall_s=86_400.0)  # for films, which take longer to decode than a stranger's clip may


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before its pixels are read."""

    source: str  # path, URL, or a word such as "array"
    frames: int
    fps: float  # average rate of the file
    width: int  # px as displayed, after rotation
    height: int
    rotation: int = 0  # degrees anti-clockwise that display applies: 0, 90, 180, 270
    start_s: float = 0.0  # presentation time of the first frame
    times_s: Tensor | None = field(
        default=None, repr=False, compare=False
    )  # (frames,) float64, only when the rate varies
    strays_s: Tensor | None = field(
        default=None, repr=False, compare=False
    )  # the same of a steady file, where single frames lie beside their rate's grid

    def time_s(self, frame: int) -> float:
        """Presentation time of a frame, in seconds of the file."""
        exact_s = self.strays_s if self.times_s is None else self.times_s
        return self.start_s + frame / self.fps if exact_s is None else float(exact_s[frame])

    def end_s(self, frame: int) -> float:
        """When a frame stops being shown, in seconds of the file: when the next begins; the last has a mean length."""
        return self.time_s(frame + 1) if frame + 1 < self.frames else self.time_s(frame) + 1 / self.fps

    def begin_s(self, frame: int) -> float:
        """`time_s`, of frames behind the last one as if the video went on: where annotations of another file lead."""
        return self.time_s(frame) if frame < self.frames else self.start_s + frame / self.fps

    def as_json(self) -> dict[str, str | int | float]:
        """What is known, as plain values, without the times of single frames."""
        names = ("source", "frames", "fps", "width", "height", "rotation", "start_s", "duration_s")
        return {name: getattr(self, name) for name in names}

    def span_s(self, indices: Tensor) -> tuple[float, float]:
        """When the frames `indices`, in ascending order, begin and end, in seconds of the file."""
        return self.time_s(int(indices[0])), self.end_s(int(indices[-1]))

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last."""
        if self.times_s is None:
            return self.frames / self.fps
        return float(self.times_s[-1] - self.times_s[0]) + 1 / self.fps


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class Clip:
    """The frames of one clip, and when they are shown."""

    frames: Tensor  # (T, H, W, 3) uint8 RGB
    indices: Tensor  # (T,) long, frame numbers in the file
    times_s: Tensor  # (T,) float64, presentation times in seconds of the file
    start_s: float  # when the first frame appears, in seconds of the file
    end_s: float  # when the last frame stops being shown


@dataclass(frozen=True, eq=False)
class ViewPlan:
    """Which frames and which crops make the views of one video: view v = clip v // len(crops), crop v % len(crops).

    Dense views have the crop "whole" alone: each row of `indices` is a stretch that the network sees in one pass.
    """

    indices: Tensor  # (clips, T) long, frame numbers in the file
    spans_s: tuple[tuple[float, float], ...]  # of each clip: when it begins and ends, in seconds of the file
    crops: tuple[str, ...]

    @property
    def num_views(self) -> int:
        return len(self.indices) * len(self.crops)

    @property
    def views(self) -> str:
        """`clips x crops`, or "dense"."""
        return "dense" if self.crops == WHOLE else f"{len(self.indices)}x{len(self.crops)}"


@dataclass(frozen=True)
class Hosted:
    """A safetensors file and the Hugging Face repository that holds it, once someone has published it."""

    file: str
    repo: str | None = None  # "org/name"; None: in the package, or nowhere yet
    revision: str | None = None  # a commit of it
    sha256: str | None = None  # None: not yet seen
    bytes: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*\.safetensors", self.file):
            raise ValueError(f"Hosted.file is the name of a safetensors file, without folders; got {self.file!r}")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"Hosted.sha256 is 64 hexadecimal digits; got {self.sha256!r}")


@dataclass(frozen=True)
class Origin:
    """Where the weights come from, in the words and the format of the project that made them."""

    source: str  # the project, and the page that lists the file
    license: str
    url: str | None = None
    alternatives: tuple[str, ...] = ()  # further addresses of the same file
    layouts: tuple[str, ...] = ()  # names of zoo/convert the file may be in
    digest: str | None = None  # "sha256:701b0f6f": a digest or its first digits, where the project publishes one
    note: str = ""  # what a user of the file should know

    def __post_init__(self) -> None:
        if not self.source or not self.license:
            raise ValueError(f"Origin.source and .license must be said; got {self.source!r} and {self.license!r}")
        for url in (self.url, *self.alternatives):
            if url is not None and not re.match(r"https?://", url):
                raise ValueError(f"an address of weights is http or https; got {url!r}")
        if self.digest is not None and not re.fullmatch(r"(sha256|sha1|md5):[0-9a-f]{8,64}", self.digest):
            raise ValueError(f"Origin.digest is like sha256:701b0f6f; got {self.digest!r}")


@dataclass(frozen=True)
class Reported:
    """The project's own figures: never ours."""

    dataset: str
    source: str
    views: str | None = None  # clips x crops, where it is said
    top1: float | None = None  # per cent
    top5: float | None = None
    mean_ap: float | None = None

    @property
    def figures(self) -> dict[str, float]:
        """Those that are reported, under the names people know them by; per cent."""
        named = {"top-1": self.top1, "top-5": self.top5, "mAP": self.mean_ap}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class WeightsInfo:
    """One file of weights: one record of the manifest. None stands for "not known" or "not done"."""

    name: str  # architecture.tag
    arch: str
    changes: dict[str, object]  # overrides of the row that this file needs, beside the four below
    num_classes: int
    labels: str | tuple[str, ...]  # name of a list in labels/, or the labels themselves
    activation: str
    clip: ClipSpec
    hosted: Hosted
    origin: Origin
    reported: Reported | None = None
    measured: dict[str, object] | None = None  # our figures

    def __post_init__(self) -> None:
        one_of("activation", self.activation, ("softmax", "sigmoid"))
        whole("num_classes", self.num_classes, 0)
        if not isinstance(self.labels, str) and len(self.labels) != self.num_classes:
            raise ValueError(f"{self.name} has {self.num_classes} classes and {len(self.labels)} labels")


@dataclass(frozen=True)
class LoadReport:
    """What loading a file did."""

    source: str
    loaded: tuple[str, ...]  # tensors taken from the file
    new: tuple[str, ...] = ()  # tensors left at their fresh values: the new classifier, or nothing


def best(probs: Tensor, labels: Sequence[str], k: int) -> list[dict[str, str | float]]:
    """The `k` best classes of `probs (num_classes,)`, best first: `[{"label": str, "score": float}, ...]`."""
    at_least("k", k, 1)
    scores, classes = torch.topk(probs, min(k, len(probs)))
    return [{"label": labels[c], "score": s} for s, c in zip(scores.tolist(), classes.tolist())]


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer for one video."""

    probs: Tensor  # (num_classes,)
    view_logits: Tensor  # (V, num_classes)
    labels: tuple[str, ...]
    video: VideoInfo
    plan: ViewPlan
    model: str
    seconds: float  # wall time from the file to this answer
    note: str = ""  # what a reader of the answer should know

    def top(self, k: int = 5) -> list[dict[str, str | float]]:
        """The `k` best classes, best first: `[{"label": str, "score": float}, ...]`, as Hugging Face pipelines give."""
        return best(self.probs, self.labels, k)

    @property
    def views(self) -> str:
        """The views that were averaged, as `clips x crops`, or "dense"."""
        return self.plan.views

    def __repr__(self) -> str:
        best = ", ".join(f"{row['label']} {row['score']:.2f}" for row in self.top(3))
        return (
            f"Prediction({self.model}: {best}\n"
            f"  {self.video.source}: {self.video.frames} frames, {self.video.fps:.2f} fps, "
            f"{self.video.width}x{self.video.height}\n"
            f"  views {self.views}, {self.seconds:.2f} s)" + (f"\n  {self.note}" if self.note else "")
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(str(row['label']))}</td><td><progress value='{row['score']:.3f}'></progress></td>"
            f"<td>{row['score']:.3f}</td></tr>"
            for row in self.top(5)
        )
        caption = escape(f"{self.video.source} - {self.model}, views {self.views}")
        return f"<table><caption>{caption}</caption>{rows}</table>"


@dataclass(frozen=True, eq=False)
class Detection:
    """Who does what at one moment of a video: N people, or none."""

    at_s: float  # seconds of the file
    boxes: Tensor  # (N, 4) float32: x1, y1, x2, y2 in px of the picture, cut to it
    probs: Tensor  # (N, num_classes); each class for itself where the network is multi-label
    box_scores: Tensor  # (N,) of whoever found the box; 1 where nobody said
    ids: Tensor  # (N,) long: who it is, the same along a video; 0..N-1 of a single moment
    labels: tuple[str, ...]
    video: VideoInfo
    model: str
    names: tuple[str, ...] = ()  # who they are, where whoever gave the boxes says so

    def top(self, k: int = 3) -> list[list[dict[str, str | float]]]:
        """For each person the `k` best classes, best first, as `Prediction.top`."""
        return [best(probs, self.labels, k) for probs in self.probs]

    def as_json(self, k: int = 3) -> dict[str, object]:
        """All of it as plain values; of each person the `k` best classes."""
        people = zip(self.names or self.ids.tolist(), self.boxes.tolist(), self.box_scores.tolist(), self.top(k))
        return {
            "at_s": self.at_s,
            "people": [
                {"person": person, "box": box, "box_score": score, "top": top} for person, box, score, top in people
            ],
        }

    def __repr__(self) -> str:
        lines = [
            f"  person {person}: " + ", ".join(f"{row['label']} {row['score']:.2f}" for row in top)
            for person, top in zip(self.names or self.ids.tolist(), self.top(3))
        ]
        return (
            f"Detection({self.model}: {len(self.boxes)} people at {self.at_s:.2f} s of {self.video.source}"
            + "".join(f"\n{line}" for line in lines)
            + ")"
        )
