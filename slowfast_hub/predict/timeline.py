"""What happens when in a long video: scores of windows all along it, and the segments they make.

The road is that of a clip (predictor.py), over windows that may overlap: frames are decoded once, and memory does not
grow with the video but for the scores.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from slowfast_hub.models import VideoModel
from slowfast_hub.predict.aggregate import aggregate
from slowfast_hub.predict.clips import batches_of
from slowfast_hub.predict.predictor import Predictor
from slowfast_hub.predict.resume import Header, fingerprint, identity, record
from slowfast_hub.predict.segments import (
    Segment,
    Thresholds,
    classes_of,
    find_segments,
    write_csv,
    write_srt,
    write_vtt,
)
from slowfast_hub.predict.windows import Schedule, clip_rows, clip_schedule, window_count, window_spans
from slowfast_hub.spec import CROPS, LONG, Limits, VideoInfo, best, one_of
from slowfast_hub.transforms.eval import EvalTransform
from slowfast_hub.video.reader import Video, VideoReader
from slowfast_hub.video.sampling import places_of
from slowfast_hub.zoo.registry import DEFAULT_MODEL
from slowfast_hub.zoo.save import whole_file

TOP = 5  # labels of each window in JSON

Progress = Callable[[float, float], None]  # seconds of the video done, and in all


@dataclass(frozen=True, eq=False)
class Timeline:
    """The scores of a video's windows."""

    starts_s: Tensor  # (N,) float64, when each window begins, in seconds of the file
    ends_s: Tensor  # (N,) float64
    probs: Tensor  # (N, num_classes)
    labels: tuple[str, ...]
    video: VideoInfo
    model: str
    window_s: float
    stride_s: float
    note: str = ""  # what a reader of the scores should know

    def segments(
        self,
        *,
        smooth_s: float = Thresholds.smooth_s,
        enter: float = Thresholds.enter,
        leave: float = Thresholds.leave,
        shortest_s: float = Thresholds.shortest_s,
        gap_s: float = Thresholds.gap_s,
        labels: Sequence[str] | None = None,
    ) -> list[Segment]:
        """Stretches in which a label holds, sorted by start; those of one label do not overlap.

        smooth_s: scores are first averaged over the windows centred in so many seconds. enter, leave: a segment begins
        with a window that scores `enter` and goes on while windows score `leave`. gap_s: segments of one label with at
        most so much between them become one. shortest_s: shorter ones are then left out. labels: of these only.
        ValueError for thresholds that contradict each other, lengths without an end, and unknown labels.
        """
        by = Thresholds(enter, leave, shortest_s, gap_s, smooth_s)
        reach = int(min(by.smooth_s / 2 / self.stride_s + 1e-9, len(self.probs)))
        classes = classes_of(labels, self.labels)
        return find_segments(self.probs, self.edges_s(), self.labels, classes=classes, reach=reach, by=by)

    def edges_s(self) -> list[float]:
        """The N + 1 times between which a window stands for the video: half a stride around its centre.

        The first and the last reach the ends of the video.
        """
        inner = self.starts_s[1:] + (self.window_s - self.stride_s) / 2
        return [self.video.start_s, *inner.tolist(), self.video.end_s(self.video.frames - 1)]

    def save(self, path: str | Path, segments: Sequence[Segment] | None = None) -> Path:
        """Write the file that the name asks for: .csv, .srt and .vtt hold segments, .json the windows too.

        segments: None for those of `segments()`. The file is written whole or not at all; ValueError for other names.
        """
        suffix = Path(path).suffix.lower()
        one_of("the suffix of a timeline's file", suffix, tuple(WRITERS))
        with whole_file(path) as partial:
            WRITERS[suffix](self, self.segments() if segments is None else segments, partial)
        return Path(path)

    def as_json(self, segments: Sequence[Segment]) -> dict[str, object]:
        """All of it as plain values; of each window the best labels."""
        windows = [
            {"start": start, "end": end, "top": best(probs, self.labels, TOP)}
            for start, end, probs in zip(self.starts_s.tolist(), self.ends_s.tolist(), self.probs)
        ]
        return {
            "video": self.video.as_json(),
            "model": self.model,
            "note": self.note,
            "window_s": self.window_s,
            "stride_s": self.stride_s,
            "windows": windows,
            "segments": [asdict(segment) for segment in segments],
        }

    def __repr__(self) -> str:
        rows = best(self.probs.amax(dim=0), self.labels, 3)
        highest = ", ".join(f"{row['label']} {row['score']:.2f}" for row in rows)
        return (
            f"Timeline({self.model}: highest {highest}\n"
            f"  {self.video.source}: {self.video.duration_s:.1f} s, {self.video.fps:.2f} fps\n"
            f"  {len(self.probs)} windows of {self.window_s:.2f} s, every {self.stride_s:.2f} s)"
            + (f"\n  {self.note}" if self.note else "")
        )


def write_json(timeline: Timeline, segments: Sequence[Segment], path: Path) -> None:
    path.write_text(json.dumps(timeline.as_json(segments), indent=1) + "\n", encoding="utf-8")


