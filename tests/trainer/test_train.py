import json
import os
import signal
from dataclasses import replace
from importlib.metadata import version

import pytest
import torch
from made_training import NAME, bars, moving_bars, register_tiny, small

from slowfast_hub import Predictor, from_pretrained, save_pretrained
from slowfast_hub.trainer.checkpoint import checkpoints
from slowfast_hub.trainer.evaluate import evaluate
from slowfast_hub.trainer.journal import read_lines
from slowfast_hub.trainer.metrics import measure
from slowfast_hub.trainer.samples import LabelledVideos, Sample
from slowfast_hub.trainer.train import epochs_of, train
from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.load import read_safetensors
from slowfast_hub.zoo.registry import ARCHS
from slowfast_hub.zoo.save import save_tensors

# Everything that chance has a hand in, and everything a checkpoint has to hold.
CHANCE = {"ema_decay": 0.9, "mixup": 0.3, "cutmix": 0.5, "drop_path": 0.2, "changes": {"dropout": 0.5}, "flip": 0.5}


@pytest.fixture(autouse=True)
def tiny_row():
    register_tiny()
    yield
    del ARCHS[NAME]


def losses(records):
    return [(record["step"], record["loss"]) for record in records if record["kind"] == "step"]


def test_training_learns_the_direction_of_motion():
    log = []
    model = train(small(epochs=30, jitter=(32, 32)), bars(), log=log.append)
    assert not model.training
    assert model.labels == ("right", "left")
    epochs = [record for record in log if record["kind"] == "epoch"]
    assert len(losses(log)) == 60
    assert epochs[-1]["loss"] < 0.5 * epochs[0]["loss"]
    assert measure(evaluate(model, moving_bars(8), classes=model.labels)).top1 == 1.0


