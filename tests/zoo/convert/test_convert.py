"""From a checkpoint to a file that rebuilds its network: one to one, every leftover explained, nothing guessed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from golden import read_golden
from torch import Tensor

from slowfast_hub.models import build
from slowfast_hub.spec import Arch, RoISpec, SlowFastArch
from slowfast_hub.zoo import registry
from slowfast_hub.zoo.convert import ConvertError, convert, convert_file, export_pytorchvideo, to_pytorchvideo
from slowfast_hub.zoo.convert.rename import LAYOUTS, rename
from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.describe import read_header
from slowfast_hub.zoo.manifest import WEIGHTS, arch_changes
from slowfast_hub.zoo.registry import ARCHS, override, weights_info

SMALL = {"depth": 14, "width": 8}


def filled(arch: Arch, seed: int = 0) -> dict[str, Tensor]:
    """The state dict of a network with a value of its own in every tensor."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in build(arch).state_dict().items()}
    random = torch.Generator().manual_seed(seed)
    return {
        key: torch.tensor(7) if key.endswith("tracked") else torch.rand(shape, generator=random)
        for key, shape in shapes.items()
    }


def theirs(ours: dict[str, Tensor], layout: str, *, table: int) -> dict[str, Tensor]:
    """The same tensors under another project's names."""
    kind = LAYOUTS[layout]
    return {kind.theirs(kind.tables[table], key): value for key, value in ours.items()}


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of small networks, so that a test takes milliseconds."""
    small = {
        "slowfast_r14_4x16": SlowFastArch(**SMALL),
        "slow_r14_8x8": override("slow", ARCHS["slow_r50_8x8"], SMALL),
        "i3d_r14_8x8": override("i3d", ARCHS["i3d_r50_8x8"], SMALL),
    }
    for name, arch in small.items():
        monkeypatch.setitem(registry.ARCHS, name, arch)


SLOWFAST = SlowFastArch(**SMALL, num_classes=5)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_converts_to_the_same_tensors(layout: str):
    ours = filled(SLOWFAST)
    given = theirs(ours, layout, table=0)
    if layout == "mmaction2":  # its classifier has the 32 Fast features first
        key = "cls_head.fc_cls.weight"
        given[key] = torch.cat([given[key][:, 256:], given[key][:, :256]], dim=1)
    if layout == "caffe2":
        given = {key.replace("*", "0"): value for key, value in given.items() if not key.endswith("tracked")}
    made = convert(given, arch="slowfast_r14_4x16")
    assert made.description.arch.num_classes == 5
    for key, value in ours.items():
        expected = torch.tensor(0) if layout == "caffe2" and key.endswith("tracked") else value
        assert torch.equal(made.tensors[key], expected), key
    assert {ours for _, ours in made.report.mapping} <= set(ours)
    assert len(made.report.mapping) == len(given)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("wrapper", ["module.", "model.", "module.model.", "_orig_mod."])
def test_wrappers_are_taken_off(wrapper: str):
    ours = filled(SLOWFAST)
    given = {wrapper + key: value for key, value in theirs(ours, "pyslowfast", table=0).items()}
    made = convert(given, arch="slowfast_r14_4x16")
    assert torch.equal(made.tensors["head.fc.weight"], ours["head.fc.weight"])
    assert all(key.startswith(wrapper) for key, _ in made.report.mapping)


@pytest.mark.usefixtures("_small")
def test_sub_batch_norm_keeps_the_statistics_of_the_whole_and_explains_the_rest():
    ours = filled(SLOWFAST)
    given = {}
    for key, value in theirs(ours, "pyslowfast", table=0).items():
        module, _, leaf = key.rpartition(".")
        if leaf.startswith("running") or leaf.endswith("tracked"):
            given[f"{module}.bn.{leaf}"] = value
            given[f"{module}.split_bn.{leaf}"] = torch.zeros(value.numel() * 2)
        else:
            given[key] = value.reshape(-1, 1, 1, 1) if value.ndim == 1 and "_bn" in module else value
    made = convert(given, arch="slowfast_r14_4x16")
    assert all(torch.equal(made.tensors[key], value) for key, value in ours.items())
    reasons = {reason for _, reason in made.report.dropped}
    assert reasons == {"statistics of parts of a batch, which only training uses"}
    assert any("axes of size 1" in note for note in made.report.notes)


@pytest.mark.usefixtures("_small")
def test_mmaction2_averaging_and_pixels_are_left_out_with_a_reason():
    given = theirs(filled(SLOWFAST), "mmaction2", table=0)
    given |= {
        "ema_backbone_slow_path_conv1_conv_weight": torch.zeros(1),
        "data_preprocessor.mean": torch.zeros(3),
        "data_preprocessor.std": torch.ones(3),
    }
    made = convert(given, arch="slowfast_r14_4x16")
    assert [key for key, _ in made.report.dropped] == list(given)[-3:]
    assert "the classifier's first 32 columns, of the Fast features, are put last" in made.report.notes
    assert made.description.arch.slow_rule == "strided"
    assert made.description.arch.clip.fps is None


@pytest.mark.usefixtures("_small")
def test_an_unknown_key_is_named_with_its_shape():
    given = theirs(filled(SLOWFAST), "pyslowfast", table=0) | {"s7.surprise.weight": torch.zeros(3)}
    with pytest.raises(ConvertError, match=r"pyslowfast names that have no place .*'s7.surprise.weight' \(3,\)"):
        convert(given)


@pytest.mark.usefixtures("_small")
def test_a_missing_key_is_named_in_both_languages():
    given = theirs(filled(SLOWFAST), "pyslowfast", table=0)
    del given["s3.pathway1_res0.branch2.b_bn.running_var"]
    says = r"missing 's3.pathway1_res0.branch2.b_bn.running_var' \(here 'fast.res3.0.b.norm.running_var'\)"
    with pytest.raises(ConvertError, match=says):
        convert(given, arch="slowfast_r14_4x16")


@pytest.mark.usefixtures("_small")
def test_another_shape_is_named_with_both():
    given = theirs(filled(SLOWFAST), "pyslowfast", table=0)
    given["s1.pathway0_stem.conv.weight"] = torch.zeros(8, 3, 3, 7, 7)
    with pytest.raises(
        ConvertError, match=r"'s1.pathway0_stem.conv.weight' .* is \(8, 3, 3, 7, 7\), expected \(8, 3, 1, 7"
    ):
        convert(given, arch="slowfast_r14_4x16")


@pytest.mark.usefixtures("_small")
def test_axes_of_size_1_in_other_places_are_another_shape():
    given = theirs(filled(SLOWFAST), "pyslowfast", table=0)
    key = "s1.pathway0_stem.conv.weight"
    given[key] = given[key].permute(0, 1, 3, 4, 2)
    with pytest.raises(ConvertError, match=r"is \(8, 3, 7, 7, 1\), expected \(8, 3, 1, 7, 7\)"):
        convert(given, arch="slowfast_r14_4x16")


def test_a_file_in_our_own_names_needs_no_conversion():
    with pytest.raises(ConvertError, match="own names: there is nothing to convert"):
        convert(filled(SLOWFAST))


@pytest.mark.usefixtures("_small")
def test_two_names_for_one_tensor_are_refused():
    given = theirs(filled(SLOWFAST), "pyslowfast", table=0)
    with pytest.raises(ConvertError, match="one tensor without their wrappers"):
        convert(given | {f"module.{key}": value for key, value in given.items()})


def test_names_of_no_project_are_said():
    with pytest.raises(ConvertError, match=r"names of no layout known here .*; the first are 'encoder.0.w'"):
        convert({"encoder.0.w": torch.zeros(1)})


def test_a_network_without_a_row_says_what_it_has():
    with pytest.raises(ConvertError, match=r"a network that no row of list_models.. has: 2-2-2-2 blocks, 5 classes"):
        convert(theirs(filled(override("x", SLOWFAST, {"depth": 26})), "pyslowfast", table=0))


def test_a_choice_is_left_to_the_user():
    given = theirs(filled(ARCHS["slow_r50_8x8"]), "pyslowfast", table=1)
    with pytest.raises(ConvertError, match="fit slow_r50_4x16 and slow_r50_8x8; say which: --arch slow_r50_4x16"):
        convert(given)
    assert convert(given, arch="slow_r50_8x8.fair_k400").description.name == "slow_r50_8x8.fair_k400"
    assert convert(given, arch="slow_r50_4x16").description.arch.clip.frames == 4


def test_classes_of_ones_own_keep_the_network_and_lose_the_labels():
    arch = override("x", ARCHS["slowfast_r50_8x8"], {"num_classes": 5})
    made = convert(theirs(filled(arch), "pytorchvideo", table=0), arch="slowfast_r50_8x8")
    assert made.description.arch == override(
        "x", arch, arch_changes(weights_info("slowfast_r50_8x8.ptv_k400")) | {"num_classes": 5, "activation": "softmax"}
    )
    assert made.description.labels == ()
    (note,) = made.report.notes
    assert note.startswith("not in the tensors, taken from slowfast_r50_8x8: clip=32 x 2 (stride) at 30 fps, 256 px")
    assert len(convert(theirs(filled(ARCHS["slowfast_r50_8x8"]), "pytorchvideo", table=0)).description.labels) == 400


def test_unknown_arch_gives_the_near_match():
    with pytest.raises(ValueError, match="did you mean 'slow_r50_8x8'"):
        convert(theirs(filled(ARCHS["slow_r50_8x8"]), "pyslowfast", table=1), arch="slow_r50_8x9")


@pytest.mark.usefixtures("_small")
def test_half_precision_is_widened_and_said():
    ours = {key: value.half() if value.is_floating_point() else value for key, value in filled(SLOWFAST).items()}
    made = convert(theirs(ours, "pyslowfast", table=0), arch="slowfast_r14_4x16")
    assert all(value.dtype in (torch.float32, torch.long) for value in made.tensors.values())
    assert any("became float32" in note for note in made.report.notes)
    assert torch.equal(made.tensors["head.fc.bias"], ours["head.fc.bias"].float())


@pytest.mark.usefixtures("_small")
def test_input_is_not_changed():
    given = theirs(filled(SLOWFAST), "mmaction2", table=0)
    before = {key: value.clone() for key, value in given.items()}
    convert(given, arch="slowfast_r14_4x16")
    assert given.keys() == before.keys()
    assert all(torch.equal(given[key], value) for key, value in before.items())


@pytest.mark.usefixtures("_small")
def test_file_rebuilds_its_network_and_remembers_its_origin(tmp_path: Path):
    ours = filled(SLOWFAST)
    torch.save({"model_state": theirs(ours, "pyslowfast", table=0), "cfg": "x"}, tmp_path / "in.pyth")
    origin = {"url": "https://a/in.pyth", "sha256": "0" * 64}
    report = convert_file(tmp_path / "in.pyth", tmp_path / "out.safetensors", arch="slowfast_r14_4x16", origin=origin)
    assert (report.layout, report.name) == ("pyslowfast", "slowfast_r14_4x16")
    assert read_header(tmp_path / "out.safetensors").origin == origin
    model = create_model("slowfast_r14_4x16", checkpoint_path=tmp_path / "out.safetensors")
    assert model.arch.pool == "window_probs"
    assert all(torch.equal(value, ours[key]) for key, value in model.state_dict().items())


@pytest.mark.usefixtures("_small")
def test_no_file_is_left_when_it_does_not_fit(tmp_path: Path):
    given = theirs(filled(SLOWFAST), "pyslowfast", table=0)
    del given["head.projection.bias"]
    torch.save(given, tmp_path / "in.pyth")
    with pytest.raises(ConvertError, match=r"in.pyth: .*head.projection.bias"):
        convert_file(tmp_path / "in.pyth", tmp_path / "out.safetensors", arch="slowfast_r14_4x16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pyth"]


def test_a_file_that_is_not_its_record_is_refused(tmp_path: Path):
    torch.save(theirs(filled(ARCHS["slow_r50_8x8"]), "pyslowfast", table=1), tmp_path / "in.pyth")
    with pytest.raises(ConvertError, match=r"slowfast_r50_4x16.fair_k400 has two pathways, the file has one"):
        convert_file(tmp_path / "in.pyth", tmp_path / "o", weights=weights_info("slowfast_r50_4x16.fair_k400"))
    with pytest.raises(ConvertError, match=r"pyslowfast tensors; slow_r50_8x8.ptv_k400 comes as pytorchvideo"):
        convert_file(tmp_path / "in.pyth", tmp_path / "o", weights=weights_info("slow_r50_8x8.ptv_k400"))


@pytest.mark.parametrize(
    "row", ["slowfast_r50_8x8", "slow_r50_8x8", "i3d_r50_8x8", "slowfast_det_r50_8x8", "slow_det_r50_4x16"]
)
def test_back_to_pytorchvideo_is_exact(tmp_path: Path, row: str):
    ours = filled(ARCHS[row])
    original = {to_pytorchvideo(key, ARCHS[row]): value for key, value in ours.items()}
    torch.save({"model_state": original}, tmp_path / "a.pyth")
    convert_file(tmp_path / "a.pyth", tmp_path / "b.safetensors", arch=row)
    for source in ("b.safetensors", "a.pyth"):
        export_pytorchvideo(tmp_path / source, tmp_path / "c.pyth", arch=row)
        back = torch.load(tmp_path / "c.pyth", weights_only=True)["model_state"]
        assert back.keys() == original.keys()
        assert all(torch.equal(back[key], value) for key, value in original.items())


def test_back_to_pytorchvideo_in_the_names_its_own_networks_have(shared: Path):
    for name, row in (("ptv_slowfast_r50", "slowfast_r50_8x8"), ("ptv_i3d_r50", "i3d_r50_8x8")):
        keys = {entry["name"] for entry in read_golden(shared / "golden", name).record["keys"]}
        assert {to_pytorchvideo(key, ARCHS[row]) for key in filled(ARCHS[row])} == keys


@pytest.mark.parametrize(
    ("row", "changes", "says"),
    [
        ("slow_nl_r50_8x8", {}, "no network with non-local blocks"),
        ("slowfast_r50_8x8", {"lateral_norm": False}, "lateral connections have no batch norm"),
        ("slowfast_r14_4x16_w16", {}, "Fast pathway sees diff"),
        ("i3d_r50_32x2", {}, r"temporal strides \(2, 2\) in the stem"),
        ("c2d_r50_8x8", {"stem_padding": 0}, "without padding in the stem"),
        ("c2d_r50_8x8", {"temporal_pool": 1}, "without a pool over time"),
        ("slow_det_r50_8x8", {"roi": RoISpec(grid=8, dilation=1)}, "no network with RoISpec"),
    ],
)
def test_what_pytorchvideo_does_not_have_is_refused(row: str, changes: dict, says: str):
    with pytest.raises(ConvertError, match=says):
        to_pytorchvideo("head.fc.weight", override(row, ARCHS[row], changes))


def test_caffe2_file_of_the_published_network_gives_the_same_tensors(shared: Path):
    """The blob names of the golden record, from names alone (values are compared in test_golden)."""
    record = read_golden(shared / "golden", "pysf_SLOWFAST_4x16_R50").record
    shapes = {entry["name"]: entry["shape"] for entry in record["keys"]}
    blobs = {blob: torch.rand(shapes[name]) for name, blob in record["caffe2_blobs"].items()}
    blobs |= {"conv1_w_momentum": torch.zeros(1), "lr": torch.zeros(1), "model_iter": torch.zeros(1)}
    blobs["pred_w"] = blobs["pred_w"].reshape(400, 2304, 1, 1, 1)
    made = convert(blobs)
    assert made.report.layout == "caffe2"
    assert made.report.name == "slowfast_r50_4x16"
    assert made.description.arch.pool == "window_probs"
    assert len(made.report.dropped) == 3
    names = {blob: name for name, blob in record["caffe2_blobs"].items()}
    renamed = rename({names[blob]: blobs[blob] for blob in names}).tensors
    assert all(torch.equal(made.tensors[key], value.reshape(made.tensors[key].shape)) for key, value in renamed.items())


@pytest.mark.parametrize("name", [name for name, info in WEIGHTS().items() if info.origin.url])
def test_a_file_in_the_layout_of_each_record_would_be_taken(name: str):
    """Every record's network has a name in its layout for every tensor, and comes back as that record."""
    from slowfast_hub.zoo.convert.infer import fits

    info = WEIGHTS()[name]
    arch = override(info.arch, ARCHS[info.arch], arch_changes(info))
    with torch.device("meta"):
        ours = dict(build(arch).state_dict())
    for layout_name in info.origin.layouts:
        layout = LAYOUTS[layout_name.removesuffix("_wrapped")]
        keys = [key for key in ours if layout_name != "caffe2" or not key.endswith("tracked")]
        if layout_name == "caffe2":
            continue  # names of blobs depend on the depth; test_names has them
        table = max(layout.tables, key=lambda names: sum("no name" not in layout.theirs(names, key) for key in keys))
        given = {layout.theirs(table, key): ours[key] for key in keys}
        assert not [key for key in given if key.startswith("no name")]
        if arch.roi is not None and layout_name == "mmaction2":
            given = {key.replace("cls_head.fc_cls", "roi_head.bbox_head.fc_cls"): value for key, value in given.items()}
            for leaf in ("weight", "bias"):
                head = f"roi_head.bbox_head.fc_cls.{leaf}"
                given[head] = torch.empty((81, *given[head].shape[1:]), device="meta")
        if arch.roi is not None and layout_name == "pytorchvideo":
            given = {
                key.replace("blocks.6.proj", "detection_head.proj").replace(
                    "blocks.5.proj", "detection_head.proj"
                ): value
                for key, value in given.items()
            }
        if layout_name.endswith("_wrapped"):
            given = {f"model.{key}": value for key, value in given.items()}
        found = rename(given)
        assert found.layout.name == layout_name
        assert fits(found, arch)


