"""The page of names: one row per network, in timm's words.

A row holds only what differs from the defaults of its dataclass. T x tau in a name counts the frames of the Slow
pathway and the ticks of the 30 fps clock between them (paper, Table 1); a `fast_*` row counts its own.
Multiply-adds and parameters of every row are computed from the built networks in tests/models/test_tables.py.
"""

from __future__ import annotations

import re
from dataclasses import fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from slowfast_hub.spec import (
    C2D_KERNELS,
    FAST_KERNELS,
    I3D_KERNELS,
    NONLOCAL_DETAILS,
    Arch,
    ClipSpec,
    ResNet3DArch,
    RoISpec,
    SlowFastArch,
    WeightsInfo,
)
from slowfast_hub.zoo.manifest import WEIGHTS, find_weights

R50_TEMPORAL = (3, 4, 6, 3)  # "50_50" of PySlowFast: as many blocks with temporal kernels as R50 has
NL_R50 = ((), (1, 3), (1, 3, 5), ())  # PySlowFast, NLN configs of R50
NL_R101 = ((), (), (6, 13, 20), ())  # PySlowFast, NLN_16x8_R101_50_50
NL_R101_FIVE = ((), (1, 3), (6, 13, 20), ())  # GluonCV, i3d_nl5_resnet101
# Pooling 2x2x2 gives the paper's 234 G; the 1x2x2 of PySlowFast's Kinetics config gives 242 G.
NL_PAPER: dict[str, Any] = {"nonlocal_at": NL_R101, "nonlocal_pool": (2, 2, 2)}

FRAMES_32x2 = ClipSpec(frames=32, stride=2)
FRAMES_64x2 = ClipSpec(frames=64, stride=2)
FRAMES_4x16 = ClipSpec(frames=4, stride=16)
FRAMES_8x8 = ClipSpec(frames=8, stride=8)
FRAMES_16x2 = ClipSpec(frames=16, stride=2)
FRAMES_16x4 = ClipSpec(frames=16, stride=4)
FRAMES_16x8 = ClipSpec(frames=16, stride=8)
# The small network sees whole pictures: its input is padded to a square, never cut or squeezed.
FRAMES_SMALL = ClipSpec(frames=32, stride=2, short_side=64, crop=64, fit="contain", antialias=True)


def slowfast(clip: ClipSpec, **fields: Any) -> SlowFastArch:
    return SlowFastArch(clip, **fields)


def slow(clip: ClipSpec, **fields: Any) -> ResNet3DArch:
    return ResNet3DArch(clip, **fields)


def i3d(clip: ClipSpec, **fields: Any) -> ResNet3DArch:
    """Half of the blocks with a temporal kernel, time halved after res2 (and in the stem, in the 32 x 2 forms)."""
    return ResNet3DArch(clip, temporal_kernels=I3D_KERNELS, temporal_pool=2, **fields)


def c2d(clip: ClipSpec) -> ResNet3DArch:
    """No temporal kernel at all, time halved after res2."""
    return ResNet3DArch(clip, temporal_kernels=C2D_KERNELS, temporal_pool=2)


# Detectors (paper, section 5): 80 classes of AVA, of which a person may do several.
AVA: dict[str, Any] = {"num_classes": 80, "activation": "sigmoid", "roi": RoISpec()}

