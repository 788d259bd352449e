"""Class names in index order: complete, clean, and the same as others have."""

import re
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest

from slowfast_hub.zoo.manifest import read_labels

LABELS = files("slowfast_hub") / "labels"
COUNTS = {
    "actions16": 16,
    "kinetics400": 400,
    "kinetics600": 600,
    "kinetics700": 700,
    "kinetics710": 710,
    "ssv2": 174,
    "charades": 157,
    "ava80": 80,
}


def test_every_list_is_counted():
    assert {entry.name for entry in LABELS.iterdir()} == {f"{name}.txt" for name in COUNTS} | {
        "ava60_evaluated_ids.txt"
    }


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_list_has_a_clean_name_for_every_class(name: str, count: int):
    labels = read_labels(name)
    assert len(labels) == len(set(labels)) == count
    assert all(label and label == label.strip() for label in labels)
    assert not any(label.startswith(('"', "'")) or label.endswith('"') for label in labels)  # as the original file has


def test_kinetics400_is_torchvisions_list():
    from torchvision.models.video import R3D_18_Weights

    assert list(read_labels("kinetics400")) == R3D_18_Weights.KINETICS400_V1.meta["categories"]


@pytest.mark.parametrize("name", ["kinetics400", "kinetics600", "kinetics700"])
def test_kinetics_is_in_alphabetical_order(name: str):
    labels = [re.sub(r"[^a-z0-9 ]", "", label.lower()) for label in read_labels(name)]
    swaps = sum(first > second for first, second in pairwise(labels))
    assert swaps <= 4  # names with an apostrophe or a bracket


def test_ava_evaluates_60_of_its_80_ids():
    ids = [int(line) for line in (LABELS / "ava60_evaluated_ids.txt").read_text(encoding="utf-8").split()]
    assert len(set(ids)) == 60
    assert ids == sorted(ids)
    assert 1 <= ids[0] <= ids[-1] <= 80
    assert read_labels("ava80")[ids[0] - 1]


def test_lists_are_those_of_the_inventory(shared: Path):
    for entry in LABELS.iterdir():
        known = shared / "facts" / "labels" / entry.name
        if known.is_file():
            assert entry.read_text(encoding="utf-8").splitlines() == known.read_text(encoding="utf-8").splitlines()
