"""Logits of the original projects' own code: their weights under our names, loaded strictly, give their answers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from slowfast_hub.zoo.registry import create_model

SLOWFAST_PTV = [
    (r"^blocks\.0\.multipathway_blocks\.(\d)\.", lambda m: f"{path(m[1])}.stem.conv1."),
    (r"^blocks\.(\d)\.multipathway_fusion\.", lambda m: f"laterals.{m[1]}.fuse."),
    (
        r"^blocks\.(\d)\.multipathway_blocks\.(\d)\.res_blocks\.(\d+)\.",
        lambda m: f"{path(m[2])}.res{int(m[1]) + 1}.{m[3]}.",
    ),
    (r"^blocks\.6\.proj\.", "head.fc."),
    (r"branch1_(conv|norm)\.", r"shortcut.\1."),
    (r"branch2\.(conv|norm)_([abc])\.", r"\2.\1."),
    (r"\.conv_fast_to_slow\.", ".conv."),
]
SINGLE_PTV = [
    (r"^blocks\.0\.", "pathway.stem.conv1."),
    (r"^blocks\.(\d)\.res_blocks\.(\d+)\.", lambda m: f"pathway.res{int(m[1]) + 1}.{m[2]}."),
    (r"^blocks\.5\.proj\.", "head.fc."),
    (r"branch1_(conv|norm)\.", r"shortcut.\1."),
    (r"branch2\.(conv|norm)_([abc])\.", r"\2.\1."),
]
# Block 2 is the pool over time, which has no tensors, so the stages are blocks 1, 3, 4, 5.
I3D_PTV = [(r"^blocks\.(?=[3456]\.)(\d)", lambda m: f"blocks.{int(m[1]) - 1}"), *SINGLE_PTV]
PYSLOWFAST = [
    (r"s1\.pathway(\d)_stem\.", lambda m: f"{path(m[1])}.stem.conv1."),
    (r"s(\d)_fuse\.conv_f2s\.", lambda m: f"laterals.{int(m[1]) - 1}.fuse.conv."),
    (r"s(\d)_fuse\.bn\.", lambda m: f"laterals.{int(m[1]) - 1}.fuse.norm."),
    (r"s(\d)\.pathway(\d)_res(\d+)\.", lambda m: f"{path(m[2])}.res{m[1]}.{m[3]}."),
    (r"branch1_bn\.", "shortcut.norm."),
    (r"branch1\.", "shortcut.conv."),
    (r"branch2\.([abc])_bn\.", r"\1.norm."),
    (r"branch2\.([abc])\.", r"\1.conv."),
    (r"head\.projection\.", "head.fc."),
    (r"\.bn\.", ".norm."),
]
PYSLOWFAST_NL = [(r"s(\d)\.pathway0_nonlocal(\d+)\.(?:conv_)?", r"slow.res\1.\2_nonlocal."), *PYSLOWFAST]
GLUONCV = [
    (r"(slow|fast)_conv1\.", r"\1.stem.conv1.conv."),
    (r"(slow|fast)_bn1\.", r"\1.stem.conv1.norm."),
    (r"lateral_p1\.", "lateral_res1."),
    (r"lateral_res(\d)\.0\.", lambda m: f"laterals.{int(m[1]) - 1}.fuse.conv."),
    (r"lateral_res(\d)\.1\.", lambda m: f"laterals.{int(m[1]) - 1}.fuse.norm."),
    (r"(slow|fast)_res(\d)\.", r"\1.res\2."),
    (r"\.(conv|bn)([123])\.(?=[a-z_]+$)", lambda m: f".{'abc'[int(m[2]) - 1]}.{'conv' if m[1] == 'conv' else 'norm'}."),
    (r"downsample\.0\.", "shortcut.conv."),
    (r"downsample\.1\.", "shortcut.norm."),
    (r"^fc\.", "head.fc."),
]
MMACTION2 = [
    (r"backbone\.slow_path\.conv1_lateral\.", "laterals.0.fuse."),
    (r"backbone\.slow_path\.layer(\d)_lateral\.", r"laterals.\1.fuse."),
    (r"backbone\.(slow|fast)_path\.conv1\.", r"\1.stem.conv1."),
    (r"backbone\.(slow|fast)_path\.layer(\d)\.", lambda m: f"{m[1]}.res{int(m[2]) + 1}."),
    (r"\.conv([123])\.(?=conv|bn)(?<!stem\.conv1\.)", lambda m: f".{'abc'[int(m[1]) - 1]}."),
    (r"downsample\.", "shortcut."),
    (r"\.bn\.", ".norm."),
    (r"cls_head\.fc_cls\.", "head.fc."),
]

# golden record: (row, overrides, rename rules)
CASES = {
    "ptv_slowfast_r50": ("slowfast_r50_8x8", {}, SLOWFAST_PTV),
    "ptv_slow_r50": ("slow_r50_8x8", {}, SINGLE_PTV),
    "ptv_i3d_r50": ("i3d_r50_8x8", {}, I3D_PTV),
    "ptv_slowfast_r50_256": ("slowfast_r50_8x8", {"pool": "window_logits"}, SLOWFAST_PTV),
    "pysf_SLOWFAST_4x16_R50": ("slowfast_r50_4x16", {"pool": "window_probs"}, PYSLOWFAST),
    "pysf_SLOWFAST_NLN_4x16_R50": ("slowfast_nl_r50_4x16", {"pool": "window_probs"}, PYSLOWFAST_NL),
    "gluon_slowfast_4x16_r50": ("slowfast_r50_4x16", {"slow_rule": "strided"}, GLUONCV),
    "mm_slowfast_r50_4x16": ("slowfast_r50_4x16", {"slow_rule": "strided", "lateral_norm": False}, MMACTION2),
}
# Of the logits' standard deviation. Reached: 2e-6 to 2e-5; float32 sums in another order.
LARGEST = 1e-4


def path(number: str) -> str:
    return ("slow", "fast")[int(number)]


def renamed(key: str, rules: list) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def recorded_weights(record: dict, arrays: np.lib.npyio.NpzFile) -> dict[str, Tensor]:
    """The state dict of a golden record, in the project's own names (golden/README.md)."""
    weights = {}
    for entry in record["keys"]:
        name, shape = entry["name"], entry["shape"]
        if "seed" in entry:
            drawn = np.random.RandomState(entry["seed"]).standard_normal(int(np.prod(shape)))
            weights[name] = torch.from_numpy(drawn.astype(np.float32).reshape(shape) * np.float32(entry["std"]))
        else:
            weights[name] = torch.from_numpy(np.asarray(arrays[f"w/{name}"]))
    return weights


