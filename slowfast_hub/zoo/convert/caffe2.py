"""PySlowFast's Caffe2 `.pkl` files: names of blobs (utils/c2_model_loading.py).

Convolutions have `_w` and `_b`; batch norms `_s`, `_b`, `_rm` and `_riv`, which is the running variance and not its
inverse, whatever its name says. A prefix `t_` marks the Fast pathway.
"""

from __future__ import annotations

import re

from slowfast_hub.zoo.convert.names import Layout, Names, table

SUFFIXES = {"w": "weight", "s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}


def names(path: str, prefix: str) -> Names:
    block = f"{path}.res{{n}}.{{i}}", f"{prefix}res{{n}}_{{i}}"
    slow = path.replace("{path}", "slow")  # non-local blocks are in no other pathway
    nonlocal_block = f"{slow}.res{{n}}.{{i}}_nonlocal", "nonlocal_conv{n}_{i}"
    return table(
        (f"{path}.stem.conv1.conv", f"{prefix}conv1"),
        (f"{path}.stem.conv1.norm", f"{prefix}res_conv1_bn"),
        ("laterals.0.fuse.conv", "t_pool1_subsample"),
        ("laterals.0.fuse.norm", "t_pool1_subsample_bn"),
        # `any` is the last block of the stage
        ("laterals.{j}.fuse.conv", "t_res{j+1}_{any}_branch2c_bn_subsample"),
        ("laterals.{j}.fuse.norm", "t_res{j+1}_{any}_branch2c_bn_subsample_bn"),
        (f"{block[0]}.{{c}}.conv", f"{block[1]}_branch2{{c}}"),
        (f"{block[0]}.{{c}}.norm", f"{block[1]}_branch2{{c}}_bn"),
        (f"{block[0]}.shortcut.conv", f"{block[1]}_branch1"),
        (f"{block[0]}.shortcut.norm", f"{block[1]}_branch1_bn"),
        (f"{nonlocal_block[0]}.{{f}}", f"{nonlocal_block[1]}_{{f}}"),
        (f"{nonlocal_block[0]}.norm", f"{nonlocal_block[1]}_bn"),
        ("head.fc", "pred"),
    )


def split(blob: str) -> tuple[str, str] | None:
    match = re.fullmatch(rf"(.+)_({'|'.join(SUFFIXES)})", blob)
    return (match[1], SUFFIXES[match[2]]) if match else None


def join(module: str, leaf: str) -> str:
    letters = {name: suffix for suffix, name in SUFFIXES.items()} | {"weight": "s" if module.endswith("_bn") else "w"}
    return f"{module}_{letters.get(leaf, leaf)}"


LAYOUT = Layout(
    name="caffe2",
    tables=(names("{path}", "{t}"), names("pathway", "")),
    drop=(
        (r".*_momentum", "the optimizer's momentum"),
        (r"lr|model_iter|.*_lr", "the state of the training run"),
    ),
    changes={"pool": "window_probs"},
    split=split,
    join=join,
    one_head=True,
)