def test_what_the_tensors_do_not_show_is_asked_where_record_and_row_differ():
    """PySlowFast's published C2D has no pool over time; its configuration today has one."""
    given = theirs(filled(ARCHS["c2d_r50_8x8"]), "pyslowfast", table=1)
    with pytest.raises(ConvertError, match=r"fit c2d_r50_8x8.fair_k400 and c2d_r50_8x8; say which"):
        convert(given)
    assert convert(given, arch="c2d_r50_8x8").description.arch.temporal_pool == 2
    assert convert(given, arch="c2d_r50_8x8.fair_k400").description.arch.temporal_pool == 1


def test_a_published_network_with_classes_of_ones_own_is_chosen_by_its_tag():
    tag = "i3d_nl_r50_32x2.mm_k400_dot"
    arch = override(tag, ARCHS["i3d_nl_r50_32x2"], arch_changes(weights_info(tag)) | {"num_classes": 5})
    given = theirs(filled(arch), "mmaction2", table=1)
    with pytest.raises(ConvertError, match=f"{tag} and i3d_nl_r50_32x2.mm_k400_eg"):
        convert(given)
    made = convert(given, arch=tag)
    assert made.description.arch.nonlocal_kind == "dot_product"
    assert made.description.labels == ()
    assert f"{tag} has 400 classes" in made.report.notes


