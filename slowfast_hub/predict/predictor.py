"""A video in, an answer out.

The road: open, plan the views, decode once, transform, run the network on batches of views, average. Frames are dropped
as soon as no later clip needs them and views run `batch_size` at a time, so memory does not grow with their number.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from slowfast_hub.models import VideoModel
from slowfast_hub.predict.aggregate import aggregate
from slowfast_hub.predict.clips import batches_of, fetched, fitted_size
from slowfast_hub.predict.dense import dense_logits
from slowfast_hub.predict.network import open_network
from slowfast_hub.predict.speed import PRECISIONS, Precision, best_batch_size, prepare
from slowfast_hub.predict.views import parse_views, plan_views
from slowfast_hub.spec import WHOLE, Arch, Limits, Prediction, VideoError, ViewPlan, Views, one_of, whole
from slowfast_hub.transforms.eval import EvalTransform
from slowfast_hub.video.decode import FileReader
from slowfast_hub.video.reader import Video, VideoReader, open_video
from slowfast_hub.zoo.registry import DEFAULT_MODEL, DEFAULT_NOTE, weights_info

OnError = Literal["raise", "skip", "report"]
Scaler = Literal["exact", "swscale"]


class Predictor:
    """Keeps one network for many videos: `Predictor(name)(video) -> Prediction`.

    name: what `create_model` takes and has weights for - `"row"`, `"row.tag"`, `"hf-hub:org/name"`,
        `"local-dir:folder"` - or a network of your own, whose `labels` name the classes; else the embedded network.
    views: `centre`, `paper`, `dense` or `(clips, crops)`.
    device: a torch device; None takes CUDA where there is one, else the CPU.
    batch_size: views per run of the network; None takes what the device is fastest with.
    precision, compile: see `prepare` in speed.py. `model` is the copy that it makes of the network.
    limits: what a file may ask of this machine, see `Limits`.
    scaler: "exact" resizes as the published weights were trained; "swscale" has FFmpeg resize files while it decodes
        them, which is faster and changes the scores a little (docs/performance.md).
    """

    def __init__(
        self,
        name: str | VideoModel = DEFAULT_MODEL,
        *,
        views: Views = "centre",
        device: str | torch.device | None = None,
        batch_size: int | None = None,
        precision: Precision = "float32",
        compile: bool = False,
        limits: Limits | None = None,
        scaler: Scaler = "exact",
    ) -> None:
        parse_views(views)
        if batch_size is not None:
            whole("batch_size", batch_size, 1)
        one_of("precision", precision, PRECISIONS)
        one_of("scaler", scaler, ("exact", "swscale"))
        self.views = views
        self.limits = limits or Limits()
        self.scaler = scaler
        self.name, network = open_network(name, device=device, check=check_answers_rgb)
        self.device = next(network.parameters()).device
        self.batch_size = batch_size or best_batch_size(self.device)
        self.model = prepare(network, precision=precision, compile=compile)
        self.note = DEFAULT_NOTE if self.name == weights_info(DEFAULT_MODEL).name else ""
        self.labels = self.model.labels or tuple(f"class {index}" for index in range(self.model.num_classes))

    def __call__(self, video: Video, *, fps: float | None = None) -> Prediction:
        """Classify one video: a path, a URL, bytes, a file object, `(T, H, W, 3)` uint8, or a folder of frames.

        fps: the rate of an array or a folder of frames (30 when left out); a file knows its own.
        Errors: VideoError when the frames cannot be had.
        """
        begin = time.perf_counter()
        reader = self.open(video, fps=fps)
        plan = plan_views(reader.info, self.model.arch, self.views)
        view_logits = run_views(self.model, reader, plan, batch_size=self.batch_size)
        return Prediction(
            probs=aggregate(view_logits, self.model.arch.activation),
            view_logits=view_logits,
            labels=self.labels,
            video=reader.info,
            plan=plan,
            model=self.name,
            seconds=time.perf_counter() - begin,
            note=self.note,
        )

    def many(self, videos: Iterable[Video], *, on_error: OnError = "raise") -> Iterator[Prediction | VideoError]:
        """Classify a set of videos, in order, one answer at a time.

        on_error, for a video that cannot be read: "raise" its VideoError; "report", the error stands in the place of
        the answer; "skip", it has no place, and a warning says so. No other video ever stands in for it.
        """
        one_of("on_error", on_error, ("raise", "skip", "report"))
        for video in videos:
            try:
                yield self(video)
            except VideoError as error:
                if on_error == "raise":
                    raise
                if on_error == "report":
                    yield error
                else:
                    warnings.warn(f"skipped {error}", stacklevel=2)

    def open(self, video: Video, *, fps: float | None = None) -> VideoReader:
        """The reader of a video, within the limits and with the scaler of this predictor."""
        reader = open_video(video, fps=fps, limits=self.limits)
        if self.scaler == "swscale" and isinstance(reader, FileReader):
            info, transform = reader.info, EvalTransform(self.model.arch.clip)
            return reader.scaled(*fitted_size(transform, info.source, info.height, info.width))
        return reader


def check_answers_rgb(name: str, arch: Arch) -> None:
    """A ValueError for a network that does not answer for a whole clip of pictures."""
    if arch.roi is not None:
        raise ValueError(f"{name} is a detector and needs boxes: slowfast-hub detect, in Python Detector({name!r})")
    if arch.in_chans != 3 or getattr(arch, "fast_input", "rgb") == "flow":
        raise ValueError(f"{name} sees optical flow, not pictures: call the network itself with clips of flow")
    if not arch.num_classes:
        raise ValueError(f"{name} has no classifier (num_classes=0)")


def classify(
    video: Video, name: str = DEFAULT_MODEL, *, views: Views = "centre", fps: float | None = None
) -> Prediction:
    """The three-line road: build the network, classify one video. For many videos keep a `Predictor`."""
    begin = time.perf_counter()
    answer = Predictor(name, views=views)(video, fps=fps)
    return replace(answer, seconds=time.perf_counter() - begin)


@torch.inference_mode()
def run_views(model: VideoModel, reader: VideoReader, plan: ViewPlan, *, batch_size: int | None = None) -> Tensor:
    """Logits of every view, `(V, num_classes)` on the CPU, in the order of the plan. The model must be in eval mode.

    Of dense views: of every window of every pass.
    """
    device = next(model.parameters()).device
    transform = EvalTransform(model.arch.clip)
    dense = plan.crops == WHOLE
    run = partial(dense_logits, model) if dense else model
    size = 1 if dense else batch_size or best_batch_size(device)
    batches = batches_of(reader, transform, plan.indices, plan.crops, size=size, device=device)
    return torch.cat([*fetched(map(run, batches))])
