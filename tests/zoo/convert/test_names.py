"""Tables of names: one to one in both directions, for every network of a layout."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slowfast_hub.models import build
from slowfast_hub.spec import SlowFastArch
from slowfast_hub.zoo.convert import beyond_pytorchvideo, pytorchvideo, to_pytorchvideo
from slowfast_hub.zoo.convert.caffe2 import LAYOUT as CAFFE2
from slowfast_hub.zoo.convert.names import SPELLINGS, Pattern, table
from slowfast_hub.zoo.convert.pyslowfast import LAYOUT as PYSLOWFAST
from slowfast_hub.zoo.convert.rename import LAYOUTS, recognise
from slowfast_hub.zoo.manifest import WEIGHTS
from slowfast_hub.zoo.registry import ARCHS


def keys_of(row: str) -> list[str]:
    with torch.device("meta"):
        return list(build(ARCHS[row]).state_dict())


def test_fields_of_a_pattern_are_read_and_written():
    pattern = Pattern("s{n}.pathway{p}_res{i}.branch2.{c}")
    values = pattern.read("s4.pathway1_res12.branch2.b")
    assert values == {"stage": 2, "pathway": 1, "i": "12", "convolution": 1}
    assert Pattern("{path}.res{n}.{i}.{c}").write(values) == "fast.res4.12.b"
    assert pattern.write(values) == "s4.pathway1_res12.branch2.b"


@pytest.mark.parametrize(
    "wrong", ["s1.pathway0_res0.branch2.a", "s6.pathway0_res0.branch2.a", "xs2.pathway0_res0.branch2.a"]
)
def test_a_name_outside_of_the_fields_does_not_fit(wrong: str):
    assert Pattern("s{n}.pathway{p}_res{i}.branch2.{c}").read(wrong) is None


def test_spellings_of_one_meaning_are_as_many():
    counts: dict[str, set[int]] = {}
    for meaning, spellings in SPELLINGS.values():
        counts.setdefault(meaning, set()).add(len(spellings))
    assert all(len(count) == 1 for count in counts.values())


@given(st.integers(2, 5), st.integers(0, 35), st.sampled_from("abc"), st.sampled_from(["conv", "norm"]))
def test_a_table_is_its_own_inverse(stage: int, block: int, letter: str, module: str):
    names = table(("{path}.res{n}.{i}.{c}.{m}", "{p}/{n-1}/{i}/{k}/{b}"))
    ours = f"fast.res{stage}.{block}.{letter}.{module}"
    theirs = f"1/{stage - 1}/{block}/{'abc'.index(letter) + 1}/{'conv' if module == 'conv' else 'bn'}"
    assert names.theirs(ours) == theirs
    assert names.ours(theirs) == ours


@pytest.mark.parametrize("row", ARCHS)
@pytest.mark.parametrize("layout", [PYSLOWFAST, CAFFE2], ids=lambda layout: layout.name)
def test_pyslowfast_has_a_name_for_every_tensor_and_it_leads_back(row: str, layout):
    names = layout.tables[not isinstance(ARCHS[row], SlowFastArch)]
    for key in keys_of(row):
        theirs = names.theirs(key.rpartition(".")[0]).replace("*", "2")
        assert names.ours(theirs) == key.rpartition(".")[0]


@pytest.mark.parametrize(
    "row", [row for row, arch in ARCHS.items() if not any(no for no, _ in beyond_pytorchvideo(arch))]
)
def test_pytorchvideo_names_lead_back(row: str):
    keys = keys_of(row)
    theirs = {to_pytorchvideo(key, ARCHS[row]): key for key in keys}
    assert len(theirs) == len(keys)
    layout, names = recognise([re.sub("^model.", "", name) for name in theirs])
    assert layout is pytorchvideo.LAYOUT
    assert {layout.ours(names, re.sub("^model.", "", name)): name for name in theirs}.keys() == set(keys)


def test_blob_names_are_those_of_the_published_files():
    """caffe2_format.md: as seen in the log of facebookresearch/SlowFast#15."""
    two, one = CAFFE2.tables
    assert CAFFE2.ours(two, "res4_4_branch2c_w") == "slow.res4.4.c.conv.weight"
    assert CAFFE2.ours(two, "t_res5_0_branch1_w") == "fast.res5.0.shortcut.conv.weight"
    assert CAFFE2.ours(two, "res5_1_branch2b_bn_b") == "slow.res5.1.b.norm.bias"
    assert CAFFE2.ours(two, "res3_1_branch2a_bn_riv") == "slow.res3.1.a.norm.running_var"
    assert CAFFE2.ours(two, "t_res4_22_branch2c_bn_subsample_bn_s") == "laterals.3.fuse.norm.weight"
    assert CAFFE2.ours(two, "nonlocal_conv4_6_theta_b") == "slow.res4.6_nonlocal.theta.bias"
    assert CAFFE2.ours(one, "nonlocal_conv3_1_bn_rm") == "pathway.res3.1_nonlocal.norm.running_mean"
    assert CAFFE2.ours(one, "pred_w") == "head.fc.weight"


def test_names_in_the_inventory_are_recognised(shared):
    import json

    for path in sorted((shared / "facts" / "keys").glob("keys_*.json")):
        keys = json.loads(path.read_text(encoding="utf-8"))
        layout, names = recognise(list(keys))
        assert layout.name == path.stem.split("_")[1]
        ours = [layout.ours(names, key) for key in keys if layout.dropped(key) is None]
        assert None not in ours
        assert len(set(ours)) == len(ours)


def test_keymaps_of_the_inventory_agree(shared):
    """One row for each tensor with its name in five layouts: all five lead to one name here."""
    import json

    for model in ("4x16", "8x8"):
        rows = json.loads((shared / "facts" / "keys" / f"keymap_slowfast_{model}_r50.json").read_text(encoding="utf-8"))
        rows = rows if isinstance(rows, list) else rows["rows"]
        compared = 0
        for row in rows:
            found = set()
            for layout in LAYOUTS.values():
                if isinstance(row.get(layout.name), str):
                    found.add(layout.ours(layout.tables[0], row[layout.name]))
            compared += len(found)
            assert len(found) == 1, row
        assert compared > 500


def test_every_layout_of_a_record_exists():
    used = {layout for info in WEIGHTS().values() for layout in info.origin.layouts}
    assert used == {*LAYOUTS, pytorchvideo.WRAPPED.name}
