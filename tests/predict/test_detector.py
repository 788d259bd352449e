"""Detectors on videos: the same answers as the network itself gives, and what boxes may be."""

import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_networks import TINY, noise, tiny_network

from slowfast_hub.models import VideoModel
from slowfast_hub.predict.detector import Detector
from slowfast_hub.spec import Detection, RoISpec
from slowfast_hub.transforms.eval import EvalTransform, Fitter
from slowfast_hub.transforms.geometry import flip_boxes

SPEC = replace(TINY.clip, short_side=32, crop=32)
BOXES = torch.tensor([[2.0, 3, 14, 17], [10, 1, 22, 18]])  # px of pictures of 24 x 18


def detector_network(**changes: object) -> VideoModel:
    return tiny_network(roi=RoISpec(aligned=True), activation="sigmoid", **{"clip": SPEC, **changes})


@pytest.fixture(scope="module")
def network() -> VideoModel:
    return detector_network()


@pytest.fixture(scope="module")
def detect(network: VideoModel) -> Detector:
    return Detector(network)


def by_hand(network: VideoModel, frames: np.ndarray, numbers: list[int], boxes: torch.Tensor) -> torch.Tensor:
    """Scores of boxes in px of 24 x 18, whose pictures become 42 x 32."""
    clip = EvalTransform(SPEC).resized(torch.from_numpy(frames[numbers]))
    assert clip.shape == (3, 8, 32, 42)
    rois = boxes * torch.tensor([42 / 24, 32 / 18, 42 / 24, 32 / 18])
    with torch.inference_mode():
        return network(clip[None], torch.cat([torch.zeros(len(boxes), 1), rois], dim=1)).sigmoid()


def test_a_clip_lies_around_its_moment_and_boxes_follow_the_resize(network, detect):
    """8 frames every 4: around frame 45, shown at 1.5 s, they are 45 - 16 .. 45 + 12."""
    frames = noise(90)
    answer = detect(frames, at_s=1.5, boxes=BOXES)
    exact = by_hand(network, frames, [29, 33, 37, 41, 45, 49, 53, 57], BOXES)
    torch.testing.assert_close(answer.probs, exact, rtol=0, atol=1e-5)
    assert torch.equal(answer.boxes, BOXES)
    assert answer.ids.tolist() == [0, 1]
    assert answer.box_scores.tolist() == [1, 1]
    assert (answer.at_s, answer.video.frames, answer.labels[:2]) == (1.5, 90, ("class 0", "class 1"))
    assert (exact[0] - exact[1]).abs().max() > 0.05  # the box matters


def test_at_the_ends_of_the_video_the_clip_holds_its_frames(network, detect):
    frames = noise(90)
    first = by_hand(network, frames, [0, 0, 0, 0, 0, 4, 8, 12], BOXES)
    torch.testing.assert_close(detect(frames, at_s=0.0, boxes=BOXES).probs, first, rtol=0, atol=1e-5)
    last = by_hand(network, frames, [73, 77, 81, 85, 89, 89, 89, 89], BOXES)
    torch.testing.assert_close(detect(frames, at_s=2.999, boxes=BOXES).probs, last, rtol=0, atol=1e-5)


def test_normalised_boxes_are_found_out_and_scores_are_kept(detect):
    frames = noise(60)
    pixels = detect(frames, at_s=1.0, boxes=BOXES)
    scaled = torch.cat([BOXES / torch.tensor([24, 18, 24, 18]), torch.tensor([[0.9], [0.7]])], dim=1)
    normalised = detect(frames, at_s=1.0, boxes=scaled.tolist())
    torch.testing.assert_close(normalised.boxes, BOXES)
    torch.testing.assert_close(normalised.probs, pixels.probs)
    assert normalised.box_scores.tolist() == pytest.approx([0.9, 0.7])


def test_one_pixel_is_a_box_where_the_unit_says_so(detect):
    answer = detect(noise(60), at_s=1.0, boxes=[[0, 0, 2, 2]], unit="px")
    assert answer.boxes.tolist() == [[0, 0, 2, 2]]
    whole = detect(noise(60), at_s=1.0, boxes=[[0, 0, 1, 1]])
    assert whole.boxes.tolist() == [[0, 0, 24, 18]]


