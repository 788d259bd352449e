"""Every record of the manifest is true: its network builds, its recipe is complete, its source and licence are said."""

import hashlib
import json
import re
from dataclasses import fields
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from slowfast_hub.models import VideoModel
from slowfast_hub.spec import ClipSpec, Hosted, Origin, Reported, RoISpec, SlowFastArch, WeightsInfo
from slowfast_hub.zoo import manifest
from slowfast_hub.zoo.convert.rename import LAYOUTS
from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.fetch import weights_path
from slowfast_hub.zoo.load import load_weights
from slowfast_hub.zoo.manifest import WEIGHTS, arch_changes, find_weights, labels_of, record_from_json
from slowfast_hub.zoo.registry import ARCHS, find_arch, override

EMBEDDED = files("slowfast_hub") / "zoo" / "embedded"
RECORDS = json.loads((files("slowfast_hub") / "zoo" / "manifest.json").read_text(encoding="utf-8"))
DOCS = Path(__file__).resolve().parents[2] / "docs"
SOURCES = {
    "fair": "PySlowFast",
    "ptv": "PyTorchVideo|PySlowFast",
    "mm": "MMAction2",
    "gluon": "GluonCV",
    "hub": "train",
}

every_record = pytest.mark.parametrize("name", RECORDS)
shipped = pytest.mark.parametrize("name", [name for name, info in WEIGHTS().items() if info.hosted.sha256])


def info(**changes: object) -> WeightsInfo:
    given = {
        "name": "slow_r50_8x8.a",
        "arch": "slow_r50_8x8",
        "changes": {},
        "num_classes": 2,
        "labels": ("a", "b"),
        "activation": "softmax",
        "clip": ClipSpec(),
        "hosted": Hosted("a.safetensors"),
        "origin": Origin("x", "y"),
    }
    return WeightsInfo(**(given | changes))


@cache
def on_meta(name: str) -> VideoModel:
    with torch.device("meta"):
        return create_model(name)


def test_there_are_149_published_files_and_one_of_our_own():
    urls = [info.origin.url for info in WEIGHTS().values() if info.origin.url]
    assert len(RECORDS) == 150
    assert len(urls) == len(set(urls)) == 149


@every_record
def test_record_is_complete_and_has_no_field_of_its_own(name: str):
    record = RECORDS[name]
    known = {field.name for field in fields(WeightsInfo)} - {"name"}
    assert set(record) <= known
    assert known - set(record) <= {"reported", "measured"}
    assert set(record["clip"]) == {field.name for field in fields(ClipSpec)}  # with it alone the pixels are right
    for part, kind in (("hosted", Hosted), ("origin", Origin), ("reported", Reported)):
        assert set(record.get(part, {})) <= {field.name for field in fields(kind)}


@every_record
def test_name_is_a_row_and_a_tag_of_source_and_data(name: str):
    row, _, tag = name.partition(".")
    assert row == RECORDS[name]["arch"]
    assert row in ARCHS
    source = re.fullmatch(r"(fair|ptv|mm|gluon|hub)_[a-z0-9]+(_[a-z0-9]+)*", tag)
    assert source
    assert re.match(SOURCES[source[1]], RECORDS[name]["origin"]["source"])


@every_record
def test_network_builds_with_the_recorded_classes_and_clip(name: str):
    model, record = on_meta(name), WEIGHTS()[name]
    assert model.get_classifier().out_features == model.num_classes == record.num_classes
    assert model.arch.clip == record.clip
    assert model.arch.activation == record.activation
    rois = torch.zeros(1, 5) if model.arch.roi else None
    clip = record.clip
    with torch.device("meta"), torch.inference_mode():
        clips = torch.empty(1, model.arch.in_chans, clip.frames, 64, 64)
        features = model.forward_features(clips)
    assert sum(maps.shape[1] for maps in features) == model.num_features
    assert (rois is None) == ("_det_" not in name)


@every_record
def test_every_change_is_one(name: str):
    """A record says only what its row does not."""
    row = find_arch(RECORDS[name]["arch"])
    changes = WEIGHTS()[name].changes
    assert all(getattr(row, field) != value for field, value in changes.items())
    override(name, row, arch_changes(WEIGHTS()[name]))


