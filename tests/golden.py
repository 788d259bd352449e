"""The golden records of the original projects: their weights and clips, made again from seeds (golden/README.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Golden:
    """One record: a network of another project, its weights in its own names, and what its own code answered."""

    record: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def project(self) -> str:
        return self.record["project"]

    @property
    def logits(self) -> Tensor:
        return torch.from_numpy(self.arrays["out.logits"])

    @property
    def native(self) -> Tensor:
        return torch.from_numpy(self.arrays["out.native"])

    @property
    def rois(self) -> Tensor | None:
        boxes = self.arrays.get("boxes")
        return None if boxes is None else torch.from_numpy(boxes).float()

    def weights(self) -> dict[str, Tensor]:
        made = {}
        for entry in self.record["keys"]:
            name, shape = entry["name"], entry["shape"]
            if "seed" in entry:
                drawn = np.random.RandomState(entry["seed"]).standard_normal(int(np.prod(shape)))
                made[name] = torch.from_numpy(drawn.astype(np.float32).reshape(shape) * np.float32(entry["std"]))
            else:
                made[name] = torch.from_numpy(np.asarray(self.arrays[f"w/{name}"]))
        return made

    def clip(self) -> Tensor:
        """Noise, half of it smooth: (1, 3, T, S, S)."""
        frames = max(shape[2] for shape in self.record["input"].values())
        return made_clip(frames, self.record["crop"])


def made_clip(frames: int, size: int, channels: int = 3) -> Tensor:
    random = np.random.RandomState(20190)
    sharp = torch.from_numpy(random.random_sample((1, channels, frames, size, size)).astype(np.float32))
    coarse = (1, channels, max(frames // 4, 1), max(size // 8, 1), max(size // 8, 1))
    smooth = torch.from_numpy(random.random_sample(coarse).astype(np.float32))
    smooth = functional.interpolate(smooth, (frames, size, size), mode="trilinear", align_corners=False)
    return ((0.5 * sharp + 0.5 * smooth) - 0.45) / 0.225


def read_golden(folder: Path, name: str) -> Golden:
    with np.load(folder / f"{name}.npz") as arrays:
        return Golden(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")), dict(arrays))
