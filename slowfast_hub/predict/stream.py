"""What happens now: scores of windows while the video still comes.

A window is scored as soon as its last frame is there, from the very frames and in the very way in which `timeline`
scores it: the same pictures give the same numbers. Of all frames only those stay that a clip to come is made of, and
memory is as it is for days.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from slowfast_hub.models import VideoModel
from slowfast_hub.predict.aggregate import aggregate
from slowfast_hub.predict.clips import batch, fitted_size
from slowfast_hub.predict.growing import Clips, Tape
from slowfast_hub.predict.predictor import Predictor
from slowfast_hub.predict.timeline import answers, predictor_of
from slowfast_hub.predict.windows import Schedule, clip_schedule
from slowfast_hub.spec import CROPS, ClipSpec, Limits, VideoError, best, one_of, whole
from slowfast_hub.transforms.eval import EvalTransform
from slowfast_hub.video.feed import DROPS, Arrived, Arriving, Drop, Feed
from slowfast_hub.video.live import Source, arrive, usual_limits
from slowfast_hub.video.sampling import Places
from slowfast_hub.video.track import DEFAULT_FPS
from slowfast_hub.zoo.registry import DEFAULT_MODEL

QUEUE_FRAMES = 32  # a second, while a network works; in high definition 200 MB


@dataclass(frozen=True, eq=False)
class WindowScore:
    """The scores of one window."""

    start_s: float  # in seconds of the source
    end_s: float
    probs: Tensor  # (num_classes,)
    labels: tuple[str, ...]
    latency_s: float  # from the arrival of its last frame to this answer

    def top(self, k: int = 5) -> list[dict[str, str | float]]:
        """The `k` best classes, best first, as `Prediction.top` gives them."""
        return best(self.probs, self.labels, k)

    def __repr__(self) -> str:
        highest = ", ".join(f"{row['label']} {row['score']:.2f}" for row in self.top(3))
        return f"WindowScore({self.start_s:.2f}-{self.end_s:.2f} s: {highest})"


@dataclass(frozen=True)
class StreamStats:
    """How a stream goes."""

    frames: int  # that came, those dropped among them
    dropped: int
    windows: int  # scored
    fps: float  # frames that come in a second
    latency_mean_s: float  # of the windows
    latency_max_s: float


class StreamClassifier:
    """Scores the windows of a source while it comes: `for window in StreamClassifier()(source): ...`.

    name: as `Predictor` takes it, or a Predictor, which then brings its device and limits with it.
    window_s, stride_s, crop: as in `timeline`.
    queue_frames: how many frames may wait for the network.
    drop: what happens to more of them. "never": the source waits; "oldest": the frame that has waited longest goes;
        "newest": the new one goes. None: "oldest" for what does not wait, cameras and addresses without an end, "never"
        for all others. Where a frame is missing, the one before stays on show, as in a player.
    limits: what a source may ask of this machine; None for `LIVE` for addresses, `ENDLESS` for pipes, and `LONG` for
        files. `arrive` says which of them hold for which source. Those of a Predictor hold for pipes too.

    It watches one source at a time. The thread that reads ends with the loop over the windows, with `close()`, which
    any thread may call, and with a `with` block.
    """

    def __init__(
        self,
        name: str | VideoModel | Predictor = DEFAULT_MODEL,
        *,
        window_s: float | None = None,
        stride_s: float | None = None,
        crop: str = "centre",
        device: str | torch.device | None = None,
        queue_frames: int = QUEUE_FRAMES,
        drop: Drop | None = None,
        limits: Limits | None = None,
    ) -> None:
        one_of("crop", crop, CROPS)
        one_of("drop", drop, (*DROPS, None))
        whole("queue_frames", queue_frames, 1)
        self._predictor = predictor_of(name, device=device, batch_size=None, limits=limits)
        if self._predictor.scaler != "exact":
            raise ValueError("frames of a stream are resized exactly; build the Predictor with scaler='exact'")
        self._limits = self._predictor.limits if isinstance(name, Predictor) else limits
        self._window_s, self._stride_s, self._crop = window_s, stride_s, crop
        self._room, self._drop = queue_frames, drop
        self._feed: Feed | None = None
        self._latencies = (0, 0.0, 0.0)  # how many windows, and their sum and maximum in seconds
        self._windows(DEFAULT_FPS)  # windows that cannot be are refused now

    def __call__(self, source: Source, *, fps: float | None = None) -> Iterator[WindowScore]:
        """Watch a source: the windows in their order, each as soon as it can be scored.

        source: the number of a camera; an address (RTSP, HLS, HTTP ...); a path; "-", the standard input, or a binary
            file object; an iterable of frames (H, W, 3) uint8 RGB, or of (seconds, frame).
        fps: the rate of an iterable of frames, 30 if not given; with times, the rate of the grid they are put on.
        What is left of a video behind its last whole window is a window too, as in `timeline`. Errors: VideoError when
        the source cannot be opened, and, after the windows before it, when it fails.
        """
        if fps is not None and not 0 < fps < math.inf:
            raise ValueError(f"fps must be a positive rate; got {fps!r}")
        self.close()
        arriving = arrive(source, fps=fps, limits=self._limits or usual_limits(source))
        self._feed = Feed(arriving, room=self._room, drop=self._drop or ("never" if arriving.waits else "oldest"))
        self._latencies = (0, 0.0, 0.0)
        return self._watch(arriving, self._feed)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self._predictor.labels

    @property
    def stats(self) -> StreamStats:
        """Of the source that is watched, or was watched last."""
        windows, total_s, max_s = self._latencies
        frames, dropped, fps = (self._feed.received, self._feed.dropped, self._feed.fps) if self._feed else (0, 0, 0.0)
        return StreamStats(frames, dropped, windows, fps, total_s / max(1, windows), max_s)

    def close(self) -> None:
        """Stop watching: the thread ends, and so does the loop over the windows."""
        if self._feed is not None:
            self._feed.close()

    def __enter__(self) -> StreamClassifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _windows(self, fps: float) -> Schedule:
        """The windows on a timeline of `fps` places a second."""
        spec = self._predictor.model.arch.clip
        return clip_schedule(spec, Places(0, fps), window_s=self._window_s, stride_s=self._stride_s)

    def _watch(self, arriving: Arriving, feed: Feed) -> Iterator[WindowScore]:
        with feed:
            scoring = None
            for arrived in feed:
                if scoring is None:
                    spec = self._predictor.model.arch.clip
                    fitted_size(EvalTransform(spec), arriving.name, *arrived.frame.shape[:2])
                    tape = tape_of(arriving, arrived, spec)
                    scoring = Scoring(self._predictor, tape, self._windows(tape.fps), self._crop)
                for window in scoring.add(arrived):
                    yield self._counted(window)
            if feed.closed:
                return
            if scoring is None:
                raise VideoError(arriving.name, "ended before its first frame")
            for window in scoring.end():
                yield self._counted(window)

    def _counted(self, window: WindowScore) -> WindowScore:
        windows, total_s, max_s = self._latencies
        self._latencies = (windows + 1, total_s + window.latency_s, max(max_s, window.latency_s))
        return window


class Scoring:
    """The windows of one source."""

    def __init__(self, predictor: Predictor, tape: Tape, windows: Schedule, crop: str) -> None:
        self._predictor, self._tape, self._windows, self._crop = predictor, tape, windows, crop
        self._transform = EvalTransform(predictor.model.arch.clip)
        self._clips = Clips(windows, self._transform)
        self._logits: dict[int, Tensor] = {}  # of clips that windows to come are seen in
        self._done = 0  # windows
        self._at = 0.0  # when the last frame came

    def add(self, arrived: Arrived) -> Iterator[WindowScore]:
        """The next frame; gives the windows that end with it."""
        self._at = arrived.at
        yield from self._shown(self._tape.add(shown_s(arrived, self._tape.fps), arrived.frame))

    def end(self) -> Iterator[WindowScore]:
        """No more frames come; gives the windows that are left."""
        yield from self._shown(self._tape.end())
        places = self._tape.places
        while self._done < self._windows.count(places):
            seen = self._windows.clips_within(self._done, places)
            for number in seen:
                if number not in self._logits:
                    self._run(number, self._clips.held(number, self._tape.last()))
            yield self._score(seen)

    def _shown(self, places: Iterator[tuple[int, Tensor]]) -> Iterator[WindowScore]:
        for place, frame in places:
            for number, clip in self._clips.add(place, frame):
                self._run(number, clip)
            while self._done < self._windows.fit(place + 1):
                seen = self._windows.clips(self._done)
                if any(number not in self._logits for number in seen):
                    break  # a clip longer than its window
                yield self._score(seen)

    def _run(self, number: int, clip: Tensor) -> None:
        # One at a time, as they come: what `timeline` with a batch size of 1 does, to the last bit.
        cropped = self._transform.cropped(clip, crop=self._crop)
        self._logits[number] = answers(self._predictor, batch([cropped], self._predictor.device))

    def _score(self, seen: range) -> WindowScore:
        begin, end = self._windows.seconds(self._done, self._tape.fps)
        fits = self._done < self._windows.fit(self._tape.places)
        logits = torch.cat([self._logits[number] for number in seen])
        self._done += 1
        for number in [number for number in self._logits if number < self._windows.clips(self._done)[0]]:
            del self._logits[number]
        return WindowScore(
            start_s=self._tape.start_s + begin,
            end_s=self._tape.start_s + end if fits else self._tape.end_s,
            probs=aggregate(logits, self._predictor.model.arch.activation),
            labels=self._predictor.labels,
            latency_s=perf_counter() - self._at,
        )


def tape_of(arriving: Arriving, first: Arrived, spec: ClipSpec) -> Tape:
    """The timeline of a source, as it shows with the first frame; ValueError for a network that needs a rate."""
    if arriving.steady and (arriving.fps is not None or first.time_s is None):
        fps = arriving.fps or DEFAULT_FPS
        return Tape(fps, start_s=shown_s(first, fps), ticks=False)
    clock = spec.fps or arriving.fps
    if clock is None:
        raise ValueError("this network counts frames and not seconds: give the rate of the frames too, fps=...")
    return Tape(clock, start_s=shown_s(first, clock), ticks=True)


def shown_s(arrived: Arrived, fps: float) -> float:
    """The time of a frame: its own, or that of its number among all frames, so that those dropped leave a gap."""
    return arrived.number / fps if arrived.time_s is None else arrived.time_s