@every_record
def test_there_is_a_label_for_every_class(name: str):
    labels = labels_of(WEIGHTS()[name])
    assert len(labels) == WEIGHTS()[name].num_classes
    assert len(set(labels)) == len(labels)
    assert all(label == label.strip() != "" for label in labels)


@every_record
def test_origin_and_licence_are_said(name: str):
    origin = WEIGHTS()[name].origin
    assert origin.source.strip()
    assert origin.license == "Apache-2.0"
    for url in (origin.url, *origin.alternatives):
        assert url is None or re.fullmatch(r"https://[a-z0-9.-]+/[\w./-]+\.(pkl|pyth|pth)", url)
    assert set(origin.layouts) <= set(LAYOUTS) | {"pytorchvideo_wrapped"}
    assert bool(origin.layouts) == bool(origin.url)
    sizes = {"sha256": 64, "sha1": 40, "md5": 32}
    if origin.digest is not None:
        algorithm, _, digits = origin.digest.partition(":")
        assert re.fullmatch(r"[0-9a-f]{8,}", digits)
        assert len(digits) in (8, sizes[algorithm])


@every_record
def test_hashes_and_sizes_are_known_or_null(name: str):
    hosted = WEIGHTS()[name].hosted
    assert hosted.file == f"{name}.safetensors"
    assert hosted.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", hosted.sha256)
    assert (hosted.sha256 is None) == (hosted.bytes is None)
    assert hosted.repo is None or hosted.sha256 is not None  # nothing is fetched unseen


@every_record
def test_slow_frames_pooling_and_clock_are_those_of_the_project(name: str):
    """differences.md: FAIR's linspace and windows on a 30 fps clock; strided, global and native frames elsewhere."""
    arch, source = on_meta(name).arch, name.partition(".")[2].partition("_")[0]
    if source == "hub":
        return
    meta = source in ("fair", "ptv")
    if isinstance(arch, SlowFastArch):
        assert arch.slow_rule == ("linspace" if meta else "strided")
    if arch.roi is None:
        wrapped = "pytorchvideo_wrapped" in WEIGHTS()[name].origin.layouts
        windows = "window_logits" if source == "ptv" and not wrapped else "window_probs"
        assert arch.pool == (windows if meta else "global")
    assert arch.clip.fps == ((24 if "charades" in name else 30) if meta else None)
    assert arch.clip.sampling == ("segments" if meta and "ssv2" in name else "stride")
    assert arch.activation == ("sigmoid" if "charades" in name or arch.roi else "softmax")


def test_default_of_a_row_is_its_file_with_the_best_reported_top1():
    for row in ARCHS:
        files_of_row = [record for name, record in WEIGHTS().items() if record.arch == row]
        best = [record.reported.top1 for record in files_of_row if record.reported and record.reported.top1]
        if best:
            assert find_weights(row).reported.top1 == max(best)


def test_tags_say_no_more_than_they_must():
    """A suffix stands only where another file of the same row, source and data is without it."""
    for name in RECORDS:
        row, _, tag = name.partition(".")
        source, data, *suffixes = tag.split("_")
        others = [other for other in RECORDS if other.startswith(f"{row}.{source}_{data}") and other != name]
        assert not suffixes or others, name


def test_every_candidate_is_a_record_or_a_listed_exclusion(shared: Path):
    inventory = json.loads((shared / "facts" / "checkpoints.json").read_text(encoding="utf-8"))["checkpoints"]
    candidates = [row for row in inventory if row["in_scope"]]
    recorded = {url for record in WEIGHTS().values() for url in (record.origin.url, *record.origin.alternatives)}
    text = (DOCS / "conversions.md").read_text(encoding="utf-8")
    left = [row["id"] for row in candidates if row["url"] not in recorded]
    assert len(candidates) == 178
    assert [name for name in left if f"`{name.partition('/')[2]}`" not in text] == []
    assert len(left) == 27  # and two rows that link another row's file


def test_parameters_are_those_the_projects_report(shared: Path):
    inventory = json.loads((shared / "facts" / "checkpoints.json").read_text(encoding="utf-8"))["checkpoints"]
    reported = {row["url"]: row["reported_params_M"] for row in inventory if row.get("reported_params_M")}
    compared = 0
    for name, record in WEIGHTS().items():
        if record.origin.url in reported:
            counted = sum(p.numel() for p in on_meta(name).parameters()) / 1e6
            compared += 1
            assert counted == pytest.approx(reported[record.origin.url], rel=0.02), name
    assert compared > 60


