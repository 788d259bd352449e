"""How a network is trained, as one frozen dataclass; a recipe file is the same in TOML."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from slowfast_hub.spec import at_least


@dataclass(frozen=True)
class Recipe:
    """Everything a run depends on but the data. Rates are for the batch size beside them."""

    model: str
    changes: dict[str, Any] = field(default_factory=dict)  # overrides of the model's row
    init: str | None = None  # safetensors to start from; a classifier of another size is made anew
    epochs: float = 196
    batch_size: int = 64
    optimizer: str = "sgd"  # a name timm's optimiser factory knows
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4  # not on biases and batch norm, as PySlowFast
    warmup_epochs: float = 34  # straight line from lr / 10
    label_smoothing: float = 0.0
    clip_grad: float | None = None  # largest norm of the gradient
    ema_decay: float = 0.0  # running mean of the weights that is saved instead of the last ones; 0: off
    jitter: tuple[int, int] = (256, 320)  # px, see TrainTransform
    aspect: float = 0.0
    flip: float = 0.5
    light: float = 0.0
    speed: float = 0.0  # largest relative change of the clip's clock
    seed: int = 0
    workers: int = 0  # processes that make clips; 0: in the training process

    def __post_init__(self) -> None:
        at_least("epochs", self.epochs, 0)
        at_least("batch_size", self.batch_size, 1)
        at_least("lr", self.lr, 0)
        at_least("warmup_epochs", self.warmup_epochs, 0)
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs} is longer than the run of {self.epochs} epochs")
        if not 1 <= self.jitter[0] <= self.jitter[1]:
            raise ValueError(f"jitter is (smallest, largest) in px; got {self.jitter}")
        for name in ("flip", "label_smoothing", "ema_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1; got {getattr(self, name)!r}")
        for name in ("aspect", "light", "speed"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1); got {getattr(self, name)!r}")


def read_recipe(path: str | Path, **overrides: object) -> Recipe:
    """A recipe from a TOML file whose keys are the fields; `overrides` win. Unknown keys are a TypeError."""
    with Path(path).open("rb") as file:
        values = {**tomllib.load(file), **overrides}
    known = [f.name for f in fields(Recipe)]
    for name in values:
        if name not in known:
            raise TypeError(f"{path}: a recipe has no field {name!r}; its fields are {', '.join(known)}")
    if "jitter" in values:
        values["jitter"] = tuple(values["jitter"])
    return Recipe(**values)
