"""Every record of the manifest is true: the row exists, the file is the one it says, and it fits."""

import hashlib
import json
import re
from dataclasses import fields
from importlib.resources import files

import pytest
import torch

from slowfast_hub.predict.predictor import labels_of
from slowfast_hub.spec import ClipSpec, WeightsInfo
from slowfast_hub.zoo import manifest
from slowfast_hub.zoo.fetch import weights_path
from slowfast_hub.zoo.load import load_weights
from slowfast_hub.zoo.manifest import WEIGHTS, arch_changes, find_weights
from slowfast_hub.zoo.registry import ARCHS, create_model

EMBEDDED = files("slowfast_hub") / "zoo" / "embedded"
RECORDS = json.loads((files("slowfast_hub") / "zoo" / "manifest.json").read_text(encoding="utf-8"))

every_record = pytest.mark.parametrize("name", RECORDS)


def info(**changes: object) -> WeightsInfo:
    given = {"arch": "slow_r50_8x8", "changes": {}, "labels": ("a", "b"), "file": "a.safetensors", "sha256": None}
    return WeightsInfo(**({"name": "slow_r50_8x8.a", "bytes": None, "license": "x", "origin": "y"} | given | changes))


@every_record
def test_record_has_every_field_and_no_other(name: str):
    known = {field.name for field in fields(WeightsInfo)} - {"name"}
    assert set(RECORDS[name]) <= known
    assert known - set(RECORDS[name]) <= {"reported", "measured"}


@every_record
def test_name_is_a_row_and_a_tag(name: str):
    row, _, tag = name.partition(".")
    assert row == RECORDS[name]["arch"]
    assert row in ARCHS
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", tag)


@every_record
def test_file_ships_in_the_package_with_the_recorded_hash_and_size(name: str):
    record = WEIGHTS()[name]
    content = weights_path(record).read_bytes()
    assert record.file.endswith(".safetensors")
    assert hashlib.sha256(content).hexdigest() == record.sha256
    assert len(content) == record.bytes < 10_000_000


@every_record
def test_record_builds_a_network_that_the_file_fits_strictly(name: str):
    model = create_model(name)
    report = load_weights(model, weights_path(WEIGHTS()[name]))
    assert report.new == ()
    assert set(report.loaded) == set(model.state_dict())


@every_record
def test_there_is_a_label_for_every_class(name: str):
    labels = labels_of(WEIGHTS()[name])
    assert len(labels) == create_model(name).num_classes
    assert len(set(labels)) == len(labels)
    assert all(label == label.strip() != "" for label in labels)


@every_record
def test_origin_and_licence_are_said(name: str):
    assert WEIGHTS()[name].origin.strip()
    assert WEIGHTS()[name].license.strip()


@every_record
def test_pretrained_is_this_file_and_a_new_head_is_all_that_changes(name: str):
    model = create_model(name, pretrained=True)
    other = create_model(name, pretrained=True, num_classes=model.num_classes + 1)
    body = {key: value for key, value in model.state_dict().items() if not key.startswith("head.fc.")}
    assert other.num_classes == model.num_classes + 1
    assert all(torch.equal(other.state_dict()[key], value) for key, value in body.items())


def test_no_file_in_the_package_is_without_a_record():
    shipped = {entry.name for entry in EMBEDDED.iterdir() if entry.name.endswith(".safetensors")}
    assert shipped == {record["file"] for record in RECORDS.values()}


def test_lists_of_json_become_tuples_and_the_clip_a_clip_spec():
    changes = {"num_classes": 2, "nonlocal_at": [[], [1], [], []], "clip": {"frames": 8, "mean": [0.5, 0.5, 0.5]}}
    assert arch_changes(info(changes=changes)) == {
        "num_classes": 2,
        "nonlocal_at": ((), (1,), (), ()),
        "clip": ClipSpec(frames=8, mean=(0.5, 0.5, 0.5)),
    }


def test_row_without_a_tag_takes_its_first_record(monkeypatch: pytest.MonkeyPatch):
    made = {name: info(name=name) for name in ("slow_r50_8x8.b", "slow_r50_8x8.a", "slow_r50_4x16.c")}
    monkeypatch.setattr(manifest, "WEIGHTS", lambda: made)
    assert find_weights("slow_r50_8x8").name == "slow_r50_8x8.b"
    assert find_weights("slow_r50_8x8.a").name == "slow_r50_8x8.a"
    with pytest.raises(LookupError, match=r"slow_r50_8x8 has slow_r50_8x8.b, slow_r50_8x8.a"):
        find_weights("slow_r50_8x8.z")
    with pytest.raises(LookupError, match=r"no file of weights is recorded yet for 'slow_r50_16x8'"):
        find_weights("slow_r50_16x8")


def test_record_whose_file_is_gone_says_so():
    with pytest.raises(LookupError, match=r"slow_r50_8x8.a: nowhere.safetensors is missing from the package"):
        weights_path(info(file="nowhere.safetensors"))