@shipped
def test_file_in_the_package_has_the_recorded_hash_and_size(name: str):
    record = WEIGHTS()[name]
    content = weights_path(record).read_bytes()
    assert hashlib.sha256(content).hexdigest() == record.hosted.sha256
    assert len(content) == record.hosted.bytes < 10_000_000


@shipped
def test_file_in_the_package_fits_strictly_and_a_new_head_is_all_that_changes(name: str):
    model = create_model(name)
    report = load_weights(model, weights_path(WEIGHTS()[name]))
    assert report.new == ()
    assert set(report.loaded) == set(model.state_dict())
    model = create_model(name, pretrained=True)
    assert model.labels == labels_of(WEIGHTS()[name])
    other = create_model(name, pretrained=True, num_classes=model.num_classes + 1)
    body = {key: value for key, value in model.state_dict().items() if not key.startswith("head.fc.")}
    assert other.num_classes == model.num_classes + 1
    assert other.labels == ()
    assert all(torch.equal(other.state_dict()[key], value) for key, value in body.items())


def test_no_file_in_the_package_is_without_a_record():
    found = {entry.name for entry in EMBEDDED.iterdir() if entry.name.endswith(".safetensors")}
    assert found == {record.hosted.file for record in WEIGHTS().values() if record.hosted.sha256}


def test_json_becomes_what_the_dataclasses_hold():
    record = RECORDS["slow_nl_det_r50_8x8.mm_ava21"]
    made = record_from_json("slow_nl_det_r50_8x8.n", record)
    assert made.changes["nonlocal_at"] == ((), (0, 2), (0, 2, 4), ())
    assert made.changes["roi"] == RoISpec(grid=8, aligned=True, dilation=1)
    assert made.clip == ClipSpec(8, 8, None, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    with pytest.raises(TypeError, match="lisence"):
        record_from_json("slow_nl_det_r50_8x8.n", record | {"origin": {"source": "x", "lisence": "y"}})
    with pytest.raises(ValueError, match="crop 512 px is larger"):
        record_from_json("slow_nl_det_r50_8x8.n", record | {"clip": record["clip"] | {"crop": 512}})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"arch": "slow_r50_8x8"}, "is of another network: 'slow_r50_8x8'"),
        ({"labels": "kinetics400"}, "has 80 classes and 400 labels"),
        ({"activation": "relu"}, "activation must be one of"),
        ({"origin": {"source": "x", "license": ""}}, "license must be said"),
        ({"origin": {"source": "x", "license": "y", "url": "ftp://x"}}, "http or https; got 'ftp://x'"),
        ({"origin": {"source": "x", "license": "y", "digest": "sha256:xyz"}}, "is like sha256:701b0f6f"),
        ({"hosted": {"file": "../../x.safetensors"}}, "without folders"),
        ({"hosted": {"file": "x.safetensors", "sha256": "nothex"}}, "64 hexadecimal digits"),
        ({"num_classes": True}, "whole number"),
    ],
    ids=str,
)
def test_impossible_record_is_refused_when_it_is_read(change: dict, says: str):
    with pytest.raises(ValueError, match=says):
        record_from_json("slow_nl_det_r50_8x8.n", RECORDS["slow_nl_det_r50_8x8.mm_ava21"] | change)


def test_row_without_a_tag_takes_its_first_record(monkeypatch: pytest.MonkeyPatch):
    made = {name: info(name=name) for name in ("slow_r50_8x8.b", "slow_r50_8x8.a", "slow_r50_4x16.c")}
    monkeypatch.setattr(manifest, "WEIGHTS", lambda: made)
    assert find_weights("slow_r50_8x8").name == "slow_r50_8x8.b"
    assert find_weights("slow_r50_8x8.a").name == "slow_r50_8x8.a"
    with pytest.raises(LookupError, match=r"slow_r50_8x8 has slow_r50_8x8.b, slow_r50_8x8.a"):
        find_weights("slow_r50_8x8.z")
    with pytest.raises(LookupError, match=r"no published file of weights is known for 'slow_r50_16x8'"):
        find_weights("slow_r50_16x8")