def test_a_box_partly_outside_is_cut_to_the_picture(detect):
    frames = noise(60)
    cut = detect(frames, at_s=1.0, boxes=[[-50, 4, 12, 900]])
    assert cut.boxes.tolist() == [[0, 4, 12, 18]]
    torch.testing.assert_close(cut.probs, detect(frames, at_s=1.0, boxes=[[0, 4, 12, 18]]).probs)


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        ([[2, 3, 14, 17], [14, 3, 2, 17]], r"box 1 is reversed.*x, y, width, height.*\[14.0, 3.0, 2.0, 17.0\]"),
        ([[5, 3, 5, 17]], "box 0 is empty"),
        ([[30, 3, 40, 17]], "box 0 lies outside of the picture of 24 x 18 px"),
        ([[float("nan"), 3, 4, 17]], "box 0 is not finite"),
        ([[2, 3, 14]], r"boxes are \(N, 4\).*got \(1, 3\)"),
        (np.array([1.0, 2.0]), r"boxes are \(N, 4\)"),
        ([[2, 3, 14, 17, 7]], "the fifth column of boxes is a score, from 0 to 1; got 7"),
        ([[2, 3, 14, 17, float("nan")]], "is a score, from 0 to 1; got nan"),
        ([[2, 3, 14, 17]] * 1001, "1001 boxes at one moment; at most 1000"),
    ],
    ids=["reversed", "empty", "outside", "nan", "three", "flat", "id", "no score", "crowd"],
)
def test_what_is_no_box_is_said_by_its_number(detect, boxes, says):
    with pytest.raises(ValueError, match=says):
        detect(noise(60), at_s=1.0, boxes=boxes)


@pytest.mark.parametrize("boxes", [object(), [["a", "b", "c", "d"]], [1.0, 2.0]])
def test_what_boxes_may_be_is_said(detect, boxes):
    with pytest.raises(TypeError, match="boxes are an array"):
        detect(noise(60), at_s=1.0, boxes=boxes)


@pytest.mark.parametrize("at_s", [-0.1, 2.0, float("nan")])
def test_a_moment_outside_of_the_video_is_an_error(detect, at_s):
    with pytest.raises(ValueError, match=r"at_s must be in \[0.000, 2.000\)"):
        detect(noise(60), at_s=at_s, boxes=BOXES)


def test_nobody_is_an_answer_without_rows(detect):
    for boxes in ([], np.empty((0, 4)), lambda picture: torch.empty(0, 5)):
        answer = detect(noise(60), at_s=1.0, boxes=boxes)
        assert answer.probs.shape == (0, 5)
        assert answer.boxes.shape == (0, 4)
        assert answer.top() == []
        assert answer.as_json() == {"at_s": 1.0, "people": []}


def test_a_function_sees_the_picture_of_the_moment_in_the_size_of_the_file(detect):
    frames, seen = noise(60), []

    def find(picture: torch.Tensor) -> torch.Tensor:
        seen.append(picture)
        return torch.cat([BOXES, torch.tensor([[0.9], [0.8]])], dim=1)

    answer = detect(frames, at_s=1.0, boxes=find)
    assert torch.equal(seen[0], torch.from_numpy(frames[30]))
    assert answer.box_scores.tolist() == pytest.approx([0.9, 0.8])
    torch.testing.assert_close(answer.probs, detect(frames, at_s=1.0, boxes=BOXES).probs)


def test_a_detector_has_people_of_its_own_and_a_call_may_have_others(network):
    detect = Detector(network, people=lambda picture: BOXES[:1])
    assert len(detect(noise(60), at_s=1.0).boxes) == 1
    assert len(detect(noise(60), at_s=1.0, boxes=BOXES).boxes) == 2


def test_scores_are_the_mean_of_all_sizes_and_mirrored_pictures(network):
    frames = noise(60)
    several = Detector(network, scales=(32, 48), flip=True)(frames, at_s=1.0, boxes=BOXES)
    mirrored, boxes = frames[:, :, ::-1].copy(), flip_boxes(BOXES, 24)
    single = [
        Detector(network, scales=(side,))(video, at_s=1.0, boxes=there).probs
        for side in (32, 48)
        for video, there in ((frames, BOXES), (mirrored, boxes))
    ]
    torch.testing.assert_close(several.probs, torch.stack(single).mean(0), rtol=0, atol=1e-4)
    assert max((one - several.probs).abs().max() for one in single) > 1e-3


