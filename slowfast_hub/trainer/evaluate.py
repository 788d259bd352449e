"""How a network scores labelled videos, by the same views as prediction. What the scores are worth: metrics.py.

With `workers`, other processes decode; launched as several processes, each takes every n-th video: none is seen twice,
none is padded, and all of them return the whole evaluation.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from slowfast_hub.models import VideoModel
from slowfast_hub.predict.aggregate import aggregate
from slowfast_hub.predict.clips import batches, fetched, stream_clips
from slowfast_hub.predict.dense import dense_logits
from slowfast_hub.predict.predictor import check_answers_rgb
from slowfast_hub.predict.speed import Precision, best_batch_size, name_of, prepare
from slowfast_hub.predict.views import parse_views, plan_views
from slowfast_hub.spec import Arch, ClipSpec, Limits, VideoError, Views, one_of, whole
from slowfast_hub.trainer.processes import apart, process_state
from slowfast_hub.trainer.samples import Sample
from slowfast_hub.transforms.eval import EvalTransform

OnError = Literal["raise", "report"]


@dataclass(frozen=True)
class Protocol:
    """How one network saw the videos: what has to be said with every figure."""

    model: str
    views: str  # clips x crops, or "dense"
    clip: ClipSpec
    precision: str

    def __str__(self) -> str:
        clip, pictures = self.clip, f"crop {self.clip.crop} px of short side {self.clip.short_side} px"
        if clip.fit == "contain":
            pictures = f"whole pictures in {clip.crop} px"
        elif self.views == "dense":
            pictures = f"whole pictures of short side {clip.short_side} px"
        return f"{self.model}, views {self.views}, {pictures}, {frames_of(clip)}, {self.precision}"


def frames_of(clip: ClipSpec) -> str:
    """Which frames a clip has, in words."""
    if clip.sampling == "segments":
        return f"{clip.frames} frames, one of each part of the video"
    clock = "of the file" if clip.fps is None else f"at {clip.fps:g} fps"
    return f"{clip.frames} x {clip.stride} frames {clock}"


@dataclass(frozen=True)
class Failed:
    """A video that has no scores."""

    video: str
    reason: str


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of N videos in the order of the samples, without those that failed."""

    videos: tuple[str, ...]
    probs: Tensor  # (N, C) float32 in 0..1
    targets: Tensor  # (N, C) bool
    classes: tuple[str, ...]  # those of the set, then the others that the network knows
    multilabel: bool
    protocols: tuple[Protocol, ...]  # of the network, or of each of those whose scores were averaged
    failed: tuple[Failed, ...] = ()


@dataclass(frozen=True, eq=False)
class View:
    """A clip of a video that has `of` of them; its crop is in it."""

    number: int  # of the sample
    clip: Tensor
    of: int
    views: str


@dataclass(frozen=True, eq=False)
class Answer:
    """What became of a sample."""

    number: int
    result: Tensor | VideoError
    views: str = ""


