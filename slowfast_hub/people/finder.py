"""Finding people in a picture, with the object detectors of torchvision and their COCO weights."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from difflib import get_close_matches
from pickle import UnpicklingError
from urllib.error import URLError

import torch
from torch import Tensor, nn

from slowfast_hub.people.boxes import PERSON_SCORE, problems_of

DEFAULT_FINDER = "fasterrcnn_resnet50_fpn"
PERSON = 1  # the class of COCO, as torchvision counts: 0 is the background


class PersonDetector:
    """Keeps one object detector for many pictures: `PersonDetector()(picture) -> boxes (N, 5)`.

    name: what torchvision calls one (`fasterrcnn_*`, `retinanet_*`, `fcos_*`, `ssd*`, `keypointrcnn_*`,
        `maskrcnn_*`), whose weights it keeps in its own cache; or a network of your own that speaks as theirs do:
        a list of pictures (3, H, W) float 0..1 to a list of {"boxes", "labels", "scores"}, where people have label 1.
    score: the least of a person: 0.8 in the paper (section 5).
    device: None takes CUDA where there is one.
    Errors: ValueError for a name that torchvision does not have, and for a file of its cache that holds no weights;
    ConnectionError for weights that cannot be fetched, with what to do.
    """

    def __init__(
        self,
        name: str | nn.Module = DEFAULT_FINDER,
        *,
        score: float = PERSON_SCORE,
        device: str | torch.device | None = None,
    ) -> None:
        if not 0 <= score <= 1:
            raise ValueError(f"score is the least of a person, from 0 to 1; got {score!r}")
        self.name = name if isinstance(name, str) else type(name).__name__
        self.score = score
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = (open_finder(name) if isinstance(name, str) else name).eval().to(self.device)

    @torch.inference_mode()
    def __call__(self, picture: Tensor) -> Tensor:
        """A picture (H, W, 3) uint8 RGB to people (N, 5) float32 on the CPU: x1, y1, x2, y2 in its pixels, score."""
        if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"a picture is uint8 (H, W, 3) RGB; got {picture.dtype} {tuple(picture.shape)}")
        (found,) = self.model([picture.to(self.device).permute(2, 0, 1).float() / 255])
        boxes, scores = found["boxes"].float(), found["scores"].float()
        is_person = (found["labels"] == PERSON) & (scores >= self.score)
        # Boxes of one-stage detectors may lose their sides at the border.
        is_none = torch.stack([*problems_of(boxes, "px").values()]).any(0)
        return torch.cat([boxes, scores.unsqueeze(1)], dim=1)[is_person & ~is_none].cpu()


def open_finder(name: str) -> nn.Module:
    """A detector of torchvision with its default weights."""
    from torchvision import models

    names = models.list_models(module=models.detection)
    if name not in names:
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(names)}"
        raise ValueError(f"torchvision has no detector {name!r}; {hint}")
    weights = models.get_model_weights(name).DEFAULT
    path = os.path.join(torch.hub.get_dir(), "checkpoints", os.path.basename(weights.url))
    try:
        # Builders unpickle what lies in the cache without a look; here it is fetched, and opened as mere tensors first.
        with redirect_stdout(sys.stderr):  # where torch says that it downloads
            weights.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True)
        return models.get_model(name, weights=weights)
    except URLError as error:
        raise ConnectionError(
            f"the weights of {name} cannot be fetched ({error.reason}); get {weights.url} where there is a "
            f"connection, and put it here as {path}"
        ) from error
    except (UnpicklingError, EOFError, RuntimeError) as error:  # RuntimeError: of a file cut short, or another's
        why = " ".join(str(error).split())[:160]
        raise ValueError(f"{path} does not hold the weights of {name}, delete it to fetch it anew: {why}") from error