def test_the_same_seed_gives_the_same_weights():
    first, second = (train(small(epochs=1, **CHANCE), bars()).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_folder_of_a_run_is_a_network_with_its_log_and_recipe(tmp_path, counting_video):
    run = tmp_path / "run"
    model = train(small(), bars(8, 4), out=run)
    again = from_pretrained(run)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    assert Predictor(f"local-dir:{run}")(counting_video(30)).labels == ("right", "left")
    records = read_lines(run / "log.jsonl")
    assert [record["kind"] for record in records] == ["step", "step", "epoch", "test"] * 3 + ["end"]
    assert [path.name for path in checkpoints(run)] == ["step-000000004.pt", "step-000000006.pt"]
    about = json.loads((run / "run.json").read_text())
    assert (about["videos"]["train"], about["seed"], about["packages"]["torch"]) == (8, 0, version("torch"))
    page = (run / "report.html").read_text()
    assert "<svg" in page
    assert "best top1" in page
    assert list((run / "tensorboard").iterdir())


def test_the_network_with_the_best_test_is_kept(monkeypatch):
    """Of the tests after the first, second and third epoch the second is the best."""
    answers, seen = iter([0.2, 0.9, 0.4]), []

    def measured(evaluation):
        seen.append(evaluation.probs)
        return replace(measure(evaluation), top1=next(answers))

    monkeypatch.setattr("slowfast_hub.trainer.task.measure", measured)
    kept = train(small(), bars(8, 4))
    again = evaluate(kept, moving_bars(4), classes=kept.labels).probs
    assert [torch.equal(probs, again) for probs in seen] == [False, True, False]


def test_a_run_ends_when_tests_stop_getting_better(monkeypatch):
    answers = iter([0.5, 0.4, 0.5, 0.9])
    monkeypatch.setattr("slowfast_hub.trainer.task.measure", lambda e: replace(measure(e), top1=next(answers)))
    log = []
    train(small(epochs=10, patience=2), bars(8, 4), log=log.append)
    assert [record["top1"] for record in log if record["kind"] == "test"] == [0.5, 0.4, 0.5]


def said_by(monkeypatch) -> list[str]:
    """What a run says from now on."""
    said = []
    monkeypatch.setattr("slowfast_hub.trainer.journal.Journal.say", lambda self, text: said.append(text))
    return said


def test_the_log_says_which_test_is_kept_and_why_a_run_ended(monkeypatch):
    answers, said = iter([0.5, 0.4, 0.5, 0.9]), said_by(monkeypatch)
    monkeypatch.setattr("slowfast_hub.trainer.task.measure", lambda e: replace(measure(e), top1=next(answers)))
    train(small(epochs=10, patience=2), bars(8, 4))
    tests = [line for line in said if ": val " in line]
    assert [line.partition("; ")[2] for line in tests] == [
        *("the best so far", "", "as good as the best so far, and kept")
    ]
    assert "no better test in 2 (patience=2); the network of epoch 3 is kept, 50.0 %" in said


@pytest.mark.parametrize(
    ("count", "batch_size", "text"),
    [
        (24, 16, "1 step of 16 clips, and leaves 8 of 24 out, others each time; those are few: try batch_size=6"),
        (24, 6, "4 steps of 6 clips"),
        (2, 2, "1 step of 2 clips; those are few: try batch_size=1"),
        (1, 1, "1 step of 1 clips"),
    ],
)
def test_the_steps_of_an_epoch_are_said_and_what_to_do_where_they_are_few(count, batch_size, text):
    assert epochs_of(count, batch_size, "clips") == f"an epoch is {text}"


def test_a_run_says_the_steps_of_its_epochs(monkeypatch):
    said = said_by(monkeypatch)
    train(small(epochs=1), bars(9, 2))
    assert any(line.startswith("an epoch is 2 steps of 4 videos, and leaves 1 of 9 out") for line in said)


@pytest.mark.parametrize(("step", "save_every"), [(1, 1), (2, 2), (4, 0), (6, 2)])
def test_a_run_that_was_stopped_goes_on_to_the_same_losses_and_weights(tmp_path, step, save_every):
    """Eight steps in two epochs; SIGTERM comes after a step, and it ends with the next or, after 4, the test."""
    recipe = small(batch_size=2, epochs=2, save_every=save_every, **CHANCE)
    whole, rest = [], []
    expected = train(recipe, bars(8, 4), out=tmp_path / "whole", log=whole.append)

    def stop(record):
        if record["kind"] == "step" and record["step"] == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt, match="goes on from there"):
        train(recipe, bars(8, 4), out=tmp_path / "run", log=stop)
    got = train(recipe, bars(8, 4), out=tmp_path / "run", log=rest.append)
    assert losses(rest)[0][0] == (5 if step == 4 else step + 2)
    assert losses(whole)[-len(losses(rest)) :] == losses(rest)
    assert losses(read_lines(tmp_path / "run" / "log.jsonl")) == losses(whole)
    assert all(torch.equal(value, got.state_dict()[key]) for key, value in expected.state_dict().items())


def test_a_finished_run_is_not_trained_again(tmp_path):
    train(small(epochs=1), bars(8, 4), out=tmp_path)
    log = []
    train(small(epochs=1), bars(8, 4), out=tmp_path, log=log.append)
    assert losses(log) == []
    with pytest.raises(FileExistsError, match="holds a run already"):
        train(small(epochs=1), bars(8, 4), out=tmp_path, resume="never")


def test_a_run_goes_on_as_itself_alone(tmp_path):
    train(small(epochs=1), bars(), out=tmp_path)
    with pytest.raises(ValueError, match=r"epochs 1\.0, now 3; lr 0\.003, now 0\.1: use its recipe"):
        train(small(epochs=3, lr=0.1), bars(), out=tmp_path)
    with pytest.raises(ValueError, match=r"8 training and 0 val videos of 2 classes, digest .*, now 6"):
        train(small(epochs=1), bars(6), out=tmp_path)
    turned = tuple(replace(sample, labels=(1 - sample.labels[0],)) for sample in moving_bars(8))
    with pytest.raises(ValueError, match="other videos"):
        train(small(epochs=1), LabelledVideos(("right", "left"), turned), out=tmp_path)
    train(small(epochs=1, workers=1, keep=1), bars(), out=tmp_path)  # the machine may be another