def test_eighty_outputs_of_pyslowfast_are_taken_for_a_detector_and_that_is_said():
    arch = override("x", ARCHS["slowfast_r50_8x8"], {"num_classes": 80})
    made = convert(theirs(filled(arch), "pyslowfast", table=0))
    assert made.report.name == "slowfast_det_r50_8x8"
    assert "roi=RoISpec(grid=7, aligned=True" in made.report.notes[-1]
    assert convert(theirs(filled(arch), "pyslowfast", table=0), arch="slowfast_r50_8x8").description.arch.roi is None


@pytest.mark.parametrize("key", ["laterals.0.fuse.conv.weight", "fast.stem.conv1.conv.weight", "head.fc.weight"])
@pytest.mark.parametrize("arch", [None, "slowfast_r50_4x16", "slowfast_r50_4x16.fair_k400"])
def test_a_missing_key_is_named_whatever_was_asked_for(key: str, arch: str | None):
    ours = filled(ARCHS["slowfast_r50_4x16"])
    given = theirs({name: value for name, value in ours.items() if name != key}, "pyslowfast", table=0)
    name = LAYOUTS["pyslowfast"].theirs(LAYOUTS["pyslowfast"].tables[0], key)
    with pytest.raises(ConvertError, match=rf"{name}' \(here '{key}'\)"):
        convert(given, arch=arch)


