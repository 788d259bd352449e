"""The page of names: one row per network, in timm's words.

A row holds only what differs from the defaults of its dataclass. T x tau in a name counts the frames of the Slow
pathway and the ticks of the 30 fps clock between them (paper, Table 1); a `fast_*` row counts its own.
Multiply-adds and parameters of every row are computed from the built networks in tests/models/test_tables.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from slowfast_hub.models import VideoModel, build
from slowfast_hub.spec import (
    C2D_KERNELS,
    FAST_KERNELS,
    I3D_KERNELS,
    Arch,
    ClipSpec,
    ResNet3DArch,
    SlowFastArch,
    WeightsInfo,
)
from slowfast_hub.zoo.fetch import weights_path
from slowfast_hub.zoo.load import load_weights, num_classes_in
from slowfast_hub.zoo.manifest import WEIGHTS, arch_changes, find_weights

NAME = re.compile(r"(slowfast|slow|fast|i3d|c2d)(_nl)?_r\d+_\d+x\d+(_t50)?(_w\d+)?")

R50_TEMPORAL = (3, 4, 6, 3)  # "50_50" of PySlowFast: as many blocks with temporal kernels as R50 has
NL_R50 = ((), (1, 3), (1, 3, 5), ())  # PySlowFast, NLN configs of R50
NL_R101 = ((), (), (6, 13, 20), ())  # PySlowFast, NLN_16x8_R101_50_50

FRAMES_32x2 = ClipSpec(frames=32, stride=2)
FRAMES_64x2 = ClipSpec(frames=64, stride=2)
FRAMES_4x16 = ClipSpec(frames=4, stride=16)
FRAMES_8x8 = ClipSpec(frames=8, stride=8)
FRAMES_16x8 = ClipSpec(frames=16, stride=8)
# The small network sees whole pictures: its input is padded to a square, never cut or squeezed.
FRAMES_SMALL = ClipSpec(frames=32, stride=2, short_side=64, crop=64, fit="contain", antialias=True)

ARCHS: dict[str, Arch] = {
    "slowfast_r50_4x16": SlowFastArch(FRAMES_32x2),
    "slowfast_r50_8x8": SlowFastArch(FRAMES_32x2, alpha=4, fuse_kernel=7),
    "slowfast_r101_8x8_t50": SlowFastArch(FRAMES_32x2, alpha=4, depth=101, temporal_blocks=R50_TEMPORAL),
    "slowfast_r101_8x8": SlowFastArch(FRAMES_32x2, alpha=4, depth=101),
    "slowfast_r101_16x8": SlowFastArch(FRAMES_64x2, alpha=4, depth=101, temporal_blocks=R50_TEMPORAL),
    "slowfast_nl_r101_16x8": SlowFastArch(
        FRAMES_64x2,
        alpha=4,
        depth=101,
        temporal_blocks=R50_TEMPORAL,
        nonlocal_at=NL_R101,
        nonlocal_pool=(2, 2, 2),  # gives the paper's 234 G; the 1x2x2 of the published config gives 242 G
    ),
    "slowfast_nl_r50_4x16": SlowFastArch(FRAMES_32x2, nonlocal_at=NL_R50),
    "slowfast_nl_r50_8x8": SlowFastArch(FRAMES_32x2, alpha=4, nonlocal_at=NL_R50),
    "slow_r50_4x16": ResNet3DArch(FRAMES_4x16),
    "slow_r50_8x8": ResNet3DArch(FRAMES_8x8),
    "slow_r101_16x8": ResNet3DArch(FRAMES_16x8, depth=101, temporal_blocks=R50_TEMPORAL),
    "slow_nl_r50_8x8": ResNet3DArch(FRAMES_8x8, nonlocal_at=NL_R50),
    "fast_r50_32x2": ResNet3DArch(FRAMES_32x2, width=8, temporal_kernels=FAST_KERNELS),
    "i3d_r50_8x8": ResNet3DArch(FRAMES_8x8, temporal_kernels=I3D_KERNELS, temporal_pool=2),
    "i3d_nl_r50_8x8": ResNet3DArch(
        FRAMES_8x8, temporal_kernels=I3D_KERNELS, temporal_pool=2, nonlocal_at=NL_R50, nonlocal_kind="softmax"
    ),
    "c2d_r50_8x8": ResNet3DArch(FRAMES_8x8, temporal_kernels=C2D_KERNELS, temporal_pool=2),
    # The embedded network: a quarter of the width, and a Fast pathway that sees motion only.
    "slowfast_r14_4x16_w16": SlowFastArch(
        FRAMES_SMALL, num_classes=16, beta_inv=4, depth=14, width=16, fast_input="diff"
    ),
}

DEFAULT_MODEL = "slowfast_r14_4x16_w16"
DEFAULT_NOTE = (
    f"the embedded network {DEFAULT_MODEL} answers: it knows 16 actions; "
    "for the 400 Kinetics classes, once their weights are recorded: "
    "slowfast-hub classify --model slowfast_r50_8x8 VIDEO"
)


def create_model(
    name: str,
    *,
    pretrained: bool = False,
    num_classes: int | None = None,
    checkpoint_path: str | Path | None = None,
    **changes: Any,
) -> VideoModel:
    """A network by name, in eval mode.

    name: a row of the registry, `"slowfast_r50_4x16"`, or a row and the tag of a file of weights, `"row.tag"`.
    pretrained: load that file; without a tag, the row's default one.
    num_classes: another number than the file's makes a new classifier and nothing else; 0 gives pooled features.
    checkpoint_path: a safetensors file to load instead, by the same rule for num_classes.
    changes: overrides of the row's fields (lateral="ttoc_sum", beta_inv=16, ...).

    Errors: ValueError for unknown names and impossible combinations, TypeError for unknown fields,
    LookupError when there are no weights, LoadError when a file does not fit.
    """
    row, _, tag = name.partition(".")
    arch = find_arch(row)
    weights = None
    if tag or pretrained:
        weights = weights_info(name)
        arch = override(row, arch, arch_changes(weights))
    if pretrained and checkpoint_path is not None:
        raise ValueError("pretrained=True and checkpoint_path name two sources of weights; pass one of them")
    file_classes = arch.num_classes
    arch = override(row, arch, changes)
    if num_classes is not None:
        arch = replace(arch, num_classes=num_classes)
    model = build(arch)
    if pretrained and weights is not None:
        load_weights(model, weights_path(weights), new_head=arch.num_classes != file_classes)
    elif checkpoint_path is not None:
        new_head = num_classes is not None and num_classes_in(checkpoint_path) != num_classes
        load_weights(model, checkpoint_path, new_head=new_head)
    return model.eval()


def weights_info(name: str) -> WeightsInfo:
    """The record of one file of weights, by `row.tag`, or by row: its default file.

    ValueError for an unknown row, LookupError when there is no such file.
    """
    find_arch(name.partition(".")[0])  # a misspelt row is told the near match, not that it has no weights
    return find_weights(name)


def find_arch(name: str) -> Arch:
    """The row called `name`; a ValueError names the near match."""
    if name in ARCHS:
        return ARCHS[name]
    near = get_close_matches(name, ARCHS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown model {name!r}; {hint}list_models() shows all {len(ARCHS)}")


def override(name: str, arch: Arch, changes: dict[str, Any]) -> Arch:
    """The row with some fields changed, checked by its dataclass."""
    known = [f.name for f in fields(arch)]
    for change in changes:
        if change not in known:
            near = get_close_matches(change, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise TypeError(f"{name} has no field {change!r}; {hint}its fields are {', '.join(known)}")
    # A row's own values for a part that the changes take away go with it.
    gone: dict[str, Any] = {}
    if changes.get("lateral", "tconv") != "tconv":
        gone |= {"fuse_kernel": SlowFastArch.fuse_kernel, "lateral_norm": SlowFastArch.lateral_norm}
    if "nonlocal_at" in changes and not any(changes["nonlocal_at"]):
        gone |= {"nonlocal_kind": Arch.nonlocal_kind, "nonlocal_pool": Arch.nonlocal_pool}
    return replace(arch, **{**gone, **changes})


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """Names that match the wildcard `pattern`; with `pretrained`, the `row.tag` names of files of weights."""
    names = WEIGHTS() if pretrained else ARCHS
    return sorted((name for name in names if fnmatchcase(name, pattern)), key=natural)


def natural(name: str) -> list[int | str]:
    """A sort key that puts r50 before r101."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def register_model(name: str, arch: Arch) -> None:
    """Add a row; `create_model(name)` builds it from then on. A taken name is a ValueError."""
    if name in ARCHS:
        raise ValueError(f"the name {name!r} is taken; choose another")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"a model name is lower-case letters, digits and underscores; got {name!r}")
    if not isinstance(arch, SlowFastArch | ResNet3DArch):
        raise TypeError(f"register_model takes a SlowFastArch or a ResNet3DArch; got {type(arch).__name__}")
    ARCHS[name] = arch