Writer = Callable[[Timeline, Sequence[Segment], Path], None]
WRITERS: dict[str, Writer] = {
    ".csv": lambda timeline, segments, path: write_csv(segments, path),
    ".json": write_json,
    ".srt": lambda timeline, segments, path: write_srt(segments, path),
    ".vtt": lambda timeline, segments, path: write_vtt(segments, path),
}


def timeline(
    video: Video,
    name: str | VideoModel | Predictor = DEFAULT_MODEL,
    *,
    window_s: float | None = None,
    stride_s: float | None = None,
    crop: str = "centre",
    fps: float | None = None,
    device: str | torch.device | None = None,
    batch_size: int | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
    resume: str | Path | None = None,
) -> Timeline:
    """Score a video of any length, window by window.

    video, fps: as `Predictor.__call__` takes them. name: as `Predictor` takes it, or a Predictor, which then brings its
    device, batch size and limits with it. window_s: None for the length of a clip of the network; a longer window is
    scored by all the clips that lie in it. stride_s: from window to window, None for half a window. Where no whole
    window fits any more, a last one holds the last frame. limits: None for `LONG`. progress: called after each batch
    with the seconds of the video that are done, and all. resume: a file for finished windows; a call that finds it goes
    on behind them, and ends like an uninterrupted one to the last bit (of as many threads); it is a ValueError if the
    file was begun for something else or is damaged, and for an address, which nothing tells from others. Errors:
    VideoError when the frames cannot be had.
    """
    one_of("crop", crop, CROPS)
    predictor = predictor_of(name, device=device, batch_size=batch_size, limits=limits)
    reader = predictor.open(video, fps=fps)
    info, spec = reader.info, predictor.model.arch.clip
    line = places_of(info, spec)
    windows = clip_schedule(spec, line, window_s=window_s, stride_s=stride_s)
    count = window_count(windows, info, line)
    seen = [windows.clips_within(window, line.frames) for window in range(count)]
    clips = sorted({clip for several in seen for clip in several})
    rows = clip_rows(line, [windows.clip_start(clip) for clip in clips], windows.span, spec.frames)
    header: Header = {}
    if resume is not None:
        header = {"timeline": 1, "video": identity(video, reader), **work(predictor, windows, crop)}
    columns = predictor.model.num_classes
    with record(None if resume is None else Path(resume), header, columns=columns) as finished:
        parts = list(finished.done)
        done = sum(map(len, parts))
        for part in run_rows(predictor, reader, rows[done:], crop):
            finished.append(part)
            parts.append(part)
            done += len(part)
            if progress is not None:
                reached_s = (windows.clip_start(clips[done - 1]) + windows.span) / line.fps
                progress(min(reached_s, info.duration_s), info.duration_s)
    starts_s, ends_s = torch.tensor(window_spans(windows, info, line, count), dtype=torch.float64).unbind(1)
    return Timeline(
        starts_s=starts_s,
        ends_s=ends_s,
        probs=window_probs(torch.cat(parts), clips, seen, predictor.model.arch.activation),
        labels=predictor.labels,
        video=info,
        model=predictor.name,
        window_s=windows.window / line.fps,
        stride_s=windows.stride / line.fps,
        note=predictor.note,
    )


def run_rows(predictor: Predictor, reader: VideoReader, rows: Tensor, crop: str) -> Iterator[Tensor]:
    """Logits `(B, num_classes)` of the clips of `rows (N, T)`, batch by batch; all batches are full but the last."""
    transform, size = EvalTransform(predictor.model.arch.clip), predictor.batch_size
    for clips in batches_of(reader, transform, rows, (crop,), size=size, device=predictor.device):
        yield answers(predictor, clips)


@torch.inference_mode()
def answers(predictor: Predictor, clips: Tensor) -> Tensor:
    """Logits `(B, num_classes)` on the CPU of a batch of clips."""
    return predictor.model(clips).float().cpu()


def window_probs(logits: Tensor, clips: Sequence[int], seen: Sequence[range], activation: str) -> Tensor:
    """Scores `(N, num_classes)` of windows from the logits of `clips`, ascending numbers, that each was seen in."""
    probs = torch.empty(len(seen), logits.shape[1])
    for row, several in zip(probs, seen):
        first = bisect_left(clips, several[0])
        row.copy_(aggregate(logits[first : first + len(several)], activation))
    return probs


def predictor_of(
    name: str | VideoModel | Predictor,
    *,
    device: str | torch.device | None,
    batch_size: int | None,
    limits: Limits | None,
) -> Predictor:
    """The Predictor that was given, or a new one, for films if no `limits` say otherwise.

    ValueError for what a given one brings with it.
    """
    if not isinstance(name, Predictor):
        return Predictor(name, device=device, batch_size=batch_size, limits=limits or LONG)
    for option, value in {"device": device, "batch_size": batch_size, "limits": limits}.items():
        if value is not None:
            raise ValueError(f"{option} belongs to the Predictor that was passed; build that with {option}={value!r}")
    return name


def work(predictor: Predictor, windows: Schedule, crop: str) -> Header:
    """What is done with a video, as far as it changes a bit of the answers."""
    return {
        "model": predictor.name,
        "weights": fingerprint(predictor.model),
        "arch": asdict(predictor.model.arch),
        "windows": asdict(windows),
        "crop": crop,
        "scaler": predictor.scaler,
        "batch_size": predictor.batch_size,
        "device": predictor.device.type,
    }
