"""How a network scores the people of key frames, on the road of `Detector`. What the scores are worth: frame_map.py.

As in evaluate.py, other processes decode with `workers`, and launched as several processes, each takes a share of the
videos and all of them return the whole evaluation.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from slowfast_hub.models import VideoModel
from slowfast_hub.people.boxes import PERSON_SCORE, Unit, check_boxes, in_pixels, unit_of
from slowfast_hub.predict.detector import BoxView, Detector, Moment, check_takes_boxes, moments
from slowfast_hub.predict.speed import Precision, name_of
from slowfast_hub.spec import ClipSpec, Limits, VideoError, VideoInfo, one_of, whole
from slowfast_hub.trainer.detections import named, read_detections
from slowfast_hub.trainer.evaluate import Failed, OnError, frames_of, matched
from slowfast_hub.trainer.frame_map import LabelledBoxes, frame_map, those_that_count
from slowfast_hub.trainer.keyframes import Instant, KeyFrame, Person
from slowfast_hub.trainer.metrics import known
from slowfast_hub.trainer.processes import apart, process_state
from slowfast_hub.video.sampling import centred_indices

BoxesFrom = Literal["truth", "found"]

TOGETHER = 32  # key frames of a video that one process reads on one pass


@dataclass(frozen=True, eq=False)
class PeopleEvaluation:
    """Detections beside the truth, both numbered by `frames`, and behind these by `beside`, in the units of these."""

    name: str  # of the network, or of the file of detections
    frames: tuple[KeyFrame, ...]  # in the order of the set, without those that failed
    truth: LabelledBoxes
    detections: LabelledBoxes  # of the evaluated classes
    classes: tuple[str, ...]
    evaluated: tuple[int, ...]  # empty: all
    protocol: str  # what has to be said with every figure
    failed: tuple[Failed, ...] = ()
    beside: tuple[KeyFrame, ...] = ()  # other moments, of a file of detections: all that it has there is wrong


@dataclass(frozen=True)
class PeopleClass:
    """One evaluated class."""

    name: str
    people: int  # that do it: boxes
    average_precision: float | None  # in 0..1; None where nobody does it


@dataclass(frozen=True, eq=False)
class PeopleMetrics:
    """The figures of a set, with what has to be said beside them."""

    name: str
    protocol: str
    requested: int  # key frames
    decoded: int  # those that the figures are of
    people: int  # in them
    classes: tuple[PeopleClass, ...]  # the evaluated ones
    mean_ap: float | None  # frame mAP at an IoU of 0.5, over the classes that somebody does; None: there are none

    @property
    def line(self) -> str:
        """The figure and the protocol in one line."""
        done = sum(each.average_precision is not None for each in self.classes)
        figure = "no mAP" if self.mean_ap is None else f"mAP {100 * self.mean_ap:.1f} %"
        return (
            f"{figure} at IoU 0.5 over {done} of {len(self.classes)} classes, "
            f"{self.decoded} of {self.requested} key frames, "
            f"{self.people} {'person' if self.people == 1 else 'people'}, {self.protocol}"
        )


@dataclass(frozen=True, eq=False)
class Seen:
    """What the network sees of a key frame, and its boxes."""

    number: int
    moment: Moment
    boxes: Tensor  # (N, 4) px of the picture
    info: VideoInfo


@dataclass(frozen=True, eq=False)
class Answer:
    """What became of a key frame."""

    number: int
    result: Tensor | VideoError  # scores (N, num_classes)


def evaluate_people(
    model: VideoModel,
    frames: Sequence[KeyFrame],
    *,
    classes: Sequence[str],
    evaluated: Sequence[int] = (),
    boxes: BoxesFrom = "truth",
    found_score: float = PERSON_SCORE,
    scales: Sequence[int] | None = None,
    flip: bool = False,
    on_error: OnError = "raise",
    workers: int = 0,
    precision: Precision = "float32",
    limits: Limits | None = None,
    name: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> PeopleEvaluation:
    """Scores of everybody in these key frames, by a copy of `model` on its device.

    classes: the names of the labels; the network knows them as `evaluate` says. evaluated: which count; empty: all.
    boxes: where people are looked for: "truth": where they are, which asks for the actions alone, or "found": in
        `KeyFrame.found`, of a score of at least `found_score` (the paper: 0.8). A detection has the score of its class,
        whatever that of its box (PySlowFast).
    scales, flip: as in `Detector`.
    on_error: of a key frame that cannot be read, or with a box outside of the picture: "raise", or "report" it in
        `failed`; neither its truth nor its detections count then. One without boxes to look at is not opened.
    workers, name, progress: as in `evaluate`, of key frames.
    Errors: ValueError for what does not fit, VideoError, also where no key frame at all can be read.
    """
    from accelerate.utils import gather_object

    one_of("boxes", boxes, ("truth", "found"))
    one_of("on_error", on_error, ("raise", "report"))
    whole("workers", workers, 0)
    if not frames:
        raise ValueError("there are no key frames to evaluate")
    name = name or type(model).__name__
    check_takes_boxes(name, model.arch)
    outputs = matched(name, model, classes)[1][: len(classes)]
    counted = those_that_count(evaluated, len(classes))
    people = [looked_at(frame, boxes, found_score) for frame in frames]
    if boxes == "found":  # nobody else looks at the truth's before hours of work
        truth_of(frames)
    state = process_state()
    detector = Detector(
        copy.deepcopy(model),  # which may be in training
        scales=scales,
        flip=flip,
        device=next(model.parameters()).device,
        precision=precision,
        limits=limits,
    )
    shares = stretches(frames, people)[state.process_index :: state.num_processes]
    stream = MomentStream(shares, detector.views, detector.model.arch.clip, detector.limits)
    everything: list[Answer] = gather_object(answers(detector, stream, workers, on_error, progress))
    everything.sort(key=lambda answer: answer.number)
    results = [(answer.number, answer.result) for answer in everything]
    errors = {number: error for number, error in results if isinstance(error, VideoError)}
    if errors and (on_error == "raise" or len(errors) == len(frames)):
        raise next(iter(errors.values()))
    kept = [number for number in range(len(frames)) if number not in errors]
    probs = [scores for _, scores in results if isinstance(scores, Tensor)]
    return PeopleEvaluation(
        name=name,
        frames=tuple(frames[number] for number in kept),
        truth=truth_of([frames[number] for number in kept]),
        detections=detections_of([people[number] for number in kept], probs, outputs, counted),
        classes=tuple(classes),
        evaluated=tuple(evaluated),
        protocol=protocol_of(name, detector, boxes, found_score),
        failed=tuple(Failed(frames[number].name, error.reason) for number, error in errors.items()),
    )


def protocol_of(name: str, detector: Detector, boxes: BoxesFrom, found_score: float) -> str:
    """Whose boxes a network was given, and how it saw them."""
    where = "the truth's boxes" if boxes == "truth" else f"found boxes of score {found_score:g} or more"
    sides = dict.fromkeys(view.transform.spec.short_side for view in detector.views)
    mirrored = ", plain and mirrored" if any(view.mirrored for view in detector.views) else ""
    seen = f"short side {', '.join(map(str, sides))} px{mirrored}, {frames_of(detector.model.arch.clip)}"
    return f"{name}, {where}, {seen}, {name_of(next(detector.model.parameters()).dtype)}"


def evaluation_of_file(
    path: str | Path,
    frames: Sequence[KeyFrame],
    *,
    classes: Sequence[str],
    evaluated: Sequence[int] = (),
    excluded: Collection[Instant] = (),
) -> PeopleEvaluation:
    """The evaluation of a file of detections (detections.py), of these key frames.

    What it has at other moments of their videos is wrong, but for those of `excluded`; what it has of other videos is
    left out. Errors: ValueError with the line; for boxes in another unit; and where nothing is at a key frame.
    """
    found, name = read_detections(path, frames, classes, excluded=excluded), Path(path).name
    if not len(found.boxes) or int(found.boxes.frames.min()) >= len(frames):
        raise ValueError(
            f"{path}: none of its {len(found.boxes) + found.left_out} detections is at one of the {len(frames)} key "
            f"frames; they are called {','.join(named(frames[0])) if frames else 'nothing'} and so on"
        )
    unit, theirs = unit_of_frames(frames), unit_of(torch.from_numpy(found.boxes.boxes))
    if unit not in (None, theirs):
        raise ValueError(f"{path}: boxes look as if they were {theirs}, and those of the set are {unit}")
    protocol = f"{len(found.boxes)} detections of {name}"
    if found.beside:
        wrong = int((found.boxes.frames >= len(frames)).sum())
        protocol += f" ({wrong} of them wrong, at moments of these videos that are no key frames)"
    if found.left_out:
        protocol += f", without {found.left_out} of other videos or moments that do not count"
    return PeopleEvaluation(
        name=name,
        frames=tuple(frames),
        truth=truth_of(frames),
        detections=found.boxes,
        classes=tuple(classes),
        evaluated=tuple(evaluated),
        protocol=protocol,
        beside=found.beside,
    )


def measure_people(evaluation: PeopleEvaluation) -> PeopleMetrics:
    """Frame mAP and the figure of each class. ValueError where not one key frame has scores."""
    decoded, names = len(evaluation.frames), evaluation.classes
    if not decoded:
        raise ValueError(f"none of the {len(evaluation.failed)} key frames has scores: there is nothing to measure")
    found = frame_map(evaluation.truth, evaluation.detections, num_classes=len(names), evaluated=evaluation.evaluated)
    values = found.average_precision.tolist()
    return PeopleMetrics(
        name=evaluation.name,
        protocol=evaluation.protocol,
        requested=decoded + len(evaluation.failed),
        decoded=decoded,
        people=sum(len(frame.people) for frame in evaluation.frames),
        classes=tuple(
            PeopleClass(names[label], int(found.truths[label]), known(values[label]))
            for label in those_that_count(evaluation.evaluated, len(names))
        ),
        mean_ap=known(found.mean_ap),
    )


def looked_at(frame: KeyFrame, boxes: BoxesFrom, least: float) -> tuple[Person, ...]:
    """Whose boxes the network gets."""
    if boxes == "truth":
        return frame.people
    if frame.found is None:
        raise ValueError(
            f"{frame.where or frame.name}: no boxes of a person detector; read the set with some, or use truth"
        )
    return tuple(person for person in frame.found if person.score is None or person.score >= least)


def truth_of(frames: Sequence[KeyFrame]) -> LabelledBoxes:
    """The labels of everybody, each with its box. ValueError for a box that is none, with its key frame."""
    rows = [
        (number, label, person.box)
        for number, frame in enumerate(frames)
        for person in frame.people
        for label in person.labels
    ]
    corners = np.array([box for _, _, box in rows], np.float64).reshape(-1, 4)

    def where(row: int) -> str:
        return f"{frames[rows[row][0]].where or frames[rows[row][0]].name}: a box"

    check_boxes(torch.from_numpy(corners), unit=unit_of_frames(frames) or "normalised", where=where)
    return LabelledBoxes(
        np.array([number for number, _, _ in rows], np.int64),
        np.array([label for _, label, _ in rows], np.int64),
        corners,
        np.ones(len(rows)),
    )


def unit_of_frames(frames: Sequence[KeyFrame]) -> Unit | None:
    """The one unit of all boxes; None where there are two."""
    units = {frame.unit for frame in frames}
    return units.pop() if len(units) == 1 else None


def detections_of(
    people: Sequence[Sequence[Person]], probs: Sequence[Tensor], outputs: Sequence[int], classes: Sequence[int]
) -> LabelledBoxes:
    """Every class of every box, with its score. probs: of those key frames that have boxes."""
    if not probs:
        return LabelledBoxes.joined([])
    places = np.repeat(np.arange(len(people)), [len(each) for each in people])
    scores = torch.cat(list(probs))[:, [outputs[label] for label in classes]]
    corners = np.array([person.box for each in people for person in each], np.float64)
    return LabelledBoxes(
        places.repeat(len(classes)),
        np.tile(np.array(classes, np.int64), len(places)),
        corners.repeat(len(classes), axis=0),
        scores.double().flatten().numpy(),
    )


@dataclass(frozen=True, eq=False)
class Request:
    """A key frame to be scored."""

    number: int
    frame: KeyFrame
    people: tuple[Person, ...]


def stretches(frames: Sequence[KeyFrame], people: Sequence[tuple[Person, ...]]) -> list[list[Request]]:
    """The key frames with people, in parts that are read on one pass: of one video, in the order of time."""
    requests = [Request(number, *each) for number, each in enumerate(zip(frames, people)) if each[1]]
    parts = []
    by_video = defaultdict[tuple[object, float | None], list[Request]](list)
    for request in requests:
        frame = request.frame
        by_video[str(frame.video) if frame.on_disk else id(frame.video), frame.fps].append(request)
    for several in by_video.values():
        several.sort(key=lambda request: request.frame.at_s)
        parts += [several[begin : begin + TOGETHER] for begin in range(0, len(several), TOGETHER)]
    return parts


class MomentStream(IterableDataset[Seen | Answer]):
    """What is seen of the requests; one that cannot be had gives an `Answer`. Workers take whole parts, in turn."""

    def __init__(
        self, parts: Sequence[Sequence[Request]], views: Sequence[BoxView], spec: ClipSpec, limits: Limits
    ) -> None:
        self.parts, self.views, self.spec, self.limits = parts, views, spec, limits

    def __iter__(self) -> Iterator[Seen | Answer]:
        worker = get_worker_info()
        for part in self.parts if worker is None else self.parts[worker.id :: worker.num_workers]:
            left = {request.number: request for request in part}
            while left:
                try:
                    for item in self.seen([*left.values()]):
                        del left[item.number]
                        yield item
                except VideoError as error:
                    number = next(iter(left))
                    del left[number]  # the next ones may lie where the file is whole
                    yield Answer(number, error)

    def seen(self, requests: Sequence[Request]) -> Iterator[Seen | Answer]:
        """Those of one video, the impossible ones first."""
        reader = requests[0].frame.open(self.limits)
        info, places = reader.info, list[tuple[Request, Tensor]]()
        for request in requests:
            try:
                centred_indices(info, self.spec, request.frame.at_s)
                corners = torch.tensor([person.box for person in request.people])
                places.append(
                    (request, in_pixels(corners, width=info.width, height=info.height, unit=request.frame.unit))
                )
            except ValueError as error:  # a moment or a box outside of the video
                yield Answer(request.number, VideoError(info.source, str(error).removeprefix(f"{info.source}: ")))
        times_s = [request.frame.at_s for request, _ in places]
        for (request, boxes), moment in zip(places, moments(reader, self.views, self.spec, times_s, pictures=False)):
            yield Seen(request.number, moment, boxes, info)


def answers(
    detector: Detector,
    stream: MomentStream,
    workers: int,
    on_error: OnError,
    progress: Callable[[int, int], None] | None,
) -> list[Answer]:
    """The scores of the requests of a stream; with on_error="raise" no more after a failure."""
    total, done = sum(map(len, stream.parts)), list[Answer]()
    waiting = defaultdict[tuple[int, int], list[Seen]](list)  # for others of their size

    def finish(several: Iterable[Answer]) -> None:
        done.extend(several)
        if progress is not None:
            progress(len(done), total)

    def scored(several: list[Seen]) -> Iterator[Answer]:
        values = detector.run(
            [seen.moment for seen in several], [seen.boxes for seen in several], several[0].info, detector.probs
        )
        yield from (Answer(seen.number, probs) for seen, probs in zip(several, values))
        several.clear()

    loader: Iterable[Seen | Answer] = DataLoader(
        stream, batch_size=None, num_workers=min(workers, len(stream.parts)), worker_init_fn=apart
    )
    for item in loader:
        if isinstance(item, Answer):
            finish([item])
            if on_error == "raise":
                return done
        else:
            several = waiting[item.info.height, item.info.width]
            several.append(item)
            if len(several) == detector.batch_size:
                finish(scored(several))
    for several in waiting.values():
        if several:
            finish(scored(several))
    return done
