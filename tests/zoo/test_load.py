"""A file of weights goes into a network whole or not at all."""

import pickle
import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from slowfast_hub.models import SlowFast
from slowfast_hub.spec import RoISpec
from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.describe import Description, to_header
from slowfast_hub.zoo.load import LoadError, load_weights


def small(num_classes: int = 5, seed: int = 0) -> SlowFast:
    torch.manual_seed(seed)
    return create_model("slowfast_r50_4x16", depth=14, width=8, num_classes=num_classes)


def saved(path, tensors: dict[str, Tensor]):
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    return path


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return small(seed=1).state_dict()


def unchanged(model: SlowFast) -> bool:
    fresh = small().state_dict()
    return all(torch.equal(value, fresh[key]) for key, value in model.state_dict().items())


def test_all_tensors_are_taken_and_reported(tmp_path, weights):
    model, path = small(), saved(tmp_path / "w.safetensors", weights)
    report = load_weights(model, path)
    assert report.source == str(path)
    assert report.loaded == tuple(sorted(weights))
    assert report.new == ()
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_new_head_keeps_the_fresh_classifier_and_names_its_two_tensors(tmp_path, weights):
    model = small(num_classes=7)
    before = model.head.fc.weight.clone()
    report = load_weights(model, saved(tmp_path / "w.safetensors", weights), new_head=True)
    assert sorted(report.new) == ["head.fc.bias", "head.fc.weight"]
    assert len(report.loaded) == len(weights) - 2
    assert torch.equal(model.head.fc.weight, before)
    assert torch.equal(model.slow.stem.conv1.conv.weight, weights["slow.stem.conv1.conv.weight"])


def test_renamed_tensor_is_an_error_that_names_both_keys_and_changes_nothing(tmp_path, weights):
    weights["slow.stem.conv1.conv.wight"] = weights.pop("slow.stem.conv1.conv.weight")
    model = small()
    with pytest.raises(LoadError) as error:
        load_weights(model, saved(tmp_path / "w.safetensors", weights))
    assert "missing 'slow.stem.conv1.conv.weight'" in str(error.value)
    assert "unknown 'slow.stem.conv1.conv.wight'" in str(error.value)
    assert unchanged(model)


def test_other_shape_is_an_error_with_both_shapes_and_changes_nothing(tmp_path, weights):
    model = small(num_classes=7)
    with pytest.raises(LoadError, match=r"'head.fc.weight' is \(5, 288\), expected \(7, 288\)"):
        load_weights(model, saved(tmp_path / "w.safetensors", weights))
    weights["slow.stem.conv1.norm.weight"] = torch.ones(9)
    model = small()
    with pytest.raises(LoadError, match=r"'slow.stem.conv1.norm.weight' is \(9,\), expected \(8,\)"):
        load_weights(model, saved(tmp_path / "w.safetensors", weights), new_head=True)
    assert unchanged(model)


def test_new_head_forgives_nothing_but_the_classifier(tmp_path, weights):
    del weights["fast.stem.conv1.norm.bias"]
    with pytest.raises(LoadError, match=r"missing 'fast.stem.conv1.norm.bias'"):
        load_weights(small(), saved(tmp_path / "w.safetensors", weights), new_head=True)


def test_integers_in_place_of_floats_are_an_error(tmp_path, weights):
    weights["head.fc.bias"] = torch.zeros(5, dtype=torch.long)
    with pytest.raises(LoadError, match=r"'head.fc.bias' is torch.int64, expected torch.float32"):
        load_weights(small(), saved(tmp_path / "w.safetensors", weights))


def test_error_about_another_network_is_five_lines_long_at_most(tmp_path, weights):
    with pytest.raises(LoadError, match=r"and \d+ more") as error:
        load_weights(create_model("slow_r50_8x8", depth=14, width=8), saved(tmp_path / "w.safetensors", weights))
    assert str(error.value).count(";") == 5


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(tmp_path, weights, kind: torch.dtype):
    model = small()
    narrow = {key: value.to(kind) if value.is_floating_point() else value for key, value in weights.items()}
    load_weights(model, saved(tmp_path / "w.safetensors", narrow))
    loaded = model.state_dict()
    assert {loaded[key].dtype for key in loaded if not key.endswith("num_batches_tracked")} == {torch.float32}
    assert all(torch.equal(loaded[key], narrow[key].to(loaded[key].dtype)) for key in loaded)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pkl"])
def test_pickle_is_refused_whatever_its_name(tmp_path, weights, name: str):
    torch.save(weights, tmp_path / name)
    with pytest.raises(LoadError, match="only safetensors are opened"):
        load_weights(small(), tmp_path / name)


class Trap:
    """Unpickling this would run code."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_code_in_a_pickle_does_not_run(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(LoadError, match="not a whole safetensors file"):
        load_weights(small(), tmp_path / "w.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated_file_is_refused_and_changes_nothing(tmp_path, weights, kept: int):
    path = saved(tmp_path / "w.safetensors", weights)
    path.write_bytes(path.read_bytes()[:kept])
    model = small()
    with pytest.raises(LoadError, match="not a whole safetensors file"):
        load_weights(model, path)
    assert unchanged(model)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.safetensors: no such file of weights"):
        load_weights(small(), tmp_path / "nowhere.safetensors")


def test_a_file_of_another_network_with_the_same_tensors_is_loaded_with_a_warning(tmp_path):
    """RoIAlign has no tensors: nothing else would tell that a converted detector wants another one."""
    small = {"depth": 14, "width": 8, "num_classes": 3}
    made = create_model("slowfast_det_r50_8x8", **small, roi=RoISpec(grid=8, aligned=True))
    save_file(
        made.state_dict(), tmp_path / "made.safetensors", to_header(Description("slowfast_det_r50_8x8", made.arch))
    )
    other = create_model("slowfast_det_r50_8x8", **small)
    with pytest.warns(UserWarning, match=r"written for a network with roi=.*'grid': 8.*checkpoint_path"):
        load_weights(other, tmp_path / "made.safetensors")
    same = create_model("slowfast_det_r50_8x8", checkpoint_path=tmp_path / "made.safetensors")
    assert same.arch.roi == RoISpec(grid=8, aligned=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_weights(same, tmp_path / "made.safetensors")