ARCHS: dict[str, Arch] = {
    "slowfast_r50_4x16": slowfast(FRAMES_32x2),
    "slowfast_r50_8x8": slowfast(FRAMES_32x2, alpha=4, fuse_kernel=7),
    "slowfast_r50_16x8": slowfast(FRAMES_64x2, alpha=4, fuse_kernel=7),
    "slowfast_r101_8x8_t50": slowfast(FRAMES_32x2, alpha=4, depth=101, temporal_blocks=R50_TEMPORAL),
    "slowfast_r101_8x8": slowfast(FRAMES_32x2, alpha=4, depth=101),
    "slowfast_r101_16x8": slowfast(FRAMES_64x2, alpha=4, depth=101, temporal_blocks=R50_TEMPORAL),
    # MMAction2: the Fast pathway stays an R50
    "slowfast_r101r50_4x16": slowfast(FRAMES_32x2, depth=101, fast_depth=50),
    "slowfast_r152r50_4x16": slowfast(FRAMES_32x2, depth=152, fast_depth=50),
    "slowfast_nl_r50_4x16": slowfast(FRAMES_32x2, nonlocal_at=NL_R50),
    "slowfast_nl_r50_8x8": slowfast(FRAMES_32x2, alpha=4, nonlocal_at=NL_R50),
    "slowfast_nl_r101_8x8_t50": slowfast(FRAMES_32x2, alpha=4, depth=101, temporal_blocks=R50_TEMPORAL, **NL_PAPER),
    "slowfast_nl_r101_16x8": slowfast(FRAMES_64x2, alpha=4, depth=101, temporal_blocks=R50_TEMPORAL, **NL_PAPER),
    "slow_r50_4x16": slow(FRAMES_4x16),
    "slow_r50_8x8": slow(FRAMES_8x8),
    "slow_r50_16x4": slow(FRAMES_16x4),
    "slow_r50_32x2": slow(FRAMES_32x2),
    "slow_r101_8x8": slow(FRAMES_8x8, depth=101),
    "slow_r101_16x4": slow(FRAMES_16x4, depth=101),
    "slow_r101_32x2": slow(FRAMES_32x2, depth=101),
    "slow_r101_16x8": slow(FRAMES_16x8, depth=101, temporal_blocks=R50_TEMPORAL),
    "slow_nl_r50_4x16": slow(FRAMES_4x16, nonlocal_at=NL_R50),
    "slow_nl_r50_8x8": slow(FRAMES_8x8, nonlocal_at=NL_R50),
    "fast_r50_32x2": ResNet3DArch(FRAMES_32x2, width=8, temporal_kernels=FAST_KERNELS),
    "i3d_r50_8x8": i3d(FRAMES_8x8),
    "i3d_r50_16x2": i3d(FRAMES_16x2, stem_strides=(2, 2)),
    "i3d_r50_32x2": i3d(FRAMES_32x2, stem_strides=(2, 2)),
    "i3d_r101_32x2": i3d(FRAMES_32x2, stem_strides=(2, 2), depth=101),
    "i3d_nl_r50_8x8": i3d(FRAMES_8x8, nonlocal_at=NL_R50, nonlocal_kind="softmax"),
    "i3d_nl_r50_32x2": i3d(FRAMES_32x2, stem_strides=(2, 2), nonlocal_at=NL_R50, nonlocal_kind="softmax"),
    "i3d_nl_r101_32x2": i3d(
        FRAMES_32x2, stem_strides=(2, 2), depth=101, nonlocal_at=NL_R101_FIVE, nonlocal_kind="softmax"
    ),
    "c2d_r50_8x8": c2d(FRAMES_8x8),
    "c2d_r50_16x4": c2d(FRAMES_16x4),
    "slowfast_det_r50_4x16": slowfast(FRAMES_32x2, **AVA),
    "slowfast_det_r50_8x8": slowfast(FRAMES_32x2, alpha=4, fuse_kernel=7, **AVA),
    "slowfast_det_r101_8x8_t50": slowfast(FRAMES_32x2, alpha=4, depth=101, temporal_blocks=R50_TEMPORAL, **AVA),
    "slowfast_det_r101_16x8": slowfast(FRAMES_64x2, alpha=4, depth=101, temporal_blocks=R50_TEMPORAL, **AVA),
    "slowfast_nl_det_r101_8x8_t50": slowfast(
        FRAMES_32x2, alpha=4, depth=101, temporal_blocks=R50_TEMPORAL, **NL_PAPER, **AVA
    ),
    "slowfast_nl_det_r101_16x8": slowfast(
        FRAMES_64x2, alpha=4, depth=101, temporal_blocks=R50_TEMPORAL, **NL_PAPER, **AVA
    ),
    "slow_det_r50_4x16": slow(FRAMES_4x16, **AVA),
    "slow_det_r50_8x8": slow(FRAMES_8x8, **AVA),
    "slow_det_r101_8x8": slow(FRAMES_8x8, depth=101, **AVA),
    "slow_nl_det_r50_4x16": slow(FRAMES_4x16, nonlocal_at=NL_R50, **AVA),
    "slow_nl_det_r50_8x8": slow(FRAMES_8x8, nonlocal_at=NL_R50, **AVA),
    # The embedded network: a quarter of the width, and a Fast pathway that sees motion only.
    "slowfast_r14_4x16_w16": slowfast(FRAMES_SMALL, num_classes=16, beta_inv=4, depth=14, width=16, fast_input="diff"),
}

DEFAULT_MODEL = "slowfast_r14_4x16_w16"
DEFAULT_NOTE = (
    f"the embedded network {DEFAULT_MODEL} answers: it knows 16 actions; "
    "for the 400 classes of Kinetics: slowfast-hub classify --model slowfast_r50_8x8 VIDEO"
)


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
    if name and Path(name).is_dir():
        hint = f"a folder is 'local-dir:{name}'; "
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
        gone |= {name: getattr(Arch, name) for name in NONLOCAL_DETAILS}
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
