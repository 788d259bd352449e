"""What a network sees in every window of a video: its maps before the classifier, as vectors or whole.

Windows are counted in ticks of a clock. A network of T frames sees T pictures of a window, evenly spread from its first
to its last: 32 of a window of 32 are all of them, of a window of 64 they lie apart as in training.

PRESETS cut a video as the features were cut that published models were trained on. They are schedules of clips: the
pictures keep the size and the crop that the weights come with.

"ego4d": windows of 32 frames every 16, the last one moved back to end with the video. Of F frames there are
(F - 32) // 16 + 1, and one more where 16 does not divide F - 32. facebookresearch/Ego4d, ego4d/features/dataset.py,
extract_features.py (`_num_fvs`) and configs/slowfast_r101_8x8.yaml, with PyTorchVideo's UniformClipSampler. Two things
differ: its features average the 7x7 windows of res5's 8x8 maps, ours the maps; and it stretches a video of less than
32 frames, where the last one is held here.

"hero": clips of 2 s, as HERO and the QVHighlights data of Moment-DETR have them; 150 s are 75 of them.
linjieli222/HERO_Video_Feature_Extractor, slowfast/extract_feature/preprocessing.py and video_loader.py, with
`--clip_len 2`. FFmpeg's filter `fps=30` comes first, and its last picture is held to the end of the last clip. Of the
60 pictures of a clip a network of 32 x 2 sees 0, 2, 4 ... 58, and 59 twice: its own span of 64, held at the last. In a
file of another rate that span is 64 * floor(fps) / 30: at 25 fps the end of a clip is not seen, at 60 fps half of what
is seen is the last picture. The preset does all of this; window=60, stride=60 has the same clips evenly seen. There
pictures have 224 px: `create_model(name, pretrained=True, clip=replace(spec, short_side=224, crop=224))` makes a
network for them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from slowfast_hub.models import VideoModel
from slowfast_hub.models.classifier import MAPS
from slowfast_hub.predict.clips import batches_of, fetched
from slowfast_hub.predict.network import open_network, weights_sha256
from slowfast_hub.predict.speed import PRECISIONS, Precision, best_batch_size, name_of, prepare
from slowfast_hub.predict.windows import Last, WindowPlan, plan_windows
from slowfast_hub.spec import (
    CROPS,
    LONG,
    WHOLE,
    Arch,
    ClipSpec,
    Limits,
    SlowFastArch,
    VideoInfo,
    one_of,
    whole,
    yes_or_no,
)
from slowfast_hub.transforms.eval import EvalTransform
from slowfast_hub.video.reader import Video, VideoReader, open_video
from slowfast_hub.video.sampling import places_of
from slowfast_hub.zoo.cache import package_version
from slowfast_hub.zoo.describe import Description, to_json
from slowfast_hub.zoo.load import read_metadata
from slowfast_hub.zoo.registry import DEFAULT_MODEL
from slowfast_hub.zoo.save import save_tensors, whole_file

Pathways = Literal["both", "slow", "fast"]
Progress = Callable[[int, int], None]  # windows done, windows in all

RATE_ROUNDING = 0.01  # frames per second: a file's rate of 30 may come out a little below


@dataclass(frozen=True)
class Windows:
    """Which windows a video is cut into, and which pictures of each are seen."""

    window: int  # ticks of the clock
    stride: int
    last: Last = "hold"  # what happens at the end, see `plan_windows`
    clock: float | None = 30.0  # ticks a second; None means the file's own frames
    seen: Literal["spread", "hero"] = "spread"

    def __post_init__(self) -> None:
        whole("window", self.window, 1)
        whole("stride", self.stride, 1)
        one_of("last", self.last, ("hold", "drop", "back"))


PRESETS = {"ego4d": Windows(32, 16, last="back"), "hero": Windows(60, 60, seen="hero")}


@dataclass(frozen=True, eq=False)
class Features:
    """The features of N windows of one video."""

    values: Tensor  # (N, D) float32, or not pooled (N, C, T, H, W)
    start_s: Tensor  # (N,) float64: when each window begins, in seconds of the file
    end_s: Tensor  # (N,) float64
    model: str
    recipe: dict[str, Any]  # all that the values depend on beside the video; JSON-able
    video: VideoInfo

    def record(self) -> dict[str, Any]:
        """What has to be known of the values; JSON-able."""
        return {"recipe": self.recipe, "video": video_record(self.video), "shape": list(self.values.shape)}

    def save(self, path: str | Path) -> Path:
        """Write `.npz` or `.safetensors` with the arrays of `arrays`, and `<path>.json` beside it.

        Each file is whole or not there. The JSON (recipe, video, shape) is in the first file too: `read_record`. Arrays
        of an npz are read by `numpy.load(path)["features"]`, as those of HERO's extractor. ValueError for other names.
        """
        path = Path(path)
        one_of("the suffix of a file of features", path.suffix, tuple(WRITERS))
        record = self.record()
        WRITERS[path.suffix](self.arrays(), path, json.dumps(record))
        with whole_file(sidecar(path)) as partial:
            partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        return path

    def arrays(self) -> dict[str, Tensor]:
        """What is written, a row for each window: `features`, `start_s`, `end_s`."""
        return {"features": self.values, "start_s": self.start_s, "end_s": self.end_s}

    def __repr__(self) -> str:
        first, last = (float(edge) for edge in (self.start_s[0], self.end_s[-1]))
        return (
            f"Features({self.model}: {tuple(self.values.shape)}, {first:.2f} to {last:.2f} s of {self.video.source},\n"
            f"  windows of {self.recipe['window']} every {self.recipe['stride']}, {self.recipe['stage']})"
        )


class FeatureExtractor:
    """Keeps one network for many videos: `FeatureExtractor(name)(video) -> Features`.

    name: what `create_model` takes and has weights for, or a network of your own; else the embedded network.
    window, stride: ticks of the network's clock (`spec.fps`, 30 of most; the file's own frames where that is None);
        32 and 16 when left out. last: "hold" (when left out), "drop" or "back", see `plan_windows`.
    preset: "ego4d" or "hero" instead of these three, see above.
    stage: "stem", "res2" .. "res5". pathway: "slow", "fast", or "both" side by side, slow first.
    pool: mean over time and space; False keeps the maps, of one pathway.
    crop: one of CROPS, or "whole" for the picture as it is after the resize.
    device, batch_size, precision, compile: as in `Predictor`.
    limits: what a file may ask of this machine; None allows a day of decoding.
    Errors: ValueError for what does not fit together, and for a network that sees boxes, flow or the whole video.
    """

    def __init__(
        self,
        name: str | VideoModel = DEFAULT_MODEL,
        *,
        window: int | None = None,
        stride: int | None = None,
        last: Last | None = None,
        preset: str | None = None,
        stage: str = "res5",
        pathway: Pathways = "both",
        pool: bool = True,
        crop: str = "centre",
        device: str | torch.device | None = None,
        batch_size: int | None = None,
        precision: Precision = "float32",
        compile: bool = False,
        limits: Limits | None = None,
    ) -> None:
        one_of("stage", stage, MAPS)
        one_of("pathway", pathway, ("both", "slow", "fast"))
        yes_or_no("pool", pool)
        one_of("crop", crop, CROPS + WHOLE)
        if batch_size is not None:
            whole("batch_size", batch_size, 1)
        one_of("precision", precision, PRECISIONS)
        asked = {"window": window, "stride": stride, "last": last}
        windows = choose_windows(preset, {key: value for key, value in asked.items() if value is not None})

        def check(called: str, arch: Arch) -> None:
            check_has_windows(called, arch)
            choose_maps(called, arch, pathway, pool)

        self.name, network = open_network(name, device=device, check=check)
        self.device = next(network.parameters()).device
        self.model = prepare(network, precision=precision, compile=compile)
        spec = self.model.arch.clip
        self.windows = windows if preset else replace(windows, clock=spec.fps)
        self.maps = choose_maps(self.name, self.model.arch, pathway, pool)
        self.stage, self.pool, self.crop = stage, pool, crop
        self.batch_size = batch_size or best_batch_size(self.device)
        self.limits = limits or LONG
        recipe = {
            **network_record(name, self.name, self.model),
            "preset": preset,
            **asdict(self.windows),
            "stage": stage,
            "pathway": pathway,
            "pool": pool,
            "crop": crop,
        }
        self.recipe: dict[str, Any] = json.loads(json.dumps(recipe))  # as it comes back from a file: no tuples

    def __call__(self, video: Video, *, fps: float | None = None, progress: Progress | None = None) -> Features:
        """The features of one video: whatever `open_video` takes; fps is the rate of an array or a folder of frames.

        progress: called after each batch. Frames are decoded once and dropped behind the last window that shows them,
        so memory grows by the features alone. Errors: VideoError when the frames cannot be had.
        """
        reader = open_video(video, fps=fps, limits=self.limits)
        plan = SEEN[self.windows.seen](reader.info, self.model.arch.clip, self.windows)
        total, done, values = len(plan.indices), 0, torch.empty(0)
        for part in self.batches(reader, plan.indices):
            if not done:
                values = torch.empty(total, *part.shape[1:])
            values[done : done + len(part)] = part
            done += len(part)
            if progress is not None:
                progress(done, total)
        start_s, end_s = torch.tensor(plan.spans_s, dtype=torch.float64).unbind(1)
        return Features(values, start_s, end_s, self.name, self.recipe, reader.info)

    def batches(self, reader: VideoReader, indices: Tensor) -> Iterator[Tensor]:
        """Features of the clips `indices (N, T)` in their order, `batch_size` at a time: (B, D) or (B, C, T, H, W)."""
        transform = EvalTransform(self.model.arch.clip)
        clips = batches_of(reader, transform, indices, (self.crop,), size=self.batch_size, device=self.device)
        yield from fetched(map(self.run, clips))

    @torch.inference_mode()
    def run(self, clips: Tensor) -> Tensor:
        """Clips (B, 3, T, S, S) to their features."""
        maps = self.model.forward_features(clips, self.stage)
        chosen = [maps[side] for side in self.maps]
        return self.model.forward_head(chosen, pre_logits=True) if self.pool else chosen[0]


def features(
    video: Video,
    name: str | VideoModel = DEFAULT_MODEL,
    *,
    window: int | None = None,
    stride: int | None = None,
    last: Last | None = None,
    preset: str | None = None,
    stage: str = "res5",
    pathway: Pathways = "both",
    pool: bool = True,
    crop: str = "centre",
    fps: float | None = None,
    device: str | torch.device | None = None,
    batch_size: int | None = None,
    precision: Precision = "float32",
    compile: bool = False,
    limits: Limits | None = None,
) -> Features:
    """The features of the windows of one video; for many videos keep a `FeatureExtractor`, which says what all mean.

    `features("a.mp4", "slowfast_r50_8x8", window=32, stride=16).values` is (N, 2304): 2048 of slow, then 256 of fast.
    """
    extract = FeatureExtractor(
        name,
        window=window,
        stride=stride,
        last=last,
        preset=preset,
        stage=stage,
        pathway=pathway,
        pool=pool,
        crop=crop,
        device=device,
        batch_size=batch_size,
        precision=precision,
        compile=compile,
        limits=limits,
    )
    return extract(video, fps=fps)


def choose_windows(preset: str | None, asked: dict[str, Any]) -> Windows:
    """The windows of a preset, or those asked for; ValueError for both."""
    if preset is None:
        return replace(Windows(32, 16), **asked)
    one_of("preset", preset, tuple(PRESETS))
    if asked:
        raise ValueError(f"preset={preset!r} says itself what {', '.join(asked)} is; leave one of them out")
    return PRESETS[preset]


def choose_maps(name: str, arch: Arch, pathway: Pathways, pool: bool) -> tuple[int, ...]:
    """Which of a network's maps are wanted; ValueError where there is no such pathway, or no one form for two."""
    if not isinstance(arch, SlowFastArch):
        if pathway != "both":
            raise ValueError(f"{name} has one pathway: leave pathway out; got {pathway!r}")
        return (0,)
    if pathway == "both" and not pool:
        raise ValueError("maps of the two pathways differ in channels and frames: pool=False needs 'slow' or 'fast'")
    return {"both": (0, 1), "slow": (0,), "fast": (1,)}[pathway]