def recorded_clip(record: dict) -> Tensor:
    """The clip that all records were made with: noise, half of it smooth."""
    frames, size = max(shape[2] for shape in record["input"].values()), record["crop"]
    random = np.random.RandomState(20190)
    sharp = torch.from_numpy(random.random_sample((1, 3, frames, size, size)).astype(np.float32))
    coarse = (1, 3, max(frames // 4, 1), max(size // 8, 1), max(size // 8, 1))
    smooth = torch.from_numpy(random.random_sample(coarse).astype(np.float32))
    smooth = functional.interpolate(smooth, (frames, size, size), mode="trilinear", align_corners=False)
    return ((0.5 * sharp + 0.5 * smooth) - 0.45) / 0.225


def fast_columns_last(weight: Tensor) -> Tensor:
    """MMAction2's classifier has the 256 Fast features first."""
    return torch.cat([weight[:, 256:], weight[:, :256]], dim=1)


@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_logits_equal_those_of_the_original_code(name: str, shared: Path):
    row, changes, rules = CASES[name]
    record = json.loads((shared / "golden" / f"{name}.json").read_text())
    arrays = np.load(shared / "golden" / f"{name}.npz")
    weights = {renamed(key, rules): value for key, value in recorded_weights(record, arrays).items()}
    assert len(weights) == len(record["keys"])  # no two names became one
    if record["project"] == "mmaction2":
        weights["head.fc.weight"] = fast_columns_last(weights["head.fc.weight"])
    with torch.device("meta"):
        model = create_model(row, **changes)
    model.load_state_dict(weights, strict=True, assign=True)
    maps = model.eval().forward_features(recorded_clip(record))
    logits, expected = model.forward_head(maps), torch.from_numpy(arrays["out.logits"])
    if record["project"] == "pyslowfast":  # answers with scores: its logits are those before "window_probs"
        assert (logits.softmax(1) - torch.from_numpy(arrays["out.native"])).abs().max() < 1e-6
        logits = model.head.fc(model.forward_head(maps, pre_logits=True))
    assert (logits - expected).abs().max() < LARGEST * expected.std()
