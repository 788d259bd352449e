"""What the scores of an evaluation are worth. The figures are scikit-learn's and torchmetrics'.

Shares are in 0..1. With one label for each video: accuracy, its mean over classes, confusion. With many labels: mean
average precision, over the classes that some video has (PySlowFast's meters.py, for Charades).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from slowfast_hub.trainer.evaluate import Evaluation

BINS = 15  # of the calibration error (Guo et al. 2017)


@dataclass(frozen=True)
class ClassMetrics:
    """One class; None for what a set with many labels, or a class without videos or answers, does not have."""

    name: str
    videos: int  # that have it as a label
    recall: float | None = None  # share of them that are answered so: the accuracy of the class
    precision: float | None = None  # share of such answers that are right
    average_precision: float | None = None
    taken_for: str | None = None  # its most frequent wrong answer


@dataclass(frozen=True, eq=False)
class Metrics:
    """The figures of a set, with what has to be said beside them."""

    protocols: tuple[str, ...]
    requested: int  # videos
    decoded: int  # those that the figures are of
    classes: tuple[ClassMetrics, ...]  # those that are a label or an answer of some video
    calibration_error: float  # expected; of the best score, or with many labels of all
    mean_ap: float | None  # None where no video has a label
    top1: float | None = None  # None with many labels
    top5: float | None = None  # None with up to five classes, too
    mean_class_accuracy: float | None = None
    confusion: Tensor | None = None  # counts (classes, classes) in their order: label by row, answer by column

    @property
    def figures(self) -> dict[str, float]:
        """Those that there are, under the names people know them by; per cent."""
        single = self.top1 is not None
        named = {
            "top-1": self.top1,
            "top-5": self.top5,
            "mean class accuracy": self.mean_class_accuracy,
            "mAP": None if single else self.mean_ap,
            "calibration error": self.calibration_error,
        }
        return {name: 100 * value for name, value in named.items() if value is not None}

    @property
    def protocol(self) -> str:
        """What was seen of how many videos."""
        mean = f"mean of {len(self.protocols)}: " if len(self.protocols) > 1 else ""
        return f"{self.decoded} of {self.requested} videos, {mean}{'; '.join(self.protocols)}"

    @property
    def line(self) -> str:
        """The figures and the protocol in one line."""
        return ", ".join([*(f"{name} {value:.1f} %" for name, value in self.figures.items()), self.protocol])


def measure(evaluation: Evaluation) -> Metrics:
    """All figures of an evaluation. ValueError where not one video has scores."""
    if not evaluation.videos:
        raise ValueError(f"none of the {len(evaluation.failed)} videos has scores: there is nothing to measure")
    return measure_many(evaluation) if evaluation.multilabel else measure_single(evaluation)


def measure_single(evaluation: Evaluation) -> Metrics:
    """Of videos with one label each."""
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support
    from torchmetrics.functional.classification import multiclass_accuracy

    probs, labels = evaluation.probs, evaluation.targets.int().argmax(1)
    best, answers = probs.max(1)
    shown = torch.cat([labels, answers]).unique().tolist()
    counts = torch.from_numpy(confusion_matrix(labels, answers, labels=shown))
    precision, recall, _, videos = precision_recall_fscore_support(
        labels, answers, labels=shown, zero_division=math.nan, average=None
    )
    average_precision, names = average_precisions(evaluation), [evaluation.classes[index] for index in shown]
    wrong = counts - counts.diag().diag()
    classes = tuple(
        ClassMetrics(
            name,
            int(videos[row]),
            known(recall[row]),
            known(precision[row]),
            average_precision.get(shown[row]),
            names[int(wrong[row].argmax())] if wrong[row].any() else None,
        )
        for row, name in enumerate(names)
    )
    top5 = None
    if len(evaluation.classes) > 5:
        top5 = float(multiclass_accuracy(probs, labels, len(evaluation.classes), top_k=5, average="micro"))
    recalls = [each.recall for each in classes if each.recall is not None]
    return Metrics(
        *asked(evaluation),
        classes=classes,
        calibration_error=calibration_error(best, answers == labels),
        mean_ap=mean([*average_precision.values()]),
        top1=float(accuracy_score(labels, answers)),
        top5=top5,
        mean_class_accuracy=mean(recalls),
        confusion=counts,
    )


def measure_many(evaluation: Evaluation) -> Metrics:
    """Of videos with any number of labels each."""
    average_precision = average_precisions(evaluation)
    counts = evaluation.targets.sum(0).tolist()
    return Metrics(
        *asked(evaluation),
        classes=tuple(
            ClassMetrics(evaluation.classes[index], counts[index], average_precision=value)
            for index, value in average_precision.items()
        ),
        calibration_error=calibration_error(evaluation.probs, evaluation.targets),
        mean_ap=mean([*average_precision.values()]),
    )


def asked(evaluation: Evaluation) -> tuple[tuple[str, ...], int, int]:
    """The protocols, and the numbers of videos requested and decoded."""
    decoded = len(evaluation.videos)
    return tuple(map(str, evaluation.protocols)), decoded + len(evaluation.failed), decoded


def average_precisions(evaluation: Evaluation) -> dict[int, float]:
    """That of each class that some video has."""
    from sklearn.metrics import average_precision_score

    present = evaluation.targets.any(0).nonzero().flatten().tolist()
    return {
        index: float(average_precision_score(evaluation.targets[:, index], evaluation.probs[:, index]))
        for index in present
    }


def calibration_error(scores: Tensor, right: Tensor) -> float:
    """How far scores lie from the share of them that is right, in the mean over bins of scores."""
    from torchmetrics.functional.classification import binary_calibration_error

    # A mean over views may be 1.0000001, and torchmetrics would then take the scores for logits.
    return float(binary_calibration_error(scores.flatten().clamp(0, 1), right.flatten().int(), n_bins=BINS))


def mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
