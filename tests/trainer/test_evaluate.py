"""Scores of labelled videos: those of prediction, in the order of the samples, whatever makes the clips and where."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_networks import TINY, noise, tiny_network
from made_videos import moving, write_video

from slowfast_hub.predict.predictor import Predictor
from slowfast_hub.spec import VideoError
from slowfast_hub.trainer.evaluate import Evaluation, Failed, Protocol, ensemble, evaluate
from slowfast_hub.trainer.predictions import read_predictions
from slowfast_hub.trainer.samples import Sample

CLASSES = ("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """Five videos of different lengths."""
    folder = tmp_path_factory.mktemp("videos")
    return [write_video(folder / f"{i}.mkv", moving(40 + 7 * i, height=18, width=24)[i:], fps=30) for i in range(5)]


@pytest.fixture
def samples(files) -> list[Sample]:
    return [Sample(path, (i,)) for i, path in enumerate(files)]


def with_labels(*labels: str):
    model = tiny_network()
    model.labels = labels
    return model


def same(one: Evaluation, other: Evaluation) -> bool:
    names = ("videos", "classes", "protocols", "failed", "multilabel")
    equal = all(getattr(one, name) == getattr(other, name) for name in names)
    return equal and torch.equal(one.probs, other.probs) and torch.equal(one.targets, other.targets)


@pytest.mark.parametrize(("views", "called"), [("centre", "1x1"), ("2x3", "2x3"), ("dense", "dense")])
def test_scores_are_those_of_prediction(samples, views, called):
    model, predict = tiny_network(), Predictor(tiny_network(), views=views)
    found = evaluate(model, samples, classes=CLASSES, views=views, name="tiny")
    assert torch.equal(found.probs, torch.stack([predict(sample.video).probs for sample in samples]))
    assert found.videos == tuple(str(sample.video) for sample in samples)
    assert found.targets.tolist() == torch.eye(5).bool().tolist()
    (protocol,) = found.protocols
    assert (protocol.model, protocol.views, protocol.precision) == ("tiny", called, "float32")


def test_a_network_with_sigmoid_gives_the_maximum_over_views(samples):
    model = tiny_network(activation="sigmoid")
    found = evaluate(model, samples[:1], classes=CLASSES, views="3x1", multilabel=True)
    assert torch.equal(found.probs[0], Predictor(model, views="3x1")(samples[0].video).view_logits.sigmoid().amax(0))


def test_other_processes_that_decode_change_nothing(samples, tmp_path):
    torn = tmp_path / "torn.mkv"
    torn.write_bytes(b"no video")
    samples.insert(1, Sample(torn, (0,)))
    samples += [Sample(noise(40), (1,), fps=30.0), Sample(samples[0].video, (2,), start_s=0.5, end_s=1.2)]
    here, there = (
        evaluate(tiny_network(), samples, classes=CLASSES, views="2x1", workers=workers, on_error="report")
        for workers in (0, 2)
    )
    assert same(here, there)
    assert here.videos[-1].endswith("[0.5 s to 1.2 s]")


def test_batches_of_views_of_several_videos_keep_them_apart(samples, monkeypatch):
    alone = evaluate(tiny_network(), samples, classes=CLASSES, views="2x1")
    monkeypatch.setattr("slowfast_hub.trainer.evaluate.best_batch_size", lambda device: 3)
    together = evaluate(tiny_network(), samples, classes=CLASSES, views="2x1")
    assert torch.allclose(together.probs, alone.probs, atol=1e-5)
    assert together.videos == alone.videos


def test_a_video_that_cannot_be_read_is_an_error_or_is_reported(samples, tmp_path):
    torn = tmp_path / "torn.mkv"
    torn.write_bytes(b"no video")
    mixed = [samples[0], Sample(torn, (0,)), samples[1]]
    with pytest.raises(VideoError, match=r"torn\.mkv"):
        evaluate(tiny_network(), mixed, classes=CLASSES)
    steps: list[tuple[int, int]] = []
    found = evaluate(
        tiny_network(), mixed, classes=CLASSES, on_error="report", progress=lambda *step: steps.append(step)
    )
    assert found.videos == (str(samples[0].video), str(samples[1].video))
    assert [failure.video for failure in found.failed] == [str(torn)]
    assert found.failed[0].reason
    assert steps == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(VideoError, match=r"torn\.mkv"):
        evaluate(tiny_network(), [Sample(torn, (0,))], classes=CLASSES, on_error="report")


def test_a_video_that_ends_on_the_way_has_no_scores(samples):
    class Torn(Sample):
        def open(self, limits=None):
            reader, whole = super().open(limits), super().open(limits)

            def stream(indices):
                for number, frame in zip(indices, whole.stream(indices)):
                    if number > 30:
                        raise VideoError("torn", "the end is missing")
                    yield frame

            reader.stream = stream
            return reader

    torn = Torn(samples[1].video, (1,))
    found = evaluate(tiny_network(), [samples[0], torn], classes=CLASSES, views="5x1", on_error="report")
    assert found.failed == (Failed(torn.name, "the end is missing"),)
    assert found.videos == (samples[0].name,)


def test_the_network_may_be_in_training_mode_and_stays_as_it_is(samples):
    model = tiny_network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = evaluate(model, samples[:1], classes=CLASSES)
    assert torch.equal(found.probs, evaluate(tiny_network(), samples[:1], classes=CLASSES).probs)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_classes_are_matched_by_name_and_others_of_the_network_stay(samples):
    plain = evaluate(tiny_network(), samples, classes=CLASSES)
    turned = evaluate(with_labels("e", "d", "c", "b", "a"), samples, classes=CLASSES)
    assert turned.classes == CLASSES
    assert torch.equal(turned.probs, plain.probs.flip(1))
    few = evaluate(with_labels(*CLASSES), samples[:2], classes=("d", "b"))
    assert few.classes == ("d", "b", "a", "c", "e")
    assert torch.equal(few.probs, plain.probs[:2, [3, 1, 0, 2, 4]])
    assert few.targets.tolist() == [[True, False, False, False, False], [False, True, False, False, False]]


def test_classes_that_do_not_fit_are_named(samples):
    with pytest.raises(ValueError, match=r"mine does not know 2 of the 3 classes: run, jump; its classes are a, b, c"):
        evaluate(with_labels(*CLASSES), samples, classes=("run", "a", "jump"), name="mine")
    with pytest.raises(ValueError, match="SlowFast has 5 outputs without names, the set 3 classes"):
        evaluate(tiny_network(), samples, classes=("a", "b", "c"))


def test_what_cannot_be_evaluated_is_said(samples):
    with pytest.raises(ValueError, match="no videos"):
        evaluate(tiny_network(), [], classes=CLASSES)
    with pytest.raises(ValueError, match="on_error must be one of 'raise', 'report'; got 'skip'"):
        evaluate(tiny_network(), samples, classes=CLASSES, on_error="skip")
    with pytest.raises(ValueError, match="sees optical flow"):
        evaluate(tiny_network(fast_input="flow"), samples, classes=CLASSES)


def scored(rows: dict[str, list[float]], *, model: str = "m", label: int = 0, **fields: object) -> Evaluation:
    protocol = Protocol(model, "1x1", TINY.clip, "float32")
    targets = torch.zeros(len(rows), 2, dtype=torch.bool)
    targets[:, label] = True
    probs = torch.tensor([*rows.values()])
    return replace(Evaluation(tuple(rows), probs, targets, ("a", "b"), False, (protocol,)), **fields)


def test_an_ensemble_is_the_mean_of_scores_by_video():
    one = scored({"x": [0.9, 0.1], "y": [0.4, 0.6]}, model="one")
    two = scored({"y": [0.8, 0.2], "x": [0.5, 0.5]}, model="two")
    mean = ensemble([one, two])
    assert mean.videos == ("x", "y")
    assert mean.probs.tolist() == [pytest.approx([0.7, 0.3]), pytest.approx([0.6, 0.4])]
    assert [protocol.model for protocol in mean.protocols] == ["one", "two"]


def test_a_video_that_failed_for_one_network_has_failed_for_all():
    torn = (Failed("y", "torn"),)
    one, two = scored({"x": [0.9, 0.1], "y": [0.4, 0.6]}), scored({"x": [0.5, 0.5]}, failed=torn)
    for pair in ([one, two], [two, one]):
        mean = ensemble(pair)
        assert (mean.videos, mean.failed) == (("x",), torn)
        assert mean.probs.tolist() == [pytest.approx([0.7, 0.3])]


def test_a_video_that_is_listed_twice_counts_twice():
    one = replace(scored({"x": [0.9, 0.1], "y": [0.5, 0.5]}), videos=("x", "x"))
    assert torch.equal(ensemble([one, one]).probs, one.probs)


def test_networks_that_did_not_see_the_same_have_no_mean():
    one = scored({"x": [0.9, 0.1]}, model="one")
    with pytest.raises(ValueError, match="two and one saw different videos; only one of them 2, such as x"):
        ensemble([one, scored({"y": [0.9, 0.1]}, model="two")])
    with pytest.raises(ValueError, match="two has other classes than one"):
        ensemble([one, scored({"x": [0.9, 0.1]}, model="two", classes=("b", "a"))])
    with pytest.raises(ValueError, match="x has other labels for two than for one"):
        ensemble([one, scored({"x": [0.9, 0.1]}, model="two", label=1)])


LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
LAUNCHED = """
import sys
from made_networks import tiny_network
from slowfast_hub.spec import VideoError
from slowfast_hub.trainer.evaluate import evaluate, process_state
from slowfast_hub.trainer.predictions import write_predictions
from slowfast_hub.trainer.samples import Sample

out, torn, *paths = sys.argv[1:]
samples = [Sample(path, (i,)) for i, path in enumerate(paths)]
found = evaluate(tiny_network(), samples, classes="abcde", views="2x1")
write_predictions(found, f"{out}/{process_state().process_index}.jsonl")
try:
    evaluate(tiny_network(), [*samples[:3], Sample(torn, (0,))], classes="abcde")
except VideoError as error:
    open(f"{out}/{process_state().process_index}.error", "w").write(str(error))
"""


def test_two_processes_give_what_one_gives_to_each(files, samples, tmp_path):
    script, torn = tmp_path / "launched.py", tmp_path / "torn.mkv"
    script.write_text(LAUNCHED)
    torn.write_bytes(b"no video")
    root = Path(__file__).resolve().parents[2]
    subprocess.run(
        [*LAUNCH, script, tmp_path, torn, *files],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"},
        check=True,
        timeout=120,
    )
    one = evaluate(tiny_network(), samples, classes=CLASSES, views="2x1")
    for rank in (0, 1):
        assert same(read_predictions(tmp_path / f"{rank}.jsonl"), one)
        assert "torn.mkv" in (tmp_path / f"{rank}.error").read_text()
