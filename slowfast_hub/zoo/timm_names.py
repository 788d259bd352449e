"""The names of the registry, offered to timm."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from slowfast_hub.models import VideoModel
from slowfast_hub.spec import WeightsInfo
from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.manifest import WEIGHTS, labels_of
from slowfast_hub.zoo.registry import list_models

# timm finds the tags of a name in `default_cfgs` of the module that its entry belongs to; ours is made when asked for.
MODULE = "slowfast_hub.zoo.timm_entries"


def register_timm() -> None:
    """Make every name of this registry, and every tag, known to timm. Call it once; a second call changes nothing.

    `timm.create_model("slowfast_r50_8x8.fair_k400", pretrained=True, num_classes=5)` then works, and
    `timm.list_models("slowfast*", pretrained=True)` lists the tags. timm's `pretrained`, `num_classes` and `drop_rate`
    work as there; other keywords are overrides of the row. A `checkpoint_path` is loaded by timm itself, after the
    network is built, so there the file must fit whole. Names that timm already has stay timm's: a ValueError says so.
    """
    from timm.models import generate_default_cfgs, is_model, model_entrypoint, register_model

    module = sys.modules.setdefault(MODULE, ModuleType(MODULE, "Entries for timm, one for each network."))
    configs = generate_default_cfgs({info.name: timm_config(info) for info in WEIGHTS().values()})
    module.default_cfgs = configs  # type: ignore[attr-defined]
    for name in list_models():
        if not is_model(name):
            register_model(timm_entry(name))
        elif model_entrypoint(name).__module__ != MODULE:
            raise ValueError(f"timm already has a model {name!r}; it stays timm's")


def timm_config(info: WeightsInfo) -> dict[str, Any]:
    """What timm's PretrainedCfg can say of a file of weights; its input sizes have no time."""
    return {
        "url": info.origin.url or "",
        "file": None if info.origin.url else info.hosted.file,
        "num_classes": info.num_classes,
        "input_size": (len(info.clip.mean), info.clip.crop, info.clip.crop),
        "mean": info.clip.mean,
        "std": info.clip.std,
        "interpolation": "bilinear",
        "label_names": labels_of(info),
        "classifier": "head.fc",
        "license": info.origin.license,
        "custom_load": True,
    }


def timm_entry(name: str) -> Callable[..., VideoModel]:
    """What timm calls for `name`; the keywords that timm's factory always passes are taken off here."""

    def entry(
        pretrained: bool = False,
        pretrained_cfg: object = None,
        pretrained_cfg_overlay: object = None,
        cache_dir: object = None,
        num_classes: int | None = None,
        drop_rate: float | None = None,
        **changes: Any,
    ) -> VideoModel:
        if drop_rate is not None:
            changes["dropout"] = drop_rate  # timm's word for it
        refused = {"pretrained_cfg_overlay": pretrained_cfg_overlay, "cache_dir": cache_dir}
        for option, value in refused.items():
            if value is not None:
                raise TypeError(f"{name} does not take timm's {option}; use slowfast_hub.create_model")
        if isinstance(pretrained_cfg, dict):
            raise TypeError(f"{name} takes a tag as pretrained_cfg, such as 'fair_k400', and no dict")
        tag = pretrained_cfg if isinstance(pretrained_cfg, str) else getattr(pretrained_cfg, "tag", None)
        full = f"{name}.{tag}" if tag else name
        return create_model(full, pretrained=pretrained, num_classes=num_classes, **changes)

    entry.__name__ = entry.__qualname__ = name
    entry.__module__ = MODULE
    entry.__doc__ = f"slowfast_hub's {name}: clips (B, 3, T, H, W) to logits."
    return entry