def test_boxes_follow_pictures_that_are_padded_to_a_square():
    """24 x 18 px become 32 x 24, with 4 px above."""
    network = detector_network(clip=replace(SPEC, fit="contain"))
    frames = noise(60)
    clip = EvalTransform(network.arch.clip)(torch.from_numpy(frames[[14, 18, 22, 26, 30, 34, 38, 42]]))
    rois = torch.cat([torch.zeros(2, 1), BOXES * 32 / 24 + torch.tensor([0, 4, 0, 4])], dim=1)
    with torch.inference_mode():
        exact = network(clip[None], rois).sigmoid()
    torch.testing.assert_close(Detector(network)(frames, at_s=1.0, boxes=BOXES).probs, exact, rtol=0, atol=1e-5)


def test_along_a_video_each_moment_lies_in_the_middle_of_its_second_and_is_as_alone(network, detect):
    frames = noise(150)
    for size in (1, 2):
        answers = list(Detector(network, batch_size=size).along(frames, boxes=BOXES))
        assert [answer.at_s for answer in answers] == [0.5, 1.5, 2.5, 3.5, 4.5]
        for answer in answers:
            alone = detect(frames, at_s=answer.at_s, boxes=BOXES)
            torch.testing.assert_close(answer.probs, alone.probs, rtol=0, atol=1e-5)
            assert answer.ids.tolist() == [0, 1]


def test_a_video_shorter_than_the_step_has_one_moment(detect):
    assert [answer.at_s for answer in detect.along(noise(12), boxes=BOXES)] == pytest.approx([0.2])
    assert [answer.at_s for answer in detect.along(noise(60), every_s=0.75, boxes=BOXES)] == [0.375, 1.125]


def test_people_keep_their_ids_when_their_order_changes(detect):
    turns = iter([BOXES, BOXES[[1, 0]], BOXES[1:], torch.cat([BOXES, torch.tensor([[0.0, 0, 3, 3]])])])
    answers = list(detect.along(noise(120), boxes=lambda picture: next(turns)))
    assert [answer.ids.tolist() for answer in answers] == [[0, 1], [1, 0], [1], [0, 1, 2]]


def test_moments_between_people_without_anybody_have_no_rows(network):
    turns = iter([BOXES, torch.empty(0, 4), BOXES])
    answers = list(Detector(network, batch_size=3).along(noise(90), boxes=lambda picture: next(turns)))
    assert [len(answer.probs) for answer in answers] == [2, 0, 2]


def test_a_table_brings_its_moments_names_and_scores(detect, tmp_path: Path):
    table = tmp_path / "people.csv"
    table.write_text(
        "time,x1,y1,x2,y2,person,score\n2.5,10,1,22,18,ann,0.8\n1.0,2,3,14,17,bob,0.9\n1.0,10,1,22,18,ann,1\n"
    )
    frames = noise(90)
    answers = list(detect.along(frames, boxes=table))
    assert [answer.at_s for answer in answers] == [1.0, 2.5]
    assert [answer.ids.tolist() for answer in answers] == [[0, 1], [1]]
    assert [answer.names for answer in answers] == [("bob", "ann"), ("ann",)]
    assert answers[1].as_json()["people"][0]["person"] == "ann"
    assert [answer.box_scores.tolist() for answer in answers] == [pytest.approx([0.9, 1.0]), pytest.approx([0.8])]
    torch.testing.assert_close(answers[1].probs, detect(frames, at_s=2.5, boxes=str(table)).probs, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"people.csv has no boxes at 2 s .* nearest are at 2.5 s"):
        detect(frames, at_s=2.0, boxes=table)
    with pytest.raises(ValueError, match="moments of its own: leave every_s out"):
        list(detect.along(frames, every_s=1.0, boxes=table))


def test_boxes_may_be_lists_of_rows_of_any_kind(detect):
    rows = ([2, 3, 14, 17], np.array([10, 1, 22, 18]))
    for boxes in (rows, [torch.tensor(row) for row in rows]):
        assert torch.equal(detect(noise(60), at_s=1.0, boxes=boxes).boxes, BOXES)


