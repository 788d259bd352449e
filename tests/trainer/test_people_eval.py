"""People of key frames are scored as `Detector` scores them, whoever decodes and however the key frames are given."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_networks import TINY, noise, tiny_network
from made_videos import write_video

from slowfast_hub.models import VideoModel
from slowfast_hub.predict.detector import Detector
from slowfast_hub.spec import RoISpec, VideoError
from slowfast_hub.trainer.keyframes import KeyFrame, Person
from slowfast_hub.trainer.people_eval import PeopleEvaluation, evaluate_people, evaluation_of_file, measure_people

CLASSES = ("a", "b", "c", "d", "e")
LEFT, RIGHT = (0.1, 0.1, 0.5, 0.9), (0.4, 0.0, 0.9, 1.0)


def network(**changes: object) -> VideoModel:
    clip = replace(TINY.clip, short_side=32, crop=32)
    return tiny_network(roi=RoISpec(), activation="sigmoid", clip=clip, **changes)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    return [write_video(folder / f"{i}.mkv", noise(90)[i:], fps=30) for i in range(2)]


@pytest.fixture
def frames(files) -> list[KeyFrame]:
    """Five moments of two videos, not in the order of time; one of them with nobody."""
    return [
        KeyFrame(files[0], 2.0, (Person(LEFT, (0,)), Person(RIGHT, (1, 2)))),
        KeyFrame(files[1], 0.5, (Person(RIGHT, (3,)),)),
        KeyFrame(files[0], 1.0, (Person(LEFT, ()),)),
        KeyFrame(files[1], 1.5, ()),
        KeyFrame(files[0], 0.0, (Person((2.4, 1.8, 12.0, 16.2), (4,)),), unit="px"),
    ]


def scores(found: PeopleEvaluation, number: int) -> torch.Tensor:
    rows = found.detections.frames == number
    return torch.from_numpy(found.detections.scores[rows]).reshape(-1, 5)


def same(one: PeopleEvaluation, other: PeopleEvaluation) -> bool:
    arrays = [getattr(each, name) for each in (one.detections, other.detections) for name in ("frames", "scores")]
    return (
        np.array_equal(arrays[0], arrays[2])
        and np.allclose(arrays[1], arrays[3], rtol=0, atol=1e-6)
        and (one.frames, one.failed, one.protocol) == (other.frames, other.failed, other.protocol)
    )


@pytest.mark.parametrize("how", [{}, {"scales": (32, 48), "flip": True}])
def test_scores_are_those_of_a_detector(frames, how):
    found, detect = evaluate_people(network(), frames, classes=CLASSES, **how), Detector(network(), **how)
    for number, frame in enumerate(frames):
        corners = [person.box for person in frame.people]
        answer = detect(frame.video, at_s=frame.at_s, boxes=torch.tensor(corners).reshape(-1, 4), unit=frame.unit)
        torch.testing.assert_close(scores(found, number), answer.probs.double(), rtol=0, atol=1e-6)
    assert found.detections.boxes[:10:5].tolist() == [list(LEFT), list(RIGHT)]  # as they were given
    assert found.detections.classes[:5].tolist() == [0, 1, 2, 3, 4]
    assert (found.truth.frames.tolist(), found.truth.classes.tolist()) == ([0, 0, 0, 1, 4], [0, 1, 2, 3, 4])


def test_other_processes_and_batches_change_nothing(frames, monkeypatch):
    here, there = (evaluate_people(network(), frames, classes=CLASSES, workers=workers) for workers in (0, 2))
    assert same(here, there)
    monkeypatch.setattr("slowfast_hub.predict.detector.best_batch_size", lambda device: 3)
    assert same(here, evaluate_people(network(), frames, classes=CLASSES))


def test_the_network_stays_in_training(frames):
    model = network().train()
    evaluate_people(model, frames[:1], classes=CLASSES)
    assert model.training


def test_the_line_says_what_was_measured_and_how(frames):
    metrics = measure_people(evaluate_people(network(), frames, classes=CLASSES, evaluated=(1, 3), name="tiny"))
    assert [(each.name, each.people) for each in metrics.classes] == [("b", 1), ("d", 1)]
    assert metrics.line == (
        f"mAP {100 * metrics.mean_ap:.1f} % at IoU 0.5 over 2 of 2 classes, 5 of 5 key frames, 5 people, "
        "tiny, the truth's boxes, short side 32 px, 8 x 4 frames at 30 fps, float32"
    )
    # Class b: its person is the second best or worse of the four that the network sees.
    assert metrics.classes[0].average_precision in (1, 1 / 2, 1 / 3, 1 / 4)
    many = evaluate_people(network(), frames[:1], classes=CLASSES, scales=(32, 48), flip=True).protocol
    assert "short side 32, 48 px, plain and mirrored" in many


def test_a_network_with_names_gives_its_scores_in_the_order_of_the_set(frames):
    model = network()
    model.labels = ("e", "d", "x", "c", "a")
    plain, named = (evaluate_people(model, frames[1:2], classes=c) for c in (model.labels, ("a", "d")))
    assert torch.equal(torch.from_numpy(named.detections.scores), torch.from_numpy(plain.detections.scores)[[4, 1]])
    with pytest.raises(ValueError, match="does not know 1 of the 1 classes: z"):
        evaluate_people(model, frames, classes=("z",))


def test_found_boxes_of_a_good_score_take_the_place_of_the_truth(files):
    frame = KeyFrame(files[0], 1.0, (Person(LEFT, (0,)),))
    boxes = (Person(LEFT, score=0.9), Person(RIGHT, score=0.8), Person(RIGHT, score=0.79))
    found = evaluate_people(network(), [replace(frame, found=boxes)], classes=CLASSES, boxes="found")
    assert found.detections.boxes[::5].tolist() == [list(LEFT), list(RIGHT)]
    assert len(found.truth) == 1
    assert "found boxes of score 0.8 or more" in found.protocol
    nobody = evaluate_people(network(), [replace(frame, found=())], classes=CLASSES, boxes="found")
    assert (len(nobody.detections), measure_people(nobody).mean_ap) == (0, 0)
    with pytest.raises(ValueError, match="no boxes of a person detector"):
        evaluate_people(network(), [frame], classes=CLASSES, boxes="found")


def test_what_cannot_be_had_is_named_and_counts_nowhere(frames, tmp_path):
    torn = tmp_path / "torn.mkv"
    torn.write_bytes(b"no video")
    frames[1:1] = [
        KeyFrame(torn, 1.0, (Person(LEFT, (0,)),)),
        KeyFrame(frames[0].video, 99.0, (Person(LEFT, (0,)),)),
        KeyFrame(frames[0].video, 1.5, (Person((30.0, 2.0, 40.0, 9.0), (0,)),), unit="px"),
    ]
    with pytest.raises(VideoError, match=r"torn.mkv"):
        evaluate_people(network(), frames[1:2], classes=CLASSES, on_error="report")  # not one is left
    with pytest.raises(VideoError):
        evaluate_people(network(), frames, classes=CLASSES)
    found = evaluate_people(network(), frames, classes=CLASSES, on_error="report")
    assert [failure.video for failure in found.failed] == [frame.name for frame in frames[1:4]]
    assert "at_s must be in [0.000, 3.000)" in found.failed[1].reason
    assert "outside of the picture of 24 x 18 px" in found.failed[2].reason
    metrics = measure_people(found)
    assert (metrics.requested, metrics.decoded, metrics.people) == (8, 5, 5)
    assert same(replace(found, failed=()), evaluate_people(network(), [frames[0], *frames[4:]], classes=CLASSES))


def test_detections_at_moments_without_truth_are_wrong_in_a_file(tmp_path):
    """Of two people the one with 0.6 and the one with 0.4 are found; wrong ones of 0.7 and 0.5 stand before each."""
    frames = [KeyFrame("v.mp4", at_s, (Person(LEFT, (0,)),), title="v", time=f"{at_s:g}") for at_s in (1.0, 2.0)]
    box = ",".join(map(str, LEFT))
    rows = [("v", 5, 0.7), ("v", 1, 0.6), ("v", 6, 0.5), ("v", 2, 0.4), ("v", 7, 0.9), ("other", 1, 0.8)]
    file = tmp_path / "theirs.csv"
    file.write_text("".join(f"{video},{time},{box},1,{score}\n" for video, time, score in rows))
    found = evaluation_of_file(file, frames, classes=("a",), excluded={("v", 7000)})
    assert measure_people(found).mean_ap == 1 / 2  # the best precision behind each: 2 of 4
    assert measure_people(found).line.endswith(
        "2 of 2 key frames, 2 people, 4 detections of theirs.csv (2 of them wrong, at moments of these videos that are "
        "no key frames), without 2 of other videos or moments that do not count"
    )
    assert measure_people(evaluation_of_file(file, frames[:1], classes=("a",))).mean_ap == 1 / 3  # 0.9, 0.7, 0.6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v,1,10,10,50,90,1,0.5\n", "boxes look as if they were px, and those of the set are normalised"),
        ("v,3,0.1,0.1,0.5,0.9,1,0.5\nw,1,0,0,1,1,1,1\n", "none of its 2 detections is at one of the 1 key frames; "),
        ("", "none of its 0 detections"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_the_set_is_refused(tmp_path, text, message):
    (tmp_path / "theirs.csv").write_text(text)
    frame = KeyFrame("v.mp4", 1.0, (Person(LEFT, (0,)),), title="v", time="1")
    with pytest.raises(ValueError, match=message):
        evaluation_of_file(tmp_path / "theirs.csv", [frame], classes=("a",))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"evaluated": (5,)}, "an evaluated class is not in 0..4: 5"),
        ({"boxes": "all"}, "boxes must be one of"),
        ({"workers": -1}, "workers must be"),
        ({"on_error": "go"}, "on_error"),
    ],
)
def test_what_is_impossible_is_named(frames, given, message):
    with pytest.raises(ValueError, match=message):
        evaluate_people(network(), frames, classes=CLASSES, **given)
    with pytest.raises(ValueError, match="classifies whole clips"):
        evaluate_people(tiny_network(), frames, classes=CLASSES)
    turned = replace(frames[0], people=(Person((0.5, 0.1, 0.1, 0.9), (0,)),), found=(), where="people.csv:7")
    with pytest.raises(ValueError, match=r"people.csv:7: a box is reversed"):
        evaluate_people(network(), [turned], classes=CLASSES, boxes="found", on_error="report")
    with pytest.raises(ValueError, match="no key frames"):
        evaluate_people(network(), [], classes=CLASSES)


def test_progress_counts_key_frames_that_have_somebody(frames):
    seen = []
    evaluate_people(network(), frames, classes=CLASSES, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


PROCESS = """
import os
import sys
import torch
from test_people_eval import CLASSES, network
from slowfast_hub.trainer.keyframes import KeyFrame, Person
from slowfast_hub.trainer.people_eval import evaluate_people
torch.set_num_threads(1)
frames = [KeyFrame(file, 0.5 + i, (Person((0.1, 0.1, 0.5, 0.9), (i,)),)) for i in range(2) for file in sys.argv[1:]]
found = evaluate_people(network(), frames, classes=CLASSES)
assert found.detections.frames.tolist() == [i for i in range(4) for _ in CLASSES]
os.write(1, (str(found.detections.scores.round(5).tolist()) + chr(10)).encode())  # at once: the other writes there too
"""


def test_several_processes_share_the_videos_and_all_know_the_whole(files, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROCESS)
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, str(program), *map(str, files)],
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    one, other = done.stdout.split("\n")[:2]
    assert one == other
    assert one.startswith("[0.")
