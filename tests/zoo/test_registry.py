"""Names: their grammar, how a network is made of one, and what is said when that cannot be."""

import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from slowfast_hub.models import SlowFast
from slowfast_hub.spec import ResNet3DArch
from slowfast_hub.zoo import registry
from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.load import LoadError
from slowfast_hub.zoo.manifest import WEIGHTS
from slowfast_hub.zoo.registry import ARCHS, list_models, register_model, weights_info

# The grammar of names: family, non-local blocks, boxes, depth (of Slow and Fast), T x tau, kernels as R50, width.
NAME = re.compile(r"(slowfast|slow|fast|i3d|c2d)(_nl)?(_det)?_r\d+(r\d+)?_\d+x\d+(_t50)?(_w\d+)?")
SMALL = {"depth": 14, "width": 8}


def small(**changes: object) -> SlowFast:
    return create_model("slowfast_r50_4x16", **(SMALL | changes))


@pytest.fixture
def _own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows registered in a test are gone after it."""
    monkeypatch.setattr(registry, "ARCHS", dict(ARCHS))


@pytest.mark.parametrize("name", ARCHS)
def test_name_follows_the_grammar_and_says_what_the_row_holds(name: str):
    assert NAME.fullmatch(name)
    arch = ARCHS[name]
    fast_depth = getattr(arch, "fast_depth", None)
    assert f"_r{arch.depth}{f'r{fast_depth}' if fast_depth else ''}_" in name
    assert ("_nl_" in name) == any(arch.nonlocal_at)
    assert ("_det_" in name) == (arch.roi is not None)
    slow_frames, stride = (int(part) for part in name.split("_r")[1].split("_")[1].split("x"))
    alpha = getattr(arch, "alpha", 1)
    assert (arch.clip.frames, arch.clip.stride) == (slow_frames * alpha, stride // alpha)  # T x tau of the Slow pathway
    assert name.startswith("slowfast") == hasattr(arch, "alpha")


@pytest.mark.parametrize("name", ARCHS)
def test_every_row_builds_in_eval_mode_and_takes_a_clip_of_its_own_length(name: str):
    with torch.device("meta"):
        model = create_model(name, num_classes=7)
        rois = torch.zeros(2, 5) if model.arch.roi else None
        logits = model(torch.empty(2, 3, model.arch.clip.frames, 64, 64), rois)
    assert not model.training
    assert logits.shape == (2, 7)


@pytest.mark.parametrize(
    "wrong", ["SlowFast_r50_4x16", "slowfast_r50", "slowfast_r50_4x16_t51", "r50_4x16", "slowfast_r50_4x16 "]
)
def test_grammar_refuses_other_names(wrong: str):
    assert not NAME.fullmatch(wrong)


def test_default_model_is_a_row():
    assert registry.DEFAULT_MODEL in ARCHS


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("slowfast_r50_8x4", r"unknown model 'slowfast_r50_8x4'; did you mean 'slowfast_r50_8x8'\?"),
        ("slowfast_r50_8x4.fair_k400", "unknown model 'slowfast_r50_8x4'; did you mean"),
        ("xyz", rf"unknown model 'xyz'; list_models\(\) shows all {len(ARCHS)}"),
    ],
)
def test_unknown_name_gives_the_near_match(wrong: str, says: str):
    with pytest.raises(ValueError, match=says):
        create_model(wrong)


def test_unknown_field_gives_the_near_match_and_all_fields():
    with pytest.raises(
        TypeError, match=r"no field 'latteral'; did you mean 'lateral'\? its fields are clip, num_classes,"
    ):
        create_model("slowfast_r50_4x16", latteral="none")
    with pytest.raises(TypeError, match=r"no field 'alpha'.*temporal_pool"):
        create_model("slow_r50_8x8", alpha=4)


def test_pretrained_without_a_file_is_a_lookup_error():
    name = next(name for name in ARCHS if not any(weights.split(".")[0] == name for weights in WEIGHTS()))
    with pytest.raises(LookupError, match=f"no published file of weights is known for '{name}'.*checkpoint_path="):
        create_model(name, pretrained=True)
    with pytest.raises(LookupError, match=f"no published file of weights is known for '{name}'"):
        create_model(f"{name}.none")
    with pytest.raises(ValueError, match="did you mean 'slowfast_r50_8x8'"):
        weights_info("slowfast_r50_8")


@pytest.mark.parametrize("row", ["slowfast_r50_4x16", "slowfast_r50_8x8"])
@pytest.mark.parametrize("lateral", ["none", "ttoc_cat", "tsample", "tconv"])
def test_every_lateral_is_an_override_of_every_row(row: str, lateral: str):
    with torch.device("meta"):
        assert create_model(row, lateral=lateral).arch.lateral == lateral


def test_non_local_blocks_can_be_taken_off_a_row():
    with torch.device("meta"):
        model = create_model("i3d_nl_r50_8x8", nonlocal_at=((), (), (), ()))
        assert set(model.state_dict()) == set(create_model("i3d_r50_8x8").state_dict())


def test_num_classes_overrides_the_row_and_0_gives_features():
    assert small().num_classes == 400
    assert small(num_classes=5).get_classifier().out_features == 5
    assert small(num_classes=0)(torch.randn(1, 3, 8, 32, 32)).shape == (1, 288)  # 32 * 8 of Slow, 32 * 1 of Fast


def test_checkpoint_is_loaded_whole_when_its_classes_are_asked_for(tmp_path):
    trained = small(num_classes=5)
    save_file(trained.state_dict(), tmp_path / "five.safetensors")
    again = small(num_classes=5, checkpoint_path=tmp_path / "five.safetensors")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in trained.state_dict().items())


@pytest.mark.parametrize("classes", [0, 7])
def test_another_number_of_classes_makes_a_new_head_and_nothing_else(tmp_path, classes: int):
    trained = small(num_classes=5)
    save_file(trained.state_dict(), tmp_path / "five.safetensors")
    other = small(num_classes=classes, checkpoint_path=tmp_path / "five.safetensors")
    body = {key: value for key, value in other.state_dict().items() if not key.startswith("head.fc.")}
    assert len(body) == len(trained.state_dict()) - 2
    assert all(torch.equal(value, trained.state_dict()[key]) for key, value in body.items())
    assert other.num_classes == classes


def test_checkpoint_of_other_classes_is_an_error_where_none_are_asked_for(tmp_path):
    save_file(small(num_classes=5).state_dict(), tmp_path / "five.safetensors")
    with pytest.raises(LoadError, match=r"'head.fc.weight' is \(5, 288\), expected \(400, 288\)"):
        small(checkpoint_path=tmp_path / "five.safetensors")


def test_two_sources_of_weights_are_refused(tmp_path):
    name = next(iter(WEIGHTS()))
    with pytest.raises(ValueError, match="two sources of weights"):
        create_model(name, pretrained=True, checkpoint_path=tmp_path / "x.safetensors")


def test_list_models_takes_wildcards_and_sorts_r50_before_r101():
    assert list_models("slowfast_r*_8x8*") == ["slowfast_r50_8x8", "slowfast_r101_8x8", "slowfast_r101_8x8_t50"]
    assert list_models("slowfast_nl_*") == [
        "slowfast_nl_det_r101_8x8_t50",
        "slowfast_nl_det_r101_16x8",
        "slowfast_nl_r50_4x16",
        "slowfast_nl_r50_8x8",
        "slowfast_nl_r101_8x8_t50",
        "slowfast_nl_r101_16x8",
    ]
    assert sorted(list_models()) == sorted(ARCHS)
    assert list_models("nothing*") == []


def test_pretrained_names_are_row_and_tag():
    assert sorted(list_models(pretrained=True)) == sorted(WEIGHTS())


@pytest.mark.usefixtures("_own_names")
def test_registered_row_is_built_and_listed():
    register_model("tiny_slow", ResNet3DArch(depth=14, width=8, num_classes=3))
    assert "tiny_slow" in list_models()
    assert create_model("tiny_slow")(torch.randn(1, 3, 2, 32, 32)).shape == (1, 3)


@pytest.mark.usefixtures("_own_names")
@pytest.mark.parametrize(
    ("name", "arch", "error", "says"),
    [
        ("slowfast_r50_8x8", ResNet3DArch(), ValueError, "'slowfast_r50_8x8' is taken"),
        ("My-Net", ResNet3DArch(), ValueError, "lower-case letters, digits and underscores; got 'My-Net'"),
        ("my_net", {"depth": 50}, TypeError, "takes a SlowFastArch or a ResNet3DArch; got dict"),
    ],
)
def test_register_model_refuses(name: str, arch: object, error: type[Exception], says: str):
    with pytest.raises(error, match=says):
        register_model(name, arch)


TIMM = """
import sys, slowfast_hub
slowfast_hub.create_model("slowfast_r50_4x16", depth=14, width=8)
assert "timm" not in sys.modules, "importing the package and building a network imported timm"
slowfast_hub.register_timm()
slowfast_hub.register_timm()
import timm, torch
with torch.device("meta"):
    model = timm.create_model("slowfast_r50_8x8", num_classes=5)
    assert model(torch.empty(1, 3, 32, 64, 64)).shape == (1, 5)
    assert timm.create_model("slowfast_r50_8x8").num_classes == 400
