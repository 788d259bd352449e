"""PySlowFast's `.pyth` files (models/video_model_builder.py, stem_helper.py, resnet_helper.py, nonlocal_helper.py)."""

from __future__ import annotations

from slowfast_hub.zoo.convert.names import Layout, Names, table


def names(path: str, number: str) -> Names:
    block = f"{path}.res{{n}}.{{i}}", f"s{{n}}.pathway{number}_res{{i}}"
    nonlocal_block = f"{path}.res{{n}}.{{i}}_nonlocal", f"s{{n}}.pathway{number}_nonlocal{{i}}"
    return table(
        (f"{path}.stem.conv1.{{m}}", f"s1.pathway{number}_stem.{{b}}"),
        ("laterals.{l}.fuse.conv", "s{l+1}_fuse.conv_f2s"),
        ("laterals.{l}.fuse.norm", "s{l+1}_fuse.bn"),
        (f"{block[0]}.{{c}}.conv", f"{block[1]}.branch2.{{c}}"),
        (f"{block[0]}.{{c}}.norm", f"{block[1]}.branch2.{{c}}_bn"),
        (f"{block[0]}.shortcut.conv", f"{block[1]}.branch1"),
        (f"{block[0]}.shortcut.norm", f"{block[1]}.branch1_bn"),
        (f"{nonlocal_block[0]}.{{f}}", f"{nonlocal_block[1]}.conv_{{f}}"),
        (f"{nonlocal_block[0]}.norm", f"{nonlocal_block[1]}.bn"),
        ("head.fc", "head.projection"),
    )


LAYOUT = Layout(
    name="pyslowfast",
    tables=(names("{path}", "{p}"), names("pathway", "0")),
    changes={"pool": "window_probs", "roi": {"aligned": True}},  # DETECTION.ALIGNED of its own configs
    one_head=True,
)
