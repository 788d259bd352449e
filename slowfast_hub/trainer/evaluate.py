"""How right a network is on labelled videos, by the same views as prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slowfast_hub.models import VideoModel
from slowfast_hub.predict.aggregate import aggregate
from slowfast_hub.predict.predictor import run_views
from slowfast_hub.predict.speed import prepare
from slowfast_hub.predict.views import plan_views
from slowfast_hub.spec import Views
from slowfast_hub.trainer.data import Sample
from slowfast_hub.video.reader import open_video


@dataclass(frozen=True)
class Evaluation:
    """Scores `(N, num_classes)` and labels `(N,)` of N videos, in the order of the samples."""

    probs: Tensor
    labels: Tensor

    def top(self, k: int = 1, *, classes: Sequence[int] | None = None) -> float:
        """Share of videos whose label is among the `k` best scores, of `classes` alone if given."""
        probs = self.probs
        if classes is not None:
            probs = torch.full_like(probs, -1.0).index_copy(1, torch.tensor(classes), probs[:, list(classes)])
        return float((probs.topk(k).indices == self.labels[:, None]).any(1).float().mean())

    def confusion(self) -> Tensor:
        """Counts `(num_classes, num_classes)`: true class by row, answer by column."""
        from sklearn.metrics import confusion_matrix

        classes = range(self.probs.shape[1])
        return torch.from_numpy(confusion_matrix(self.labels, self.probs.argmax(1), labels=list(classes)))


def evaluate(model: VideoModel, samples: Sequence[Sample], *, views: Views) -> Evaluation:
    """Run every video through `views` (centre, paper, (clips, crops)). The model must be in eval mode."""
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before evaluation")
    ready, probs = prepare(model), []
    for sample in samples:
        reader = open_video(sample.video, fps=sample.fps)
        plan = plan_views(reader.info, model.arch, views)
        probs.append(aggregate(run_views(ready, reader, plan), model.arch.activation))
    return Evaluation(torch.stack(probs), torch.tensor([sample.label for sample in samples]))
