"""GluonCV's torch `.pth` files (torch/model_zoo/action_recognition: slowfast.py, i3d_slow.py, i3d_resnet.py)."""

from __future__ import annotations

from slowfast_hub.zoo.convert.mmaction2 import CLIP
from slowfast_hub.zoo.convert.names import Layout, table

SLOWFAST = table(
    ("{path}.stem.conv1.conv", "{path}_conv1"),
    ("{path}.stem.conv1.norm", "{path}_bn1"),
    ("laterals.0.fuse.{m}", "lateral_p1.{d}"),
    ("laterals.{j}.fuse.{m}", "lateral_res{j+1}.{d}"),
    ("{path}.res{n}.{i}.{c}.{m}", "{path}_res{n}.{i}.{b}{k}"),
    ("{path}.res{n}.{i}.shortcut.{m}", "{path}_res{n}.{i}.downsample.{d}"),
    ("head.fc", "fc"),
)
SLOW = table(
    ("pathway.stem.conv1.{m}", "{b}1"),
    ("pathway.res{n}.{i}.{c}.{m}", "layer{n-1}.{i}.{b}{k}"),
    ("pathway.res{n}.{i}.shortcut.{m}", "layer{n-1}.{i}.downsample.{d}"),
    ("head.fc", "fc"),
)
I3D = table(
    ("pathway.stem.conv1.{m}", "first_stage.{d}"),
    ("pathway.res{n}.{i}.{c}.{m}", "res_layers.{n-2}.{i}.{b}{k}"),
    ("pathway.res{n}.{i}.shortcut.{m}", "res_layers.{n-2}.{i}.downsample.{d}"),
    ("pathway.res{n}.{i}_nonlocal.out", "res_layers.{n-2}.{i}.nonlocal_block.W"),
    ("pathway.res{n}.{i}_nonlocal.norm", "res_layers.{n-2}.{i}.nonlocal_block.bn"),
    ("pathway.res{n}.{i}_nonlocal.{f}", "res_layers.{n-2}.{i}.nonlocal_block.{f}"),
    ("head.fc", "fc"),
)

LAYOUT = Layout(
    name="gluoncv",
    tables=(SLOWFAST, SLOW, I3D),
    drop=(
        (r".*\.W_bn\.[01]\..*", "a second name of the tensors of W and bn"),
        (r"head\.1\..*", "a second name of the tensors of fc"),
    ),
    changes={
        "slow_rule": "strided",
        "clip": {**CLIP, "crop": 224},
        "nonlocal_kind": "softmax",
        "nonlocal_pool": (1, 1, 1),
    },
)
