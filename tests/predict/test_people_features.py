"""Features of people: what the detector's classifier sees, with who, when and where beside them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_networks import TINY, noise, tiny_network
from safetensors import safe_open

from slowfast_hub.predict.detector import Detector
from slowfast_hub.predict.features import read_record
from slowfast_hub.predict.people_features import PeopleFeatureExtractor
from slowfast_hub.spec import RoISpec

BOXES = [[2.0, 3, 14, 17], [10, 1, 22, 18]]  # px of pictures of 24 x 18
ROWS = ((0.5, BOXES[0], "eve"), (0.5, BOXES[1], "bob"), (1.5, BOXES[1], "bob"))


@pytest.fixture(scope="module")
def network():
    return tiny_network(
        roi=RoISpec(aligned=True), activation="sigmoid", clip=replace(TINY.clip, short_side=32, crop=32)
    )


@pytest.fixture
def table(tmp_path) -> Path:
    lines = [f"{at_s},{','.join(map(str, box))},{person}" for at_s, box, person in ROWS]
    (tmp_path / "people.csv").write_text("\n".join(["time,x1,y1,x2,y2,person", *lines]) + "\n")
    return tmp_path / "people.csv"


def test_the_classifier_makes_the_scores_of_the_detector_of_them(network, table):
    made = PeopleFeatureExtractor(network, people=table, unit="px")(noise(90))
    assert made.values.shape == (3, network.num_features)
    with torch.inference_mode():
        scores = network.get_classifier()(made.values).sigmoid()
    answers = [*Detector(network, people=table).along(noise(90), unit="px")]
    torch.testing.assert_close(scores, torch.cat([answer.probs for answer in answers]), rtol=0, atol=1e-5)


def test_who_where_and_when_stand_beside_them(network, table):
    """8 frames every 4 of 30 fps around frame 15: 0 0 0 3 .. 27, the last shown until 28 / 30 s."""
    made = PeopleFeatureExtractor(network, people=table)(noise(90))
    assert made.at_s.tolist() == [0.5, 0.5, 1.5]
    assert made.boxes.tolist() == [BOXES[0], BOXES[1], BOXES[1]]
    assert made.person.tolist() == [0, 1, 1]
    assert made.record()["names"] == list(made.names) == list(dict.fromkeys(person for *_, person in ROWS))
    assert made.start_s.tolist() == [0, 0, pytest.approx(29 / 30)]
    assert made.end_s.tolist() == pytest.approx([28 / 30, 28 / 30, 58 / 30])
    assert "2 people at 2 moments" in repr(made)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_files_hold_a_row_for_each_person_and_moment(network, table, tmp_path, suffix):
    made = PeopleFeatureExtractor(network, people=table)(noise(90))
    path = made.save(tmp_path / f"a{suffix}")
    if suffix == ".npz":
        arrays = dict(np.load(path))
        arrays.pop("record")
    else:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    assert {name: array.shape for name, array in arrays.items()} == {
        "features": (3, network.num_features),
        **dict.fromkeys(("start_s", "end_s", "at_s", "person"), (3,)),
        "boxes": (3, 4),
    }
    assert np.array_equal(arrays["features"], made.values.numpy())
    record = json.loads((tmp_path / f"a{suffix}.json").read_text())
    assert record == read_record(path)
    assert len(record["recipe"]["people"]["table_sha256"]) == 64


def test_of_nobody_there_are_no_rows(network, tmp_path):
    made = PeopleFeatureExtractor(network, people=lambda picture: torch.empty(0, 4))(noise(90))
    assert made.values.shape == (0, network.num_features)
    assert made.boxes.shape == (0, 4)
    assert "0 people at 0 moments" in repr(made)
    assert np.load(made.save(tmp_path / "a.npz"))["features"].shape == (0, network.num_features)


def test_moments_lie_as_far_apart_as_asked_and_progress_is_told(network):
    seen = []
    extract = PeopleFeatureExtractor(network, people=BOXES, every_s=1.5)
    made = extract(noise(90), progress=lambda done_s, total_s: seen.append((done_s, total_s)))
    assert made.at_s.tolist() == [0.75, 0.75, 2.25, 2.25]
    assert made.person.tolist() == [0, 1, 0, 1]
    assert seen == [(0.75, 3.0), (2.25, 3.0)]
    assert extract.recipe["people"] == {"boxes": BOXES}


def test_mirrored_pictures_are_averaged(network):
    """With the picture mirrored, and the box too, both views are the same two in the other order."""
    frames = noise(90)
    width = frames.shape[2]
    mirrored = [[width - x2, y1, width - x1, y2] for x1, y1, x2, y2 in BOXES]
    one = PeopleFeatureExtractor(network, people=BOXES, flip=True)(frames)
    other = PeopleFeatureExtractor(network, people=mirrored, flip=True)(frames[:, :, ::-1].copy())
    torch.testing.assert_close(one.values, other.values, rtol=0, atol=1e-4)
    plain = PeopleFeatureExtractor(network, people=BOXES)(frames)
    assert (one.values - plain.values).abs().max() > 1e-2


def test_a_network_for_whole_clips_is_refused_and_a_missing_table_before_the_work(network, tmp_path):
    with pytest.raises(ValueError, match=r"classifies whole clips.*roi=RoISpec\(\)\)"):
        PeopleFeatureExtractor(tiny_network(), people=BOXES)
    with pytest.raises(ValueError, match=r"none\.csv"):
        PeopleFeatureExtractor(network, people=tmp_path / "none.csv")
