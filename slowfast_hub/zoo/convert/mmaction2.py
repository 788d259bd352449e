"""MMAction2's `.pth` files, 0.x and 1.x (models/backbones/resnet3d.py, resnet3d_slowfast.py; mmcv's ConvModule)."""

from __future__ import annotations

from slowfast_hub.zoo.convert.names import Layout, Names, table

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The file's own frames are counted: MMAction2 does not resample to a common rate.
CLIP = {"fps": None, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}


def names(path: str, backbone: str) -> Names:
    block = f"{path}.res{{n}}.{{i}}", f"{backbone}.layer{{n-1}}.{{i}}"
    nonlocal_block = f"{block[0]}_nonlocal", f"{block[1]}.non_local_block"
    return table(
        (f"{path}.stem.conv1.{{m}}", f"{backbone}.conv1.{{b}}"),
        ("laterals.0.fuse.{m}", "backbone.slow_path.conv1_lateral.{b}"),
        ("laterals.{j}.fuse.{m}", "backbone.slow_path.layer{j}_lateral.{b}"),
        (f"{block[0]}.{{c}}.{{m}}", f"{block[1]}.conv{{k}}.{{b}}"),
        (f"{block[0]}.shortcut.{{m}}", f"{block[1]}.downsample.{{b}}"),
        (f"{nonlocal_block[0]}.out", f"{nonlocal_block[1]}.conv_out.conv"),
        (f"{nonlocal_block[0]}.norm", f"{nonlocal_block[1]}.conv_out.bn"),
        (f"{nonlocal_block[0]}.{{f}}", f"{nonlocal_block[1]}.{{f}}.conv"),
        (f"{nonlocal_block[0]}.{{f}}", f"{nonlocal_block[1]}.{{f}}.0.conv"),  # in front of a pool
        ("head.fc", "cls_head.fc_cls"),
        ("head.fc", "roi_head.bbox_head.fc_cls"),
    )


LAYOUT = Layout(
    name="mmaction2",
    tables=(names("{path}", "backbone.{path}_path"), names("pathway", "backbone")),
    drop=(
        (r"data_preprocessor\..*", "the mean and deviation of the pixels, which the clip recipe has"),
        (r"steps", "the counter of the averaging"),
        (r"ema_(backbone|cls_head|roi_head)_.*", "the weights before averaging; the averaged ones are in their place"),
    ),
    changes={
        "slow_rule": "strided",
        "clip": CLIP,
        "nonlocal_kind": "softmax",
        "nonlocal_pool_at": "after",
        "nonlocal_out_bias": False,
        "roi": {"grid": 8, "aligned": True, "dilation": 1},
    },
    of_family={"c2d": {"stem_padding": 0}, "i3d": {"nonlocal_kind": "softmax_unscaled"}},
)
