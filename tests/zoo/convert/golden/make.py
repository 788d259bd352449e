"""Make the golden records of this folder with the original projects' code (see README.md for the format).

Needs, importable: torch, torchvision, mmaction2 1.2.0, mmengine, mmcv (mmcv-lite is enough), gluoncv 0.10.5.post0,
yacs, pytorchvideo 0.1.5, fvcore, iopath, parameterized. Nothing of this repository is imported.

    python make.py                          # every record, into the folder of this script
    python make.py mm_c2d_r50_8x8 ...       # only these
    python make.py --list

The ``__init__`` files of MMAction2 and GluonCV are not run: the one wants mmdet and an older mmcv, the other mxnet or
torch < 2.0. Their module files are imported as they are, from packages that are only a path (`bare_package`), and the
few names that come from the skipped files are replaced (`prepare_mmaction`).
"""
# ruff: noqa: T201

import argparse
import gzip
import importlib.metadata
import importlib.util
import json
import sys
import types
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

BOXES = [  # (batch index, x1, y1, x2, y2) in input pixels, for 96 x 96 clips
    [0.0, 0.40929794, 2.5876637, 12.409298, 27.440878],
    [0.0, 5.771164, 71.39514, 45.27498, 83.39514],
    [0.0, 57.064438, 43.299007, 85.23424, 76.7511],
]
# Scale rules (README.md, "Weights"): they keep the residual sum from growing block by block, and the attention of the
# non-local blocks between even and one-hot.
MM_SCALE = (("conv3.bn.weight", 0.25), ("downsample.bn.weight", 0.5))
MM_NON_LOCAL = (("backbone.conv1.bn.weight", 0.5), ("conv_out.bn.weight", 0.3))
GLUON_SCALE = (("bn3.weight", 0.25), ("downsample.1.weight", 0.5))
GLUON_NON_LOCAL = (("first_stage.1.weight", 0.5), ("nonlocal_block.bn.weight", 0.3), ("theta.", 1.5), ("phi.", 1.5))
PTV_SCALE = (("norm_c.weight", 0.25), ("branch1_norm.weight", 0.5))


class Case(NamedTuple):
    """One record to make: `config` is the project's own name, `build(config)` gives the original module."""

    project: str
    config: str
    what: str
    build: Any
    frames: int
    scale: tuple[tuple[str, float], ...]
    size: int = 96
    slow_frames: int | None = None  # PyTorchVideo's SlowFast: linspace frames of the Slow pathway
    channels: int = 3
    boxes: bool = False


# ------------------------------------------------------------------------------------------------------------- packages


def bare_package(name: str) -> None:
    """Register `name` as a package that is only a path: its submodules can be imported, its ``__init__`` is not run."""
    if "." in name:
        parent, _, tail = name.rpartition(".")
        paths = [str(Path(path) / tail) for path in sys.modules[parent].__path__]
    else:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError(f"{name} is not installed")
        paths = list(spec.submodule_search_locations)
    module = types.ModuleType(name)
    module.__path__ = paths
    sys.modules[name] = module


def stub(name: str, **members: Any) -> None:
    """Register a module `name` that has only `members`."""
    module = types.ModuleType(name)
    module.__path__ = []
    vars(module).update(members)
    sys.modules[name] = module


def prepare_mmaction() -> None:
    """Make MMAction2's module files importable."""
    if "mmaction" in sys.modules:
        return
    bare_package("mmaction")
    for name in ("models", "models.backbones", "models.heads", "models.losses", "models.roi_heads"):
        bare_package(f"mmaction.{name}")
    for name in ("bbox_heads", "roi_extractors"):
        bare_package(f"mmaction.models.roi_heads.{name}")
    types_only = dict.fromkeys(("ConfigType", "ForwardResults", "SampleList", "InstanceList"), Any)
    stub("mmaction.utils", get_str_type=lambda x: x if isinstance(x, str) else x.__name__, **types_only)
    stub("mmaction.evaluation", top_k_accuracy=None)  # training only
    stub("mmaction.structures")
    stub("mmaction.structures.bbox", bbox_target=None)  # training only
    for name in ("mmdet", "mmdet.models", "mmdet.models.task_modules"):
        stub(name)
    stub("mmdet.models.task_modules.samplers", SamplingResult=Any)
    import mmcv  # noqa: F401

    stub("mmcv.ops", RoIAlign=RoIAlign, RoIPool=None)
    importlib.import_module("mmaction.models.losses.cross_entropy_loss")


