"""Following people from moment to moment by how much their boxes overlap.

The IOU tracker of Bochinski, Eiselein and Sikora, "High-Speed Tracking-by-Detection Without Using Image Information"
(AVSS 2017): no picture is looked at. It knows somebody again whose box still covers its last place, so it wants moments
close to each other. With one moment a second somebody who walks across the picture gets a new id at each of them, and
two people who change places change their ids.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slowfast_hub.people.boxes import check_boxes, iou
from slowfast_hub.spec import whole


class Tracker:
    """Gives people ids along one video: `tracker(boxes)` for each moment, in the order of time.

    iou: the least intersection over union of a box with the last one of the same person.
    patience: moments in a row without a box after which somebody is still known again; 0: none. Ids are never reused.
    """

    def __init__(self, *, iou: float = 0.3, patience: int = 2) -> None:
        if not 0 < iou <= 1:
            raise ValueError(f"iou must be above 0 and at most 1; got {iou!r}")
        whole("patience", patience, 0)
        self.iou, self.patience = iou, patience
        self._boxes = torch.empty(0, 4)  # the last one of everybody who may come again
        self._ids = torch.empty(0, dtype=torch.long)
        self._missed = torch.empty(0, dtype=torch.long)  # moments since then
        self._people = 0  # so far

    def __call__(self, boxes: Tensor) -> Tensor:
        """Boxes `(N, 4)` of the next moment, of any unit, to ids `(N,)` long. ValueError for boxes that are none."""
        check_boxes(boxes)
        boxes = boxes.detach().cpu().float()
        ids = torch.full((len(boxes),), -1)
        waiting = set(range(len(self._ids)))
        for track, box in best_pairs(iou(self._boxes, boxes), self.iou):
            if track in waiting and ids[box] < 0:
                ids[box] = self._ids[track]
                waiting.remove(track)
        new = ids < 0
        ids[new] = torch.arange(self._people, self._people + int(new.sum()))
        self._people += int(new.sum())
        kept = [track for track in sorted(waiting) if self._missed[track] < self.patience]
        self._boxes = torch.cat([self._boxes[kept], boxes])
        self._missed = torch.cat([self._missed[kept] + 1, torch.zeros_like(ids)])
        self._ids = torch.cat([self._ids[kept], ids])
        return ids


def best_pairs(overlaps: Tensor, least: float) -> list[list[int]]:
    """The places (row, column) in `overlaps` of at least `least`, the largest first."""
    places = (overlaps >= least).nonzero()
    return places[overlaps[tuple(places.T)].argsort(descending=True, stable=True)].tolist()