def test_a_full_disk_leaves_the_last_checkpoint_and_does_not_end_the_run(tmp_path, monkeypatch):
    calls = []

    def full(state, path):
        calls.append(path)
        path.write_bytes(b"half of it")
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(state, path)

    real = torch.save
    monkeypatch.setattr("slowfast_hub.trainer.checkpoint.torch.save", full)
    train(small(), bars(), out=tmp_path)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000000002.pt", "step-000000006.pt"]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    (error,) = (record for record in read_lines(tmp_path / "log.jsonl") if record["kind"] == "error")
    assert error["step"] == 4
    assert "No space left" in error["error"]


def test_a_step_in_two_turns_is_the_same_step():
    """Within two clips for batch norm a step of four is two turns of two: the same sums, to rounding."""
    recipe = small(epochs=0.5, norm_clips=2, optimizer="sgd", lr=0.1, weight_decay=0.0, warmup_epochs=0)
    start, once, twice = (
        dict(train(each, bars()).named_parameters())
        for each in (replace(recipe, lr=0.0), recipe, replace(recipe, micro_batch=2))
    )
    moved = {key: float((once[key] - start[key]).abs().max()) for key in start}
    assert sum(far > 1e-4 for far in moved.values()) > 50
    assert all(float((once[key] - twice[key]).abs().max()) <= 1e-3 * far + 1e-7 for key, far in moved.items())


def test_recomputed_blocks_change_nothing_but_memory():
    plain, recomputed = (train(small(grad_checkpointing=on), bars()).state_dict() for on in (False, True))
    assert all(torch.equal(plain[key], recomputed[key]) for key in plain if not key.endswith("num_batches_tracked"))


def test_the_head_learns_first_and_then_all():
    before = train(small(epochs=0.5, lr=0.0, warmup_epochs=0, head_epochs=0.5), bars()).state_dict()
    recipe = small(epochs=2, head_epochs=1, warmup_epochs=0, weight_decay=0.0)
    after = {}
    for epochs in (1, 2):
        after[epochs] = train(replace(recipe, epochs=float(epochs)), bars()).state_dict()
    changed = {epochs: {k for k in before if not torch.equal(before[k], after[epochs][k])} for epochs in after}
    assert changed[1] == {"head.fc.weight", "head.fc.bias"}
    assert "slow.stem.conv1.conv.weight" in changed[2]


def test_frozen_statistics_stay_while_weights_learn(tmp_path):
    path = save_pretrained(create_model(NAME, num_classes=2), tmp_path) / "model.safetensors"
    before = read_safetensors(path)
    after = train(small(epochs=2, batch_norm="frozen", init=str(path)), bars()).state_dict()
    moved = [key for key in before if not torch.equal(before[key], after[key])]
    assert "slow.stem.conv1.conv.weight" in moved
    assert not [key for key in moved if "running" in key]
    with pytest.raises(ValueError, match="batch_norm=batch head_epochs=0"):
        train(small(batch_norm="frozen"), bars())


def test_many_labels_are_trained_and_tested_by_mean_average_precision():
    samples = tuple(replace(sample, labels=(0, 1) if i % 2 else ()) for i, sample in enumerate(moving_bars(8)))
    log = []
    recipe = small(epochs=1)
    model = train(recipe, LabelledVideos(("a", "b"), samples, samples, multilabel=True), log=log.append)
    assert model.arch.activation == "sigmoid"
    assert next(record for record in log if record["kind"] == "test")["mAP"] > 0.3
    with pytest.raises(ValueError, match="needs softmax"):
        train(small(changes={"activation": "sigmoid"}), bars())
    with pytest.raises(ValueError, match="for one label each"):
        train(replace(recipe, mixup=0.2), LabelledVideos(("a", "b"), samples, multilabel=True))