def evaluate(
    model: VideoModel,
    samples: Sequence[Sample],
    *,
    classes: Sequence[str],
    views: Views = "centre",
    multilabel: bool = False,
    on_error: OnError = "raise",
    workers: int = 0,
    precision: Precision = "float32",
    limits: Limits | None = None,
    name: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Scores of every sample, by a copy of `model` that is made ready for inference on its device.

    classes: the names of the samples' labels. A network with labels has to know them all, in any order; its further
        classes stay, so that an answer outside of the set is wrong. One without has as many outputs, in this order.
    on_error: of a video that cannot be read: "raise", in all processes when each is done with its share, or "report"
        it in `failed`; nothing ever stands in for it.
    workers: processes that make clips; 0 makes them here.
    name: what the network is called in `protocols`; its family when left out.
    progress: called with the videos done and all videos of this process.
    Errors: ValueError for classes that do not fit, VideoError, also where no video at all can be read.
    """
    from accelerate.utils import gather_object

    parse_views(views)
    one_of("on_error", on_error, ("raise", "report"))
    whole("workers", workers, 0)
    if not samples:
        raise ValueError("there are no videos to evaluate")
    name = name or type(model).__name__
    check_answers_rgb(name, model.arch)
    names, outputs = matched(name, model, classes)
    state = process_state()
    share = range(len(samples))[state.process_index :: state.num_processes]
    stream = ViewStream([(number, samples[number]) for number in share], model.arch, views, limits)
    ready = prepare(model, precision=precision)
    found = answers(ready, stream, workers, on_error, progress)
    everything: list[Answer] = sorted(gather_object(found), key=lambda answer: answer.number)
    errors = [(answer.number, answer.result) for answer in everything if isinstance(answer.result, VideoError)]
    if errors and (on_error == "raise" or len(errors) == len(everything)):
        raise errors[0][1]
    scored = [(answer.number, answer.result) for answer in everything if isinstance(answer.result, Tensor)]
    seen = next(answer.views for answer in everything if answer.views)
    return Evaluation(
        videos=tuple(samples[number].name for number, _ in scored),
        probs=torch.stack([scores[outputs] for _, scores in scored]),
        targets=targets_of([samples[number].labels for number, _ in scored], len(names)),
        classes=names,
        multilabel=multilabel,
        protocols=(Protocol(name, seen, model.arch.clip, name_of(next(ready.parameters()).dtype)),),
        failed=tuple(Failed(samples[number].name, error.reason) for number, error in errors),
    )


def matched(name: str, model: VideoModel, classes: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    """The names of the scores, those of the set first, and the network's output for each."""
    if not model.labels:
        if model.num_classes != len(classes):
            raise ValueError(
                f"{name} has {model.num_classes} outputs without names, the set {len(classes)} classes: "
                "train a classifier for them, or set model.labels"
            )
        return tuple(classes), list(range(len(classes)))
    missing = [each for each in classes if each not in model.labels]
    if missing:
        shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise ValueError(
            f"{name} does not know {len(missing)} of the {len(classes)} classes: {shown}; "
            f"its classes are {', '.join(model.labels[:5])} ...: rename those of the set, or train a classifier"
        )
    names = (*classes, *sorted(set(model.labels) - set(classes)))
    return names, [model.labels.index(each) for each in names]


def targets_of(labels: Sequence[Sequence[int]], count: int) -> Tensor:
    """`(N, count)` bool: the labels of each video."""
    targets = torch.zeros(len(labels), count, dtype=torch.bool)
    for row, indices in zip(targets, labels):
        row[list(indices)] = True
    return targets


class ViewStream(IterableDataset[View | Answer]):
    """The views of numbered samples; one that cannot be read gives an `Answer`, maybe after some views.

    Workers take whole videos, in turn. A view at a time goes through shared memory: 25 MB, where thirty would be 750.
    """

    def __init__(self, samples: Sequence[tuple[int, Sample]], arch: Arch, views: Views, limits: Limits | None) -> None:
        self.samples, self.arch, self.views, self.limits = samples, arch, views, limits

    def __iter__(self) -> Iterator[View | Answer]:
        worker = get_worker_info()
        mine = self.samples if worker is None else self.samples[worker.id :: worker.num_workers]
        for number, sample in mine:
            try:
                yield from self.views_of(number, sample)
            except VideoError as error:
                yield Answer(number, error)

    def views_of(self, number: int, sample: Sample) -> Iterator[View]:
        reader, transform = sample.open(self.limits), EvalTransform(self.arch.clip)
        plan = plan_views(reader.info, self.arch, self.views)
        for clip in stream_clips(reader, transform, plan.indices):
            for crop in plan.crops:
                yield View(number, transform.cropped(clip, crop=crop), plan.num_views, plan.views)


@torch.inference_mode()
def answers(
    model: VideoModel,
    stream: ViewStream,
    workers: int,
    on_error: OnError,
    progress: Callable[[int, int], None] | None,
) -> list[Answer]:
    """The scores of the samples of a stream, as they are done; with on_error="raise" no more after a failure."""
    device, dense = next(model.parameters()).device, stream.views == "dense"
    total, done = len(stream.samples), list[Answer]()
    under_way = deque[tuple[int, int, str]]()  # whose views the network has, in order
    logits_of: dict[int, list[Tensor]] = defaultdict(list)

    def finish(answer: Answer) -> None:
        done.append(answer)
        if progress is not None:
            progress(len(done), total)

    def clips() -> Iterator[Tensor]:
        loader: Iterable[View | Answer] = DataLoader(
            stream, batch_size=None, num_workers=min(workers, total), worker_init_fn=apart
        )
        for item in loader:
            if isinstance(item, View):
                under_way.append((item.number, item.of, item.views))
                yield item.clip
            else:
                finish(item)
                if on_error == "raise":
                    return

    def run(batch: Tensor) -> Tensor:
        """`(B, windows, C)`: of dense views there are several windows."""
        logits = dense_logits(model, batch) if dense else model(batch)
        return logits.unflatten(0, (len(batch), -1))

    for batch in fetched(map(run, batches(clips(), 1 if dense else best_batch_size(device), device))):
        for logits in batch:
            number, of, views = under_way.popleft()
            logits_of[number].append(logits)
            if len(logits_of[number]) == of:
                finish(Answer(number, aggregate(torch.cat(logits_of.pop(number)), model.arch.activation), views))
    return done


def ensemble(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The mean of the scores of several networks on the same videos, as in the paper's entry of seven (section 5).

    Videos are matched by name, in the order of the first; one that failed for any of the networks has failed.
    ValueError where classes, videos or labels differ.
    """
    first, rows = evaluations[0], [rows_of(evaluation) for evaluation in evaluations]
    for other, there in zip(evaluations[1:], rows[1:]):
        if (other.classes, other.multilabel) != (first.classes, first.multilabel):
            raise ValueError(f"{called(other)} has other classes than {called(first)}: their scores have no mean")
        if strays := sorted(video for video, _ in there.keys() ^ rows[0].keys()):
            raise ValueError(
                f"{called(other)} and {called(first)} saw different videos; only one of them {len(strays)}, such as "
                f"{strays[0]}: use the same set and part"
            )
    shared = [key for key in rows[0] if all(there[key] is not None for there in rows)]
    taken = [[there[key] for key in shared] for there in rows]
    targets = first.targets[taken[0]]
    for other, numbers in zip(evaluations[1:], taken[1:]):
        if differ := (other.targets[numbers] != targets).any(1).nonzero().flatten().tolist():
            raise ValueError(f"{shared[differ[0]][0]} has other labels for {called(other)} than for {called(first)}")
    kept, failed = set(shared), {failure.video: failure for evaluation in evaluations for failure in evaluation.failed}
    return Evaluation(
        videos=tuple(video for video, _ in shared),
        probs=torch.stack([each.probs[numbers] for each, numbers in zip(evaluations, taken)]).mean(0),
        targets=targets,
        classes=first.classes,
        multilabel=first.multilabel,
        protocols=tuple(protocol for evaluation in evaluations for protocol in evaluation.protocols),
        failed=tuple(failed[key[0]] for key in rows[0] if key not in kept),
    )


def rows_of(evaluation: Evaluation) -> dict[tuple[str, int], int | None]:
    """The row of each video, None for one that failed; the number tells apart those that are listed twice."""
    seen, rows = Counter[str](), dict[tuple[str, int], int | None]()
    names = [*enumerate(evaluation.videos), *((None, failure.video) for failure in evaluation.failed)]
    for row, video in names:
        rows[video, seen[video]] = row
        seen[video] += 1
    return rows


def called(evaluation: Evaluation) -> str:
    return " and ".join(protocol.model for protocol in evaluation.protocols)