def test_lateral_kernels_of_even_size_are_another_shape():
    given = theirs(filled(ARCHS["slowfast_r50_4x16"]), "pyslowfast", table=0)
    for stage in "1234":
        given[f"s{stage}_fuse.conv_f2s.weight"] = given[f"s{stage}_fuse.conv_f2s.weight"][:, :, :4]
    with pytest.raises(ConvertError, match=r"'s1_fuse.conv_f2s.weight' .* expected \(16, 8, 5, 1, 1\)"):
        convert(given, arch="slowfast_r50_4x16")


@pytest.mark.parametrize(
    ("wrapper", "pool"),
    [
        ("", "window_logits"),
        ("module.", "window_logits"),
        ("model.", "window_probs"),
        ("module.model.", "window_probs"),
    ],
)
def test_pyslowfasts_wrapper_around_pytorchvideo_averages_scores(wrapper: str, pool: str):
    given = theirs(filled(ARCHS["slowfast_r50_8x8"]), "pytorchvideo", table=0)
    assert convert({wrapper + key: value for key, value in given.items()}).description.arch.pool == pool


@pytest.mark.parametrize("kind", [torch.complex64, torch.int32])
def test_weights_that_are_no_floats_are_refused(kind: torch.dtype):
    given = theirs(filled(ARCHS["slowfast_r50_4x16"]), "pyslowfast", table=0)
    given["head.projection.bias"] = given["head.projection.bias"].to(kind)
    with pytest.raises(ConvertError, match=f"'head.projection.bias' holds {kind}; expected torch.float32"):
        convert(given, arch="slowfast_r50_4x16")