def test_videos_that_cannot_be_read_are_left_out_counted_and_listed(tmp_path, monkeypatch):
    bad = Sample(tmp_path / "bad.mp4", (0,))
    videos = LabelledVideos(("right", "left"), (*moving_bars(7), bad), (*moving_bars(2), bad))
    log = []
    train(small(epochs=2), videos, out=tmp_path / "run", log=log.append)
    assert [record["skipped"] for record in log if record["kind"] == "epoch"] == [1, 1]
    assert [record["clips"] for record in log if record["kind"] == "epoch"] == [7, 7]
    assert {record["video"] for record in read_lines(tmp_path / "run" / "skipped.jsonl")} == {str(bad.video)}
    test = next(record for record in log if record["kind"] == "test")
    assert (test["requested"], test["decoded"]) == (3, 2)
    said = said_by(monkeypatch)
    with pytest.raises(ValueError, match="none of the videos of epoch 1 could be read"):
        train(small(), LabelledVideos(("right", "left"), (bad,) * 4))
    assert not any("loss" in line for line in said)
    with pytest.raises(ValueError, match="there is one class, right"):
        train(small(), LabelledVideos(("right",), moving_bars(1)))
    # A turn of which nothing can be read, with blocks that are computed twice.
    half = LabelledVideos(("right", "left"), (*moving_bars(2), bad, bad))
    train(small(epochs=2, micro_batch=1, grad_checkpointing=True, crop=64, jitter=None), half)


def test_balance_by_loss_weighs_a_rare_class_as_much_as_a_frequent_one():
    """Six videos of class 0 and two of class 1: weights 8 / (6 * 2) and 8 / (2 * 2)."""
    from slowfast_hub.trainer.train import loss_of

    of_clips = loss_of(small(balance="loss"), torch.tensor([6.0, 2.0]), 8, multilabel=False)
    per_clip = of_clips(torch.zeros(2, 2), torch.tensor([0, 1]))
    assert per_clip.tolist() == pytest.approx([8 / 12 * 0.693147, 2 * 0.693147], rel=1e-5)


def test_weights_of_a_file_start_a_run_and_other_classes_get_a_new_head(tmp_path):
    path = tmp_path / "w.safetensors"
    model = create_model(NAME, num_classes=2)
    save_tensors(model.to(memory_format=torch.channels_last_3d).state_dict(), path, metadata={})
    idle = small(init=str(path), epochs=1, lr=0.0, warmup_epochs=0)
    three = LabelledVideos(("a", "b", "c"), moving_bars(8))
    trained = train(idle, three)
    assert torch.equal(trained.slow.res2[0].a.conv.weight, model.slow.res2[0].a.conv.weight)
    assert trained.get_classifier().out_features == 3
    same = train(idle, bars())
    assert torch.equal(same.get_classifier().weight, model.get_classifier().weight)


@pytest.mark.parametrize("door", ["model", "init"])
def test_as_many_other_classes_get_a_new_head_too(tmp_path, door):
    torch.manual_seed(123)  # another head than the run draws
    model = create_model(NAME, num_classes=2)
    save_pretrained(model, tmp_path, labels=("right", "left"))
    source = f"local-dir:{tmp_path}"
    idle = small(epochs=1, lr=0.0, warmup_epochs=0, **({"init": source} if door == "init" else {}))
    idle = replace(idle, model=source) if door == "model" else idle
    same, other = (
        train(idle, LabelledVideos(classes, moving_bars(8))) for classes in (("right", "left"), ("up", "down"))
    )
    assert torch.equal(same.get_classifier().weight, model.get_classifier().weight)
    assert not torch.equal(other.get_classifier().weight, model.get_classifier().weight)
    assert torch.equal(other.slow.res2[0].a.conv.weight, model.slow.res2[0].a.conv.weight)


def test_a_network_with_nonlocal_blocks_starts_from_one_without(tmp_path):
    from slowfast_hub.trainer.start import start_model

    path = tmp_path / "w.safetensors"
    plain = create_model(NAME, num_classes=2)
    save_tensors(plain.state_dict(), path, metadata={})
    recipe = small(init=str(path), changes={"nonlocal_at": [[], [], [0], []]})
    clips = torch.randn(1, 3, 8, 32, 32)
    assert torch.allclose(start_model(recipe, bars()).eval()(clips), plain(clips), atol=1e-5)
    with pytest.raises(ValueError, match="does not fit the network"):
        start_model(replace(recipe, changes={"width": 16}), bars())