assert type(model).__module__ == "slowfast_hub.models.slowfast" and not model.training
assert timm.create_model("slow_r50_8x8", depth=14, width=8, dropout=0.25).head.dropout.p == 0.25
assert set(slowfast_hub.list_models()) <= set(timm.list_models())
assert timm.list_models("slowfast_r50*") == ["slowfast_r50_4x16", "slowfast_r50_8x8", "slowfast_r50_16x8"]
assert set(timm.list_models("slow*", pretrained=True)) == set(slowfast_hub.list_models("slow*", pretrained=True))
assert timm.get_pretrained_cfg("slowfast_r50_8x8").tag == "fair_k400", "the first record of a row is timm's default"
config = timm.get_pretrained_cfg("slowfast_r50_16x8.fair_charades")
assert config.num_classes == len(config.label_names) == 157
small = timm.create_model("slowfast_r14_4x16_w16.hub_actions16", pretrained=True, num_classes=5)
assert small.get_classifier().out_features == 5
ours = slowfast_hub.create_model("slowfast_r14_4x16_w16", pretrained=True)
assert torch.equal(small.slow.stem.conv1.conv.weight, ours.slow.stem.conv1.conv.weight)
with torch.device("meta"):
    assert timm.create_model("slowfast_r50_8x8.mm_k400").arch.lateral_norm is False
assert "resnet50" in timm.list_models() and timm.is_model("slowfast_r50_8x8")
try:
    timm.create_model("slowfast_nl_r50_8x8", pretrained=True)
except LookupError as error:
    assert "no published file of weights" in str(error)
else:
    raise AssertionError("pretrained=True without weights passed")
"""


def test_timm_knows_the_names_after_one_call():
    done = subprocess.run([sys.executable, "-c", TIMM], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
