"""A file that describes its network brings it along, and is refused under another name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from slowfast_hub.models import VideoModel
from slowfast_hub.spec import ClipSpec, SlowFastArch
from slowfast_hub.zoo.create import create_model, from_pretrained
from slowfast_hub.zoo.describe import Description, from_json, read_header, to_header, to_json
from slowfast_hub.zoo.hub import save_pretrained
from slowfast_hub.zoo.load import LoadError
from slowfast_hub.zoo.save import save_tensors

CLIP = ClipSpec(frames=16, stride=3, fps=None, short_side=96, crop=96, mean=(0.5, 0.5, 0.5))
LABELS = ("run", "walk", 'say "no"')


@pytest.fixture
def trained(tmp_path) -> tuple[VideoModel, str]:
    """A small network that differs from its row in everything that matters, and its file."""
    torch.manual_seed(0)
    model = create_model(
        "slowfast_r50_4x16",
        depth=14,
        width=8,
        num_classes=3,
        alpha=4,
        slow_rule="strided",
        pool="window_probs",
        activation="sigmoid",
        clip=CLIP,
        nonlocal_at=((), (0,), (), ()),
    )
    described = Description("slowfast_r50_4x16", model.arch, LABELS, {"license": "MIT"})
    path = save_tensors(model.state_dict(), tmp_path / "w.safetensors", metadata=to_header(described))
    return model, str(path)


def test_file_rebuilds_its_network_clip_slow_rule_and_labels(trained):
    model, path = trained
    again = create_model("slowfast_r50_4x16", checkpoint_path=path)
    assert again.arch == model.arch
    assert again.labels == LABELS
    clips = torch.randn(1, 3, 16, 64, 64)
    assert torch.equal(again(clips), model(clips))


def test_changes_and_other_classes_still_apply(trained):
    _, path = trained
    other = create_model("slowfast_r50_4x16", checkpoint_path=path, num_classes=7, dropout=0.0)
    assert other.get_classifier().out_features == 7
    assert other.get_classifier().weight.detach().std() == pytest.approx(
        0.01, rel=0.2
    )  # fresh, and not on the meta device
    assert other.labels == ()
    assert other.arch.dropout == 0.0
    assert other.arch.clip == CLIP


def test_file_of_another_row_is_refused_by_name(trained):
    _, path = trained
    with pytest.raises(ValueError, match=r"is a slowfast_r50_4x16, not a slow_r50_8x8"):
        create_model("slow_r50_8x8", checkpoint_path=path)


def test_description_survives_json(trained):
    model, _ = trained
    described = Description("slowfast_r50_4x16.mine", model.arch, LABELS, {"url": "https://a"})
    assert from_json(to_json(described)) == described


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"family": "ViT"}, "family is one of SlowFast, ResNet3D; got 'ViT'"),
        ({"labels": ["a"]}, "has 400 classes and 1 labels"),
        ({"arch": {"depth": 51}}, "depth must be one of"),
        ({"arch": {"colour": 1}}, "SlowFast has no field colour: written by a newer slowfast_hub"),
        ({"arch": {"clip": {"frames": "many"}}}, "frames must be a whole number"),
        ({"arch": {"width": 10**12}}, "width may be at most 1000000"),
        ({"arch": {"num_classes": True}}, "num_classes must be a whole number"),
        ({"arch": {"temporal_kernels": [[10**20 + 1], [1], [1], [1], [1]]}}, "odd sizes"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_header_that_describes_no_network_is_a_load_error(tmp_path, change: dict, says: str):
    import json

    record = to_json(Description("slowfast_r50_4x16", SlowFastArch())) | change
    path = save_tensors(
        {"a": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={"slowfast_hub": json.dumps(record)}
    )
    with pytest.raises(LoadError, match=says):
        read_header(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"name": 1}', "[" * 100_000], ids=lambda text: text[:9])
def test_header_of_nonsense_is_a_load_error(tmp_path, text: str):
    path = save_tensors({"a": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={"slowfast_hub": text})
    with pytest.raises(LoadError, match="does not describe a network"):
        read_header(path)


def test_names_of_the_hub_and_of_folders_are_sources(trained, tmp_path):
    with pytest.raises(ValueError, match="write 'hf-hub:org/name' or 'local-dir:org/name'"):
        create_model("org/name")
    with pytest.raises(ValueError, match="two sources of weights"):
        create_model(f"local-dir:{tmp_path}", checkpoint_path=trained[1])


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"name": None}, TypeError, "a name is a str"),
        ({"name": "slowfast_r50_8x8", "pretrained": "fair_k400"}, TypeError, "slowfast_r50_8x8.TAG; got 'fair_k400'"),
        ({"name": "slowfast_r50_8x8."}, LookupError, "no weights called 'slowfast_r50_8x8.'"),
        ({"name": "slowfast_r50_8x8", "lateral_norm": "yes"}, ValueError, "lateral_norm must be True or False"),
    ],
    ids=str,
)
def test_arguments_of_another_kind_are_refused(arguments: dict, error: type[Exception], says: str):
    with pytest.raises(error, match=says):
        create_model(**arguments)


def test_a_tag_beside_a_file_that_describes_itself_is_refused(trained, tmp_path):
    with pytest.raises(ValueError, match="describes its network itself"):
        create_model("slowfast_r50_4x16.fair_k400", checkpoint_path=trained[1])


def test_a_folder_in_the_place_of_a_name_is_pointed_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net").mkdir()
    with pytest.raises(ValueError, match="a folder is 'local-dir:net'"):
        create_model("net")


@pytest.mark.parametrize("classes", [5, 7, 11])
@pytest.mark.parametrize("row", ["slow_r50_4x16", "slowfast_r14_4x16_w16"])
@torch.inference_mode()
def test_a_network_from_a_file_answers_with_the_same_bits(tmp_path, row: str, classes: int):
    """Whatever its number of classes: a bias of an odd size moves nothing."""
    torch.manual_seed(classes)
    model = create_model(row, num_classes=classes)
    torch.nn.init.normal_(model.get_classifier().weight)
    again = from_pretrained(save_pretrained(model, tmp_path / "net"))
    clips = torch.randn(1, 3, model.arch.clip.frames, 64, 64)
    assert torch.equal(again(clips), model(clips))


@torch.inference_mode()
def test_a_file_of_another_writer_answers_with_the_same_bits(tmp_path):
    model = create_model("slow_r50_4x16", num_classes=11)
    torch.nn.init.normal_(model.get_classifier().weight)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    again = create_model("slow_r50_4x16", num_classes=11, checkpoint_path=tmp_path / "w.safetensors")
    clips = torch.randn(1, 3, 4, 64, 64)
    assert torch.equal(again(clips), model(clips))


def test_training_a_loaded_network_leaves_its_file_alone(tmp_path, trained):
    before = Path(trained[1]).read_bytes()
    model = create_model("slowfast_r50_4x16", checkpoint_path=trained[1])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert Path(trained[1]).read_bytes() == before


def test_a_header_of_many_megabytes_is_refused_before_it_is_parsed(tmp_path):
    header = b'{"__metadata__":{"slowfast_hub":"' + b"0," * (3 << 20) + b'"}}'
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"x")
    with pytest.raises(LoadError, match=r"a header of .* bytes; expected at most 4194304"):
        create_model("slowfast_r50_4x16", checkpoint_path=path)


def test_new_classifier_under_a_device_of_the_users_is_where_the_network_is():
    with torch.device("meta"):
        model = create_model("slowfast_r14_4x16_w16", pretrained=True, num_classes=5)
    assert not model.get_classifier().weight.is_meta