def test_no_tensors_are_said():
    with pytest.raises(ConvertError, match="no tensors at all"):
        convert({})


def test_arch_that_is_not_the_headers_is_refused(tmp_path: Path):
    torch.save(theirs(filled(ARCHS["slowfast_r50_4x16"]), "pyslowfast", table=0), tmp_path / "a.pyth")
    convert_file(tmp_path / "a.pyth", tmp_path / "b.safetensors", arch="slowfast_r50_4x16")
    with pytest.raises(ConvertError, match="its header says slowfast_r50_4x16, not i3d_r50_8x8"):
        export_pytorchvideo(tmp_path / "b.safetensors", tmp_path / "c.pyth", arch="i3d_r50_8x8")
    with pytest.raises(ValueError, match="pass one of them"):
        convert_file(tmp_path / "a.pyth", tmp_path / "d", arch="x", weights=weights_info("slow_r50_8x8.fair_k400"))


def test_labels_that_come_with_the_number_of_classes_are_said():
    arch = override("x", ARCHS["slow_r50_8x8"], {"num_classes": 174})
    made = convert(theirs(filled(arch), "pytorchvideo", table=1))
    assert len(made.description.labels) == 174
    assert "labels=Approaching something with your camera, " in made.report.notes[-1]


def test_gaussian_blocks_are_seen_where_the_published_files_have_others():
    tag = "slow_nl_r50_8x8.mm_k400"
    arch = override(tag, ARCHS["slow_nl_r50_8x8"], arch_changes(weights_info(tag)) | {"nonlocal_kind": "gaussian"})
    made = convert(theirs(filled(arch), "mmaction2", table=1), arch="slow_nl_r50_8x8")
    assert made.description.arch.nonlocal_kind == "gaussian"


def test_averaged_weights_alone_are_taken():
    ours = filled(SlowFastArch())
    given = theirs(ours, "mmaction2", table=0)
    made = convert({"steps": torch.tensor(3)} | {f"module.{key}": value for key, value in given.items()})
    assert [key for key, _ in made.report.dropped] == ["steps"]
    copies = {f"ema_{key.replace('.', '_')}": value for key, value in given.items()}
    assert len(convert(given | copies).report.dropped) == len(copies)