def test_a_table_that_names_some_people_is_followed_by_boxes_alone(detect, tmp_path: Path):
    """Else a stranger would get the number of somebody who has a name."""
    table = tmp_path / "people.csv"
    rows = ["1,2,3,14,17,ann", "1,10,1,22,18,ben", "2,0,0,3,3,", "3,10,1,22,18,ben"]
    table.write_text("\n".join(["time,x1,y1,x2,y2,person", *rows]) + "\n")
    answers = list(detect.along(noise(120), boxes=table))
    assert [answer.ids.tolist() for answer in answers] == [[0, 1], [2], [1]]
    assert {answer.names for answer in answers} == {()}


def test_moments_of_a_table_outside_of_the_video_are_named_with_the_table(detect, tmp_path: Path):
    table = tmp_path / "people.csv"
    table.write_text("time,x1,y1,x2,y2\n1,2,3,14,17\n902,2,3,14,17\n")
    with pytest.raises(
        ValueError, match=r"people.csv: 1 of 2 moments lie outside of array, .* from 0 to 3 s; .* 902 s"
    ):
        detect(noise(90), at_s=1.0, boxes=table)


def test_memory_does_not_grow_with_the_video(network, monkeypatch):
    """Clips of 32 frames' length once a second: no more than those of two seconds are held."""
    alive, most = weakref.WeakSet(), 0

    class Held(Fitter):
        def __call__(self, frame: torch.Tensor) -> torch.Tensor:
            nonlocal most
            picture = super().__call__(frame)
            alive.add(picture)
            most = max(most, len(alive))
            return picture

    monkeypatch.setattr("slowfast_hub.predict.detector.Fitter", Held)
    answers = Detector(network).along(noise(600), boxes=lambda picture: BOXES)
    assert sum(1 for _ in answers) == 20
    assert most <= 17


def test_the_progress_reaches_the_last_moment(detect):
    calls = []
    list(detect.along(noise(90), boxes=BOXES, progress=lambda done_s, total_s: calls.append((done_s, total_s))))
    assert calls == [(0.5, 3.0), (1.5, 3.0), (2.5, 3.0)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scales": ()}, "scales are different short sides"),
        ({"scales": (32, 32)}, "scales are different short sides"),
        ({"scales": (100_000,)}, "scales are at most 2048 px; got 100000"),
        ({"scales": (8,)}, "scales must be a whole number of at least 16"),
        ({"flip": 1}, "flip must be True or False"),
        ({"precision": "half"}, "precision must be one of"),
        ({"batch_size": 0}, "batch_size must be"),
    ],
)
def test_options_that_cannot_be_are_said(network, options, says):
    with pytest.raises(ValueError, match=says):
        Detector(network, **options)


@pytest.mark.parametrize("every_s", [0, -1, float("inf")])
def test_a_rate_that_cannot_be_is_said(detect, every_s):
    with pytest.raises(ValueError, match="every_s must be a positive number"):
        list(detect.along(noise(60), every_s=every_s, boxes=BOXES))


def test_classifiers_are_refused_before_anything_is_fetched():
    with pytest.raises(ValueError, match=r"slowfast_r50_8x8.fair_k400 classifies whole clips; a detector has _det"):
        Detector("slowfast_r50_8x8.fair_k400")
    network = detector_network()
    network.reset_classifier(0)
    with pytest.raises(ValueError, match="no classifier"):
        Detector(network)


def test_an_answer_reads_as_people_and_their_best_actions():
    answer = Detection(
        at_s=2.0,
        boxes=BOXES,
        probs=torch.tensor([[0.1, 0.8, 0.7], [0.5, 0.2, 0.25]]),
        box_scores=torch.tensor([1.0, 0.5]),
        ids=torch.tensor([4, 7]),
        labels=("sit", "stand", "talk"),
        video=Detector(detector_network()).open(noise(60)).info,
        model="net",
    )
    assert repr(answer) == (
        "Detection(net: 2 people at 2.00 s of array\n"
        "  person 4: stand 0.80, talk 0.70, sit 0.10\n"
        "  person 7: sit 0.50, talk 0.25, stand 0.20)"
    )
    first = answer.as_json(1)["people"][1]
    assert first == {"person": 7, "box": [10, 1, 22, 18], "box_score": 0.5, "top": [{"label": "sit", "score": 0.5}]}