def check_has_windows(name: str, arch: Arch) -> None:
    """A ValueError for a network that does not see windows of a video."""
    if arch.roi is not None:
        raise ValueError(
            f"{name} is a detector, whose features are those of boxes: --boxes, in Python PeopleFeatureExtractor"
        )
    if arch.in_chans != 3 or getattr(arch, "fast_input", "rgb") == "flow":
        raise ValueError(f"{name} sees optical flow, not pictures: call its forward_features with clips of flow")
    if arch.clip.sampling == "segments":
        raise ValueError(f"{name} sees the whole video at once (sampling='segments'), not windows of it")


def plan_spread(info: VideoInfo, spec: ClipSpec, windows: Windows) -> WindowPlan:
    """The clip of a window is the window."""
    return plan_windows(
        info,
        frames=spec.frames,
        clock=windows.clock,
        window=windows.window,
        stride=windows.stride,
        last=windows.last,
    )


def plan_hero(info: VideoInfo, spec: ClipSpec, windows: Windows) -> WindowPlan:
    """The clips of HERO's extractor, see above; for files of a steady rate, to the frame."""
    rate = cast(float, windows.clock)
    line = places_of(info, replace(spec, fps=rate))
    pictures = max(1, math.floor(line.frames * rate / line.fps + 0.5))  # those of the filter, which rounds half up
    begins = torch.arange(0, pictures, windows.stride).unsqueeze(1)
    span = spec.frames * spec.stride * math.floor(info.fps + RATE_ROUNDING) / rate
    ticks = torch.linspace(0, span - 1, spec.frames).clamp(0, windows.window - 1).long()  # floats, as there
    shown = (begins + ticks).clamp(max=pictures - 1)
    # The filter shows at a tick what begins within half a tick after it, the very half left out.
    indices = line.file_frames((shown.double() + 0.5) * line.fps / rate - 1e-6)
    return WindowPlan(indices, plan_spread(info, spec, windows).spans_s[: len(begins)])


