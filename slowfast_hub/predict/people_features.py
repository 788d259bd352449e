"""What a detector sees of every person: its maps before the classifier, cut by RoIAlign, as one vector for each box."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slowfast_hub.models import VideoModel
from slowfast_hub.people.boxes import Unit
from slowfast_hub.people.files import LARGEST_TABLE, check_file
from slowfast_hub.people.finder import PersonDetector
from slowfast_hub.people.sources import BoxSource
from slowfast_hub.predict.detector import Detector, Progress
from slowfast_hub.predict.features import Features, network_record
from slowfast_hub.predict.network import here
from slowfast_hub.predict.speed import Precision
from slowfast_hub.spec import Limits
from slowfast_hub.video.reader import Video
from slowfast_hub.video.sampling import centred_indices
from slowfast_hub.zoo.cache import sha256_of


@dataclass(frozen=True, eq=False)
class PeopleFeatures(Features):
    """The features of N people of one video, moment after moment. `start_s`, `end_s`: of the clip that was seen."""

    at_s: Tensor  # (N,) float64: the moment of the box, in seconds of the file
    boxes: Tensor  # (N, 4) float32, px of the picture
    person: Tensor  # (N,) long: who it is, the same along the video
    names: tuple[str, ...] = ()  # of the people 0, 1, ..., where a table knows them

    def record(self) -> dict[str, Any]:
        return {**super().record(), "names": list(self.names)}

    def arrays(self) -> dict[str, Tensor]:
        """What is written, a row for each person and moment: those of windows, `at_s`, `boxes` and `person`."""
        return {**super().arrays(), "at_s": self.at_s, "boxes": self.boxes, "person": self.person}

    def __repr__(self) -> str:
        return (
            f"PeopleFeatures({self.model}: {tuple(self.values.shape)}, "
            f"{len(self.person.unique())} people at {len(self.at_s.unique())} moments of {self.video.source})"
        )


class PeopleFeatureExtractor:
    """Keeps one detector for many videos: `PeopleFeatureExtractor(name, people="people.csv")(video) -> PeopleFeatures`.

    name: as `Detector` takes it. Weights of a network for whole clips make a detector too, as only the pooling differs:
        `create_model(name, pretrained=True, roi=RoISpec())`, with `pool="global"` where they have another pool.
    people, scales, flip, device, batch_size, precision, compile, limits: as in `Detector`; features of several scales,
        and of mirrored pictures, are averaged.
    every_s: from moment to moment, where `people` is no table with moments of its own; one second when left out.
    unit: of the boxes of `people`: px, normalised, or None to find out.
    Errors: those of `Detector`.
    """

    def __init__(
        self,
        name: str | VideoModel,
        *,
        people: BoxSource | None = None,
        unit: Unit | None = None,
        every_s: float | None = None,
        scales: Sequence[int] | None = None,
        flip: bool = False,
        device: str | torch.device | None = None,
        batch_size: int | None = None,
        precision: Precision = "float32",
        compile: bool = False,
        limits: Limits | None = None,
    ) -> None:
        people = PersonDetector(device=here(device)) if people is None else people
        self.detector = Detector(
            name,
            people=people,
            scales=scales,
            flip=flip,
            device=device,
            batch_size=batch_size,
            precision=precision,
            compile=compile,
            limits=limits,
        )
        self.unit, self.every_s = unit, every_s
        recipe = {
            **network_record(name, self.detector.name, self.detector.model),
            "people": source_record(people),
            "unit": unit,
            "every_s": every_s,
            "scales": scales,
            "flip": flip,
        }
        self.recipe: dict[str, Any] = json.loads(json.dumps(recipe))  # as it comes back from a file: no tuples

    def __call__(self, video: Video, *, fps: float | None = None, progress: Progress | None = None) -> PeopleFeatures:
        """The features of the people of one video; of nobody there are no rows. Else as `Detector.along`."""
        detector = self.detector
        reader = detector.open(video, fps=fps)
        info, people = reader.info, detector.boxes(reader.info, None, self.unit)
        values, boxes = [torch.empty(0, detector.model.num_features)], [torch.empty(0, 4)]
        person, moments = [torch.empty(0, dtype=torch.long)], [torch.empty(0, 3, dtype=torch.float64)]
        names: dict[int, str] = {}
        along = detector.followed(reader, people, every_s=self.every_s, progress=progress, answer=self.pooled)
        for seen, ids in along:
            count = len(seen.people.boxes)
            span_s = info.span_s(centred_indices(info, detector.model.arch.clip, seen.at_s))
            values.append(seen.values.reshape(count, -1) if count else values[0])
            boxes.append(seen.people.boxes)
            person.append(ids)
            names |= dict(zip(ids.tolist(), seen.people.names))
            moments.append(torch.tensor([(seen.at_s, *span_s)], dtype=torch.float64).expand(count, 3))
        at_s, start_s, end_s = torch.cat(moments).unbind(1)
        return PeopleFeatures(
            torch.cat(values),
            start_s,
            end_s,
            detector.name,
            self.recipe,
            info,
            at_s,
            torch.cat(boxes),
            torch.cat(person),
            tuple(names[number] for number in range(len(names))),
        )

    def pooled(self, clips: Tensor, rois: Tensor) -> Tensor:
        """Clips `(B, 3, T, H, W)` and rois `(N, 5)` to features `(N, D)`."""
        model = self.detector.model
        return model.forward_head(model.forward_features(clips), pre_logits=True, rois=rois)


def source_record(people: BoxSource) -> dict[str, Any]:
    """What is known of where the people come from, JSON-able: the content of a table, and not where it lies."""
    if isinstance(people, str | Path):
        check_file(Path(people), LARGEST_TABLE)
        return {"table_sha256": sha256_of(Path(people))}
    if isinstance(people, PersonDetector):
        return {"detector": people.name, "score": people.score}
    if callable(people):
        return {"function": getattr(people, "__qualname__", type(people).__name__)}
    return {"boxes": torch.as_tensor(people).tolist()}