def test_half_precision_is_compared_with_float32_on_the_first_batch(monkeypatch):
    log = []
    train(small(epochs=1, precision="bfloat16"), bars(), log=log.append)
    assert log[0]["kind"] == "precision"
    assert 0 < log[0]["difference"] < 0.05
    monkeypatch.setattr("slowfast_hub.trainer.train.FURTHEST", -1.0)
    with pytest.raises(FloatingPointError, match="bfloat16 changes the logits of the first clips"):
        train(small(epochs=1, precision="bfloat16"), bars())


def test_a_loss_that_is_not_finite_ends_the_run():
    with pytest.raises(
        FloatingPointError, match=r"the loss is (nan|inf) in step \d+: start in another folder with a lower lr"
    ):
        train(small(epochs=20, lr=1e9, optimizer="sgd", warmup_epochs=0), bars())


def test_classes_that_a_flip_mixes_up_are_named():
    from slowfast_hub.trainer.train import mirrored

    classes = ("turn left", "turn Right", "turn right", "left alone")
    assert mirrored(classes, small(flip=0.5)) == "turn left and turn right"
    assert mirrored(classes, small(flip=0.0)) == ""
    assert mirrored(classes, small(flip=0.5, swap={"turn left": "turn right"})) == ""


def test_an_empty_training_part_is_refused():
    with pytest.raises(ValueError, match="no videos to train on"):
        train(small(), LabelledVideos(("a",), ()))


def test_a_folder_of_something_else_stays_as_it_is(tmp_path):
    (tmp_path / "videos.csv").write_text("mine")
    with pytest.raises(FileExistsError, match="files that are no run"):
        train(small(), bars(), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["videos.csv"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mixup": 0.2, "micro_batch": 1}, "need two clips at once"),
        ({"norm_clips": 8}, "norm_clips=8 is more than the 4 clips"),
        ({"eval_views": "5y1"}, "views is 'centre'"),
    ],
)
def test_what_a_recipe_cannot_do_is_said_before_the_first_step(changes, said):
    log = []
    with pytest.raises(ValueError, match=said):
        train(small(**changes), bars(8, 4), log=log.append)
    assert log == []


def test_a_run_can_go_back_and_forget_what_came_after(tmp_path):
    run = tmp_path / "run"
    train(small(keep=3), bars(8, 4), out=run)
    first = checkpoints(run)[0]
    assert first.name == "step-000000002.pt"
    log = []
    train(small(keep=3), bars(8, 4), out=run, resume=str(first), log=log.append)
    assert [step for step, _ in losses(log)] == [3, 4, 5, 6]
    assert [r["step"] for r in read_lines(run / "log.jsonl") if r["kind"] == "step"] == [1, 2, 3, 4, 5, 6]
    elsewhere = train(small(keep=3), bars(8, 4), out=tmp_path / "other", resume=str(first))
    assert all(
        torch.equal(v, from_pretrained(tmp_path / "other").state_dict()[k]) for k, v in elsewhere.state_dict().items()
    )


def test_a_run_that_was_stopped_before_its_test_begins_with_it(tmp_path, monkeypatch):
    recipe, calls = small(epochs=2), []

    def fails_once(*arguments, **options):
        calls.append(options["classes"])
        if len(calls) == 1:
            raise OSError("the disk of the videos is gone")
        return evaluate(*arguments, **options)

    monkeypatch.setattr("slowfast_hub.trainer.task.evaluate", fails_once)
    with pytest.raises(OSError, match="is gone"):
        train(recipe, bars(8, 4), out=tmp_path)
    log = []
    train(recipe, bars(8, 4), out=tmp_path, log=log.append)
    assert [(record["kind"], record["step"]) for record in log[:2]] == [("test", 2), ("step", 3)]