SEEN = {"spread": plan_spread, "hero": plan_hero}


def network_record(given: str | VideoModel, called: str, model: VideoModel) -> dict[str, Any]:
    """What features depend on whatever they are of: the network, its weights, the number type, the packages."""
    description = to_json(Description(called, model.arch))
    return {
        "model": called,
        "family": description["family"],
        "arch": description["arch"],
        "weights_sha256": weights_sha256(given) if isinstance(given, str) else None,
        "precision": name_of(next(model.parameters()).dtype),
        "versions": {"slowfast_hub": package_version(), "torch": str(torch.__version__)},
    }


def video_record(info: VideoInfo) -> dict[str, Any]:
    """What is known of a video, JSON-able; `bytes` is the size of a file on this disk."""
    size = os.path.getsize(info.source) if os.path.isfile(info.source) else None
    return {**info.as_json(), "bytes": size}


def sidecar(path: Path) -> Path:
    """Where the record of a file of features lies for people and tools to read."""
    return path.with_name(f"{path.name}.json")


def read_record(path: str | Path) -> dict[str, Any]:
    """What `Features.save` says of the features in a file. OSError or ValueError when it is no such file."""
    path = Path(path)
    one_of("the suffix of a file of features", path.suffix, tuple(READERS))
    record = json.loads(READERS[path.suffix](path))
    if not isinstance(record, dict) or not all(isinstance(record.get(part), dict) for part in ("recipe", "video")):
        raise ValueError(f"{path}: not written by slowfast_hub: no recipe in it")
    return record


HEADER = "slowfast_hub_features"  # of a safetensors file; the array "record" of an npz


def write_npz(arrays: dict[str, Tensor], path: Path, record: str) -> None:
    import numpy as np

    with whole_file(path) as partial, partial.open("wb") as file:
        entries: dict[str, Any] = {name: values.numpy() for name, values in arrays.items()}
        np.savez(file, **entries, record=np.array(record))


def write_safetensors(arrays: dict[str, Tensor], path: Path, record: str) -> None:
    save_tensors(arrays, path, metadata={HEADER: record})


def read_npz(path: Path) -> str:
    from zipfile import BadZipFile, ZipFile

    import numpy as np

    try:
        with path.open("rb") as file, ZipFile(file) as entries, entries.open("record.npy") as entry:
            return str(np.lib.format.read_array(entry))  # never unpickles
    except (KeyError, BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: not written by slowfast_hub: {error}") from error


def read_safetensors(path: Path) -> str:
    return read_metadata(path).get(HEADER, "null")


WRITERS = {".npz": write_npz, ".safetensors": write_safetensors}
READERS = {".npz": read_npz, ".safetensors": read_safetensors}