def register_timm() -> None:
    """Make every name of this registry known to `timm.create_model`. Call it once; a second call changes nothing.

    timm's `pretrained`, `num_classes` and `drop_rate` work as there; other keywords are overrides of the row. A
    `checkpoint_path` is loaded by timm itself, after the network is built, so there the file must fit whole.
    Names that timm already has stay timm's: a ValueError says so.
    """
    from timm.models import _registry, is_model

    for name in list_models():
        if not is_model(name):
            entry = timm_entry(name)
            _registry._model_entrypoints[name] = entry
            _registry._model_to_module[name] = "slowfast_hub"
            _registry._module_to_models["slowfast_hub"].add(name)
        elif not getattr(_registry._model_entrypoints[name], "slowfast_hub", False):
            raise ValueError(f"timm already has a model {name!r}; it stays timm's")


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
        tag = getattr(pretrained_cfg, "tag", None)
        if isinstance(pretrained_cfg, str):
            tag = pretrained_cfg
        full = f"{name}.{tag}" if tag else name
        return create_model(full, pretrained=pretrained, num_classes=num_classes, **changes)

    entry.__name__ = name
    entry.__doc__ = f"slowfast_hub's {name}: clips (B, 3, T, H, W) to logits."
    entry.slowfast_hub = True  # type: ignore[attr-defined]
    return entry
