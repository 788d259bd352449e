"""PyTorchVideo's `.pyth` files (models/slowfast.py, models/resnet.py), also inside PySlowFast's wrapper."""

from __future__ import annotations

from dataclasses import replace

from slowfast_hub.zoo.convert.names import Layout, Names, table


def single(late_stages: str, head: str) -> Names:
    """One pathway. In C2D and I3D a pool without tensors follows res2 and moves the numbers of what is behind it."""
    return table(
        ("pathway.stem.conv1.{m}", "blocks.0.{m}"),
        ("pathway.res2.{i}.{c}.{m}", "blocks.1.res_blocks.{i}.branch2.{m}_{c}"),
        ("pathway.res2.{i}.shortcut.{m}", "blocks.1.res_blocks.{i}.branch1_{m}"),
        ("pathway.res{late}.{i}.{c}.{m}", f"blocks.{late_stages}.res_blocks.{{i}}.branch2.{{m}}_{{c}}"),
        ("pathway.res{late}.{i}.shortcut.{m}", f"blocks.{late_stages}.res_blocks.{{i}}.branch1_{{m}}"),
        ("head.fc", head),
        ("head.fc", "detection_head.proj"),
    )


TWO_PATHWAYS = table(
    ("{path}.stem.conv1.{m}", "blocks.0.multipathway_blocks.{p}.{m}"),
    ("laterals.{l}.fuse.conv", "blocks.{l}.multipathway_fusion.conv_fast_to_slow"),
    ("laterals.{l}.fuse.norm", "blocks.{l}.multipathway_fusion.norm"),
    ("{path}.res{n}.{i}.{c}.{m}", "blocks.{n-1}.multipathway_blocks.{p}.res_blocks.{i}.branch2.{m}_{c}"),
    ("{path}.res{n}.{i}.shortcut.{m}", "blocks.{n-1}.multipathway_blocks.{p}.res_blocks.{i}.branch1_{m}"),
    ("head.fc", "blocks.6.proj"),
    ("head.fc", "detection_head.proj"),
)
PLAIN = single("{late-1}", "blocks.5.proj")
POOLED = single("{late}", "blocks.6.proj")

LAYOUT = Layout(name="pytorchvideo", tables=(TWO_PATHWAYS, PLAIN, POOLED), changes={"pool": "window_logits"})
# Classifiers that PySlowFast trained inside its wrapper (ptv_model_builder.py) have `model.` in front of every name;
# the wrapper averages the scores of the pooling windows, where PyTorchVideo averages their logits.
WRAPPED = replace(LAYOUT, name="pytorchvideo_wrapped", changes={"pool": "window_probs"})
