"""Converted networks answer what the original projects' own code answered for the same weights."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import made_clip, read_golden
from torch import Tensor

from slowfast_hub.models import VideoModel, build
from slowfast_hub.zoo.convert import Converted, convert

# Of the logits' standard deviation. Reached: 2e-6 to 2e-5; float32 sums in another order.
LARGEST = 1e-4

# golden record: what `--arch` has to say, where names and shapes leave a choice
SHARED = {
    "ptv_slowfast_r50": None,
    "ptv_slow_r50": "slow_r50_8x8",  # 4x16 has the same shapes
    "ptv_i3d_r50": None,
    "ptv_slowfast_r50_256": None,
    "ptv_slowfast_r50_detection": None,
    "pysf_SLOWFAST_4x16_R50": None,
    "pysf_SLOWFAST_NLN_4x16_R50": "slowfast_nl_r50_4x16",  # 8x8 has the same shapes
    "pysf_AVA_SLOWFAST_32x2_R50_SHORT": None,
    "gluon_slowfast_4x16_r50": None,
    "mm_slowfast_r50_4x16": None,
    "mm_ava_slowfast_r50_4x16": None,
}
# What each project's own code answers.
NATIVE = {
    name: "sigmoid" if any(word in name for word in ("detection", "AVA", "ava"))
    else "softmax" if name.startswith(("pysf", "mm_"))
    else "logits"
    for name in SHARED
}  # fmt: skip
HERE = Path(__file__).parent / "golden"
MADE = {
    "mm_i3d_r50_32x2": None,
    "mm_i3d_r50_heavy": None,
    "mm_i3d_nl_dot_product": "i3d_nl_r50_32x2.mm_k400_dot",  # the kinds have the same tensors
    "mm_i3d_nl_embedded_gaussian": "i3d_nl_r50_32x2.mm_k400_eg",
    "mm_i3d_nl_gaussian": None,  # no theta, no phi
    "mm_slowonly_r50_4x16": "slow_r50_4x16",
    "mm_slowonly_nl_embedded_gaussian_r50_8x8": "slow_nl_r50_8x8",
    "mm_slowonly_r101_8x8": None,
    "mm_slowonly_r50_flow": "slow_r50_4x16.mm_k400_v0_in1k_flow",
    "mm_slowfast_r50_8x8": None,
    "mm_slowfast_r50_8x8_steplr": None,
    "mm_slowfast_r101_8x8": None,
    "mm_slowfast_r101r50_4x16": None,
    "mm_c2d_r50_8x8": "c2d_r50_8x8",
    "mm_ava_slowfast_r50_8x8_temporal_max": "slowfast_det_r50_8x8.mm_ava22_tmax",
    "mm_ava_slowonly_r50_4x16": "slow_det_r50_4x16",
    "gluon_i3d_resnet50_v1": None,
    "gluon_i3d_nl5_resnet50_v1": None,
    "gluon_i3d_nl10_resnet50_v1": None,
    "gluon_i3d_nl5_resnet101_v1": None,
    "gluon_i3d_slow_resnet50_f8s8": "slow_r50_8x8",
    "gluon_slowfast_8x8_resnet101": None,
    "ptv_c2d_r50": None,
    "ptv_slowfast_r101": None,
    "ptv_slowfast_16x8_r101_50_50": None,
    "ptv_slow_r50_detection": None,
}


def network(made: Converted) -> VideoModel:
    with torch.device("meta"):
        model = build(made.description.arch)
    model.load_state_dict(made.tensors, strict=True, assign=True)
    return model.eval()


@pytest.mark.parametrize("name", SHARED)
@torch.inference_mode()
def test_published_forms_give_the_logits_and_scores_of_the_original_code(name: str, shared: Path):
    golden = read_golden(shared / "golden", name)
    weights = golden.weights()
    made = convert(weights, arch=SHARED[name])
    assert len(made.report.mapping) == len(weights)
    model = network(made)
    maps = model.forward_features(golden.clip())
    answer = model.forward_head(maps, rois=golden.rois)
    logits, native = golden.logits[:, -answer.shape[1] :], golden.native[:, -answer.shape[1] :]  # MMAction2: 81 -> 80
    scores = {"softmax": answer.softmax(1), "sigmoid": answer.sigmoid(), "logits": answer}[NATIVE[name]]
    assert (scores - native).abs().max() < LARGEST * native.std()
    if NATIVE[name] == "softmax" and golden.project == "pyslowfast":
        # The answer is the log of the mean score; the logits are those before the scores of the windows.
        answer = model.head.fc(model.forward_head(maps, pre_logits=True))
    assert (answer - logits).abs().max() < LARGEST * logits.std()


def read_made(name: str) -> dict[str, Any]:
    with gzip.open(HERE / f"{name}.json.gz", "rt", encoding="utf-8") as file:
        return json.load(file)


def filled(record: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of a record of this folder (golden/README.md)."""
    made: dict[str, Tensor] = {}
    for name, shape in record["keys"].items():
        if name in record["aliases"]:
            made[name] = made[record["aliases"][name]]
            continue
        value = drawn(name, shape)
        for part, factor in record["scale"]:
            if part in name and not name.endswith("num_batches_tracked"):
                value = value * factor
        made[name] = torch.from_numpy(np.asarray(value, dtype=np.float32 if value.dtype.kind == "f" else np.int64))
    return made


def drawn(name: str, shape: list[int]) -> np.ndarray:
    random = np.random.RandomState(zlib.crc32(name.encode()))
    leaf, count = name.rsplit(".", 1)[1], math.prod(shape)
    if leaf == "num_batches_tracked":
        return np.asarray(1)
    if leaf == "running_var" or (leaf == "weight" and len(shape) == 1):
        return (0.5 + random.random_sample(count)).reshape(shape)
    values = random.standard_normal(count).reshape(shape)
    return values * (0.1 if len(shape) == 1 else math.sqrt(2 / math.prod(shape[1:])))


@pytest.mark.parametrize("name", MADE)
@torch.inference_mode()
def test_further_forms_give_the_logits_of_the_original_code(name: str):
    record = read_made(name)
    made = convert(filled(record), arch=MADE[name])
    model = network(made)
    frames, size = record["input"]["frames"], record["input"]["size"]
    clip = made_clip(frames, size)[:, : model.arch.in_chans]
    rois = torch.tensor(record["input"]["boxes"]) if "boxes" in record["input"] else None
    answer = model(clip, rois)
    expected = torch.tensor(record["logits"]).reshape(len(answer), -1)[:, -answer.shape[1] :]
    difference = answer - expected
    if made.description.arch.pool == "window_probs":
        difference = difference - difference.mean(1, keepdim=True)
    assert difference.abs().max() < LARGEST * expected.std()