class RoIAlign(nn.Module):
    """torchvision's RoIAlign in place of mmcv's compiled operator of the same definition."""

    def __init__(
        self, output_size: int, spatial_scale: float, sampling_ratio: int, pool_mode: str, aligned: bool
    ) -> None:
        super().__init__()
        assert pool_mode == "avg"
        self.arguments = (output_size, spatial_scale, sampling_ratio, aligned)

    def forward(self, features: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        from torchvision.ops import roi_align

        return roi_align(features, rois, *self.arguments)


def prepare_gluoncv() -> None:
    """Make GluonCV's torch module files importable."""
    if "gluoncv" in sys.modules:
        return
    for name in ("", ".torch", ".torch.utils", ".torch.model_zoo", ".torch.model_zoo.action_recognition"):
        bare_package("gluoncv" + name)
    for name in (".torch.engine", ".torch.engine.config"):
        bare_package("gluoncv" + name)


# ------------------------------------------------------------------------------------------------------------- networks


class MMRecognizer(nn.Module):
    """The trained part of MMAction2's Recognizer3D."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.backbone = build_registered(config.backbone)
        self.cls_head = build_registered(config.cls_head)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.cls_head(self.backbone(clip))


class MMDetector(nn.Module):
    """The trained part of MMAction2's AVA detector (mmdet's FastRCNN with AVARoIHead)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        from mmaction.models.roi_heads.bbox_heads.bbox_head import BBoxHeadAVA
        from mmaction.models.roi_heads.roi_extractors.single_straight3d import SingleRoIExtractor3D

        self.backbone = build_registered(config.backbone)
        self.roi_head = nn.Module()
        extractor, head = dict(config.roi_head.bbox_roi_extractor), dict(config.roi_head.bbox_head)
        assert extractor.pop("type") == "SingleRoIExtractor3D"
        assert head.pop("type") == "BBoxHeadAVA"
        self.roi_head.bbox_roi_extractor = SingleRoIExtractor3D(**extractor)
        self.roi_head.bbox_head = BBoxHeadAVA(**head)

    def forward(self, clip: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        features, _ = self.roi_head.bbox_roi_extractor(self.backbone(clip), boxes)  # as AVARoIHead._bbox_forward
        return self.roi_head.bbox_head(features)


def build_registered(config: Any) -> nn.Module:
    """A backbone or head of MMAction2 from its config."""
    homes = {
        "ResNet3d": "backbones.resnet3d",
        "ResNet3dSlowOnly": "backbones.resnet3d_slowonly",
        "ResNet3dSlowFast": "backbones.resnet3d_slowfast",
        "C2D": "backbones.c2d",
        "I3DHead": "heads.i3d_head",
        "SlowFastHead": "heads.slowfast_head",
    }
    config = config.to_dict()
    name = config.pop("type").removeprefix("mmaction.")
    return getattr(importlib.import_module(f"mmaction.models.{homes[name]}"), name)(**config)


def build_mm(config: str) -> nn.Module:
    """A recognizer or detector from a config file of the wheel."""
    prepare_mmaction()
    from mmengine.config import Config

    file = Path(sys.modules["mmaction"].__path__[0]) / ".mim" / "configs" / config
    model = Config.fromfile(file).model
    return MMDetector(model) if "roi_head" in model else MMRecognizer(model)


def build_gluon(config: str) -> nn.Module:
    """A network of GluonCV's torch model zoo, with the default config, without downloads."""
    prepare_gluoncv()
    from gluoncv.torch.engine.config.action_recognition import _C
    from gluoncv.torch.model_zoo.action_recognition import i3d_resnet, i3d_slow, slowfast

    i3d_resnet.I3D_ResNetV1.inflate_weights = lambda self: None  # it would download ImageNet weights
    cfg = _C.clone()
    cfg.CONFIG.MODEL.PRETRAINED_BASE = "slow" not in config  # i3d_slow and slowfast: nothing to inflate
    module = i3d_slow if "i3d_slow" in config else slowfast if "slowfast" in config else i3d_resnet
    return getattr(module, config)(cfg)


def build_ptv(config: str) -> nn.Module:
    """A network of PyTorchVideo's hub builders; heads pool whole 3 x 3 maps, detectors answer logits."""
    from pytorchvideo.models import hub

    keywords: dict[str, Any] = {}
    if config == "c2d_r50":
        keywords["head_pool_kernel_size"] = (4, 3, 3)
    elif config == "slowfast_r101":
        keywords["head_pool_kernel_sizes"] = ((8, 3, 3), (32, 3, 3))
    model = getattr(hub, config)(pretrained=False, **keywords)
    if config == "slowfast_16x8_r101_50_50":  # this builder fixes 7 x 7 windows (224 px): same pooling for 96 px
        for pool, frames in zip(model.blocks[5].pool, (16, 64), strict=True):
            assert tuple(pool.kernel_size) == (frames, 7, 7)
            pool.kernel_size = (frames, 3, 3)
    if config.endswith("_detection"):
        assert isinstance(model.detection_head.activation, nn.Sigmoid)
        model.detection_head.activation = None
    return model


# -------------------------------------------------------------------------------------------------- weights, input, run


def fill_value(name: str, shape: tuple[int, ...], scale: tuple[tuple[str, float], ...]) -> np.ndarray:
    """The tensor called `name` (README.md, "Weights")."""
    if name.endswith("num_batches_tracked"):
        return np.array(1, dtype=np.int64)
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        value = 0.5 + random.random_sample(shape)
    elif name.endswith(("running_mean", "bias")):
        value = 0.1 * random.standard_normal(shape)
    else:
        assert name.endswith("weight"), name
        value = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    for part, factor in scale:
        if part in name:
            value = value * factor
    return value.astype(np.float32)


def fill(model: nn.Module, scale: tuple[tuple[str, float], ...]) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Fill `model` and return its keys with their shapes, and the second names of tensors with their first names."""
    first: dict[int, str] = {}
    keys, aliases = {}, {}
    for name, tensor in model.state_dict().items():
        keys[name] = list(tensor.shape)
        if tensor.data_ptr() in first:
            aliases[name] = first[tensor.data_ptr()]
            continue
        first[tensor.data_ptr()] = name
        tensor.copy_(torch.from_numpy(fill_value(name, tuple(tensor.shape), scale)))
    for part, _ in scale:
        assert any(part in name for name in keys), f"no key has {part!r}"
    return keys, aliases


def make_clip(frames: int, size: int, channels: int) -> torch.Tensor:
    """The clip (1, channels, frames, size, size) (README.md, "Input")."""
    random = np.random.RandomState(20190)
    fine = torch.from_numpy(random.random_sample((1, 3, frames, size, size)).astype(np.float32))
    grid = (max(frames // 4, 1), max(size // 8, 1), max(size // 8, 1))
    coarse = torch.from_numpy(random.random_sample((1, 3, *grid)).astype(np.float32))
    coarse = nn.functional.interpolate(coarse, size=(frames, size, size), mode="trilinear", align_corners=False)
    return (((0.5 * fine + 0.5 * coarse) - 0.45) / 0.225)[:, :channels]


def make_inputs(case: Case) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of the original network, and the record's account of them."""
    clip = make_clip(case.frames, case.size, case.channels)
    described: dict[str, Any] = {"frames": case.frames, "size": case.size, "channels": case.channels}
    inputs: list[Any] = [clip]
    if case.slow_frames is not None:
        index = torch.linspace(0, case.frames - 1, case.slow_frames).long()
        described["slow_index"] = index.tolist()
        inputs = [[clip[:, :, index], clip]]
    if case.boxes:
        described["boxes"] = BOXES
        inputs.append(torch.tensor(BOXES, dtype=torch.float32))
    return inputs, described


def to_double(value: Any) -> Any:
    """`value`, a tensor or a list of them, in float64."""
    return [to_double(item) for item in value] if isinstance(value, list) else value.double()


def run(model: nn.Module, inputs: list[Any]) -> torch.Tensor:
    """The network's logits; lists of inputs are copied, because PyTorchVideo changes them in place."""
    with torch.no_grad():
        return model(*[list(item) if isinstance(item, list) else item for item in inputs])


def make(name: str, case: Case, folder: Path) -> None:
    """Make one record, check it and write it."""
    torch.manual_seed(0)
    model = case.build(case.config).eval()
    keys, aliases = fill(model, case.scale)
    inputs, described = make_inputs(case)
    logits = run(model, inputs)
    exact = run(model.double(), [to_double(item) for item in inputs])
    model.float()
    error = (exact - logits).abs().max().item()
    spread = logits.std().item()
    assert torch.isfinite(logits).all(), name
    assert 0.1 < spread < 100, (name, spread)
    effects = []  # of each non-local block: without the gain of its norm
    for key in keys:
        if key in aliases or not key.endswith(("non_local_block.conv_out.bn.weight", "nonlocal_block.bn.weight")):
            continue
        tensor = model.state_dict()[key]
        kept = tensor.clone()
        tensor.zero_()
        effects.append((run(model, inputs) - logits).std().item() / spread)
        tensor.copy_(kept)
    assert all(effect > 0.01 for effect in effects), (name, effects)
    assert bool(effects) == ("_nl" in name), name
    package = {"mmaction2": "mmaction2", "gluoncv-torch": "gluoncv", "pytorchvideo": "pytorchvideo"}[case.project]
    rows = [[float(f"{value:.9g}") for value in row] for row in logits.tolist()]
    record = {
        "project": case.project,
        "version": importlib.metadata.version(package),
        "config": case.config,
        "what": case.what,
        "input": described,
        "scale": case.scale,
        "keys": keys,
        "aliases": aliases,
        "logits": rows if case.boxes else rows[0],
        "float64_difference": float(f"{error:.3g}"),
    }
    file = folder / f"{name}.json.gz"
    file.write_bytes(gzip.compress(json.dumps(record, separators=(",", ":")).encode(), 9, mtime=0))
    extra = " ".join(f"{effect:.3f}" for effect in effects)
    print(
        f"{name}: {len(keys)} keys, {len(aliases)} aliases, logits std {spread:.3g}, float64 difference {error:.2g}, "
        f"{file.stat().st_size} bytes{', non-local effects ' + extra if effects else ''}",
        flush=True,
    )


# ---------------------------------------------------------------------------------------------------------------- cases


def mm(config: str, what: str, frames: int, *scale: tuple[str, float], **keywords: Any) -> Case:
    """A case of MMAction2."""
    return Case("mmaction2", config, what, build_mm, frames, MM_SCALE + scale, **keywords)


def gluon(config: str, what: str, frames: int, *scale: tuple[str, float], **keywords: Any) -> Case:
    """A case of GluonCV."""
    return Case("gluoncv-torch", config, what, build_gluon, frames, GLUON_SCALE + scale, **keywords)


def ptv(config: str, what: str, frames: int, *scale: tuple[str, float], **keywords: Any) -> Case:
    """A case of PyTorchVideo."""
    return Case("pytorchvideo", config, what, build_ptv, frames, PTV_SCALE + scale, **keywords)


I3D = "recognition/i3d/i3d_imagenet-pretrained-r50{}_8xb8-32x2x1-100e_kinetics400-rgb.py"
SLOWONLY = "recognition/slowonly/slowonly_{}.py"
SLOWFAST = "recognition/slowfast/slowfast_{}_kinetics400-rgb.py"
CASES = {
    "mm_i3d_r50_32x2": mm(
        I3D.format(""), "I3D R50: temporal stride 2 in the stem conv, its pool and the pool after res2.", 32
    ),
    "mm_i3d_nl_dot_product": mm(
        I3D.format("-nl-dot-product"),
        "I3D R50, non-local after res3 blocks 1, 3 and res4 blocks 1, 3, 5: dot product / N, phi and g pooled 1x2x2 "
        "after their convs.",
        32,
        *MM_NON_LOCAL,
        ("theta.", 0.3),
        ("phi.", 0.3),
    ),
    "mm_i3d_nl_embedded_gaussian": mm(
        I3D.format("-nl-embedded-gaussian"),
        "I3D R50, non-local as mm_i3d_nl_dot_product, but softmax of the embedded products, not scaled by d^-0.5.",
        32,
        *MM_NON_LOCAL,
        ("theta.", 0.4),
        ("phi.", 0.4),
    ),
    "mm_i3d_nl_gaussian": mm(
        I3D.format("-nl-gaussian"),
        "I3D R50, non-local with softmax of x and 1x2x2-pooled x (no theta and phi convs, d = in_channels, no scale).",
        32,
        ("backbone.conv1.bn.weight", 0.08),
        ("conv_out.bn.weight", 0.3),
        (".bn.bias", 0.08),
        ("running_mean", 0.08),
        ("fc_cls.weight", 5.0),
    ),
    "mm_slowonly_nl_embedded_gaussian_r50_8x8": mm(
        SLOWONLY.format("r50-in1k-pre-nl-embedded-gaussian_8xb16-8x8x1-steplr-150e_kinetics400-rgb"),
        "Slow-only R50 8x8, non-local after res3 blocks 0, 2 and res4 blocks 0, 2, 4: softmax, scaled by d^-0.5, "
        "phi and g pooled 1x2x2 after their convs.",
        8,
        *MM_NON_LOCAL,
        ("theta.", 1.5),
        ("phi.", 1.5),
    ),
    "mm_slowfast_r50_8x8_steplr": mm(
        SLOWFAST.format("r50_8xb8-8x8x1-steplr-256e"),
        "SlowFast R50 8x8 with norm and ReLU after the lateral convs (lateral_norm=True).",
        32,
    ),
    "mm_slowfast_r101r50_4x16": mm(
        SLOWFAST.format("r101-r50_32xb8-4x16x1-256e"),
        "SlowFast 4x16, Slow pathway R101 (all 23 res4 blocks with temporal kernel 3), Fast pathway R50.",
        32,
    ),
    "mm_c2d_r50_8x8": mm(
        "recognition/c2d/c2d_r50-in1k-pre_8xb32-8x8x1-100e_kinetics400-rgb.py",
        "C2D R50 8x8: 2-D convs (4-D weights), stem pool 1x3x3 without padding, pool 2x1x1 after res2.",
        8,
    ),
    "gluon_i3d_resnet50_v1": gluon(
        "i3d_resnet50_v1_kinetics400", "I3D R50: temporal strides as in mm_i3d_r50_32x2.", 32
    ),
    "gluon_i3d_nl5_resnet50_v1": gluon(
        "i3d_nl5_resnet50_v1_kinetics400",
        "I3D R50, non-local after res3 blocks 1, 3 and res4 blocks 1, 3, 5: softmax, scaled by d^-0.5, no pooling.",
        32,
        *GLUON_NON_LOCAL,
    ),
    "gluon_i3d_nl10_resnet50_v1": gluon(
        "i3d_nl10_resnet50_v1_kinetics400",
        "I3D R50, the non-local block of gluon_i3d_nl5_resnet50_v1 after every block of res3 and res4.",
        32,
        *GLUON_NON_LOCAL,
    ),
    "gluon_i3d_nl5_resnet101_v1": gluon(
        "i3d_nl5_resnet101_v1_kinetics400",
        "I3D R101, non-local after res3 blocks 1, 3 and res4 blocks 6, 13, 20.",
        32,
        *GLUON_NON_LOCAL,
    ),
    "ptv_slow_r50_detection": ptv(
        "slow_r50_detection",
        "AVA detector, Slow-only R50 4x16: res5 without stride, dilation 2; mean over time, RoIAlign 7x7, maximum; "
        "logits, one row a box.",
        4,
        boxes=True,
    ),
    "mm_ava_slowfast_r50_8x8_temporal_max": mm(
        "detection/slowfast/slowfast_kinetics400-pretrained-r50-temporal-max_8xb6-8x8x1-cosine-10e_ava22-rgb.py",
        "AVA detector, SlowFast R50 8x8: res5 without stride or dilation; maximum over time, RoIAlign 8x8 aligned "
        "(torchvision's), maximum; 81 logits a box, column 0 is background.",
        32,
        boxes=True,
    ),
    "mm_i3d_r50_heavy": mm(
        I3D.format("-heavy"),
        "I3D R50, temporal kernel 3 in every block, temporal stride 2 only in the pool after res2.",
        32,
    ),
    "mm_slowonly_r50_4x16": mm(SLOWONLY.format("r50_8xb16-4x16x1-256e_kinetics400-rgb"), "Slow-only R50 4x16.", 4),
    "mm_slowonly_r101_8x8": mm(SLOWONLY.format("r101_8xb16-8x8x1-196e_kinetics400-rgb"), "Slow-only R101 8x8.", 8),
    "mm_slowfast_r50_8x8": mm(
        SLOWFAST.format("r50_8xb8-8x8x1-256e"), "SlowFast R50 8x8 with bare lateral convs (no norm, no ReLU).", 32
    ),
    "mm_slowfast_r101_8x8": mm(
        SLOWFAST.format("r101_8xb8-8x8x1-256e"), "SlowFast R101 8x8, both pathways deep, bare lateral convs.", 32
    ),
    "mm_slowonly_r50_flow": mm(
        SLOWONLY.format("r50_8xb16-16x4x1-256e_kinetics400-flow"), "Slow-only R50 of two flow channels.", 16, channels=2
    ),
    "mm_ava_slowonly_r50_4x16": mm(
        "detection/slowonly/slowonly_kinetics400-pretrained-r50_8xb16-4x16x1-20e_ava21-rgb.py",
        "AVA detector, Slow-only R50 4x16: res5 without stride or dilation; mean over time, RoIAlign 8x8 aligned "
        "(torchvision's), maximum; 81 logits a box, column 0 is background.",
        4,
        boxes=True,
    ),
    "gluon_i3d_slow_resnet50_f8s8": gluon("i3d_slow_resnet50_f8s8_kinetics400", "Slow-only R50 8x8.", 8),
    "gluon_slowfast_8x8_resnet101": gluon(
        "slowfast_8x8_resnet101_kinetics400", "SlowFast R101 8x8 (all res4 blocks temporal, lateral kernel 5).", 32
    ),
    "ptv_c2d_r50": ptv("c2d_r50", "C2D R50 8x8 with the 2x1x1 pool after res2.", 8),
    "ptv_slowfast_r101": ptv(
        "slowfast_r101", "SlowFast R101 8x8 (all res4 blocks temporal, lateral kernel 5).", 32, slow_frames=8
    ),
    "ptv_slowfast_16x8_r101_50_50": ptv(
        "slowfast_16x8_r101_50_50",
        "SlowFast R101 16x8, the first 6 res4 blocks of both pathways with temporal kernel 3, lateral kernel 5.",
        64,
        slow_frames=16,
    ),
}


def main() -> None:
    """Make the records named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Make golden records with the original projects' code.")
    parser.add_argument("names", nargs="*", choices=[*CASES, []], metavar="NAME", help="records to make (all)")
    parser.add_argument("--list", action="store_true", help="list the records and stop")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CASES))
        return
    torch.set_num_threads(1)
    for name in arguments.names or CASES:
        make(name, CASES[name], arguments.out)


if __name__ == "__main__":
    main()
