from dataclasses import replace

import pytest
import torch
from made_training import NAME, bars, detecting, pairs_of_bars, people, register_tiny, small

from slowfast_hub import create_model, save_pretrained
from slowfast_hub.spec import RoISpec
from slowfast_hub.trainer.journal import read_lines
from slowfast_hub.trainer.keyframes import KeyFrame, LabelledPeople, Person
from slowfast_hub.trainer.memory import with_fitting_micro_batch
from slowfast_hub.trainer.train import train
from slowfast_hub.zoo.load import read_safetensors
from slowfast_hub.zoo.registry import ARCHS


@pytest.fixture(autouse=True)
def tiny_row():
    register_tiny()
    yield
    del ARCHS[NAME]


def losses(records):
    return [(record["step"], record["loss"]) for record in records if record["kind"] == "step"]


def test_training_learns_what_each_of_two_people_in_a_picture_does():
    log = []
    model = train(detecting(epochs=30, jitter=(32, 32), eval_every=30), people(12, 8), log=log.append)
    assert model.arch.roi == RoISpec(grid=2, aligned=True)
    assert (model.arch.activation, model.labels, model.training) == ("sigmoid", ("right", "left"), False)
    tests = [record for record in log if record["kind"] == "test"]
    assert [(test["mAP"], test["requested"], test["decoded"]) for test in tests] == [(1.0, 8, 8)]


def test_a_run_that_was_stopped_goes_on_to_the_same_losses_and_weights(tmp_path):
    recipe = detecting(epochs=2, save_every=1, flip=0.5, box_jitter=0.1, ema_decay=0.9)
    whole, rest = [], []
    expected = train(recipe, people(), log=whole.append)

    def stop(record):
        if record["kind"] == "step" and record["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, people(), out=tmp_path, log=stop)
    got = train(recipe, people(), out=tmp_path, log=rest.append)
    assert losses(whole)[-len(losses(rest)) :] == losses(rest) != []
    assert all(torch.equal(value, got.state_dict()[key]) for key, value in expected.state_dict().items())
    with pytest.raises(ValueError, match="other key frames: 8 training and 0 val key frames of 2 classes"):
        train(recipe, replace(people(), train=pairs_of_bars(7)), out=tmp_path)


def moved(recipe, labelled):
    """How far one step of gradient descent goes, parameter by parameter."""
    still = dict(train(replace(recipe, lr=0.0), labelled).named_parameters())
    return {key: value - still[key] for key, value in train(recipe, labelled).named_parameters()}


PLAIN = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.0, "warmup_epochs": 0, "jitter": (32, 32)}


def test_a_box_weighs_the_same_however_the_clips_of_a_step_are_shared_out():
    """Steps of four clips with six to eight boxes, which two turns do not share evenly."""
    recipe = detecting(epochs=0.5, norm_clips=2, **PLAIN)
    once, twice = moved(recipe, people()), moved(replace(recipe, micro_batch=2), people())
    assert sum(float(step.detach().abs().max()) > 1e-4 for step in once.values()) > 50
    assert all(torch.allclose(once[key], twice[key], rtol=1e-3, atol=1e-6) for key in once)


def test_the_loss_of_a_clip_is_that_of_its_boxes_over_the_mean_number_of_boxes():
    """Three boxes in two clips: a new classifier gives each class a half, so a box loses ln 2, and a clip that mean."""
    frames = pairs_of_bars(3)[1:]
    assert [len(frame.people) for frame in frames] == [2, 1]
    log = []
    recipe = detecting(epochs=1, batch_size=2, init=None, **PLAIN)
    train(recipe, LabelledPeople(("right", "left"), frames), log=log.append)
    assert losses(log)[0][1] == pytest.approx(0.693, abs=0.03)


def test_a_clip_that_shows_nobody_gives_nothing_to_learn_and_is_no_fault(tmp_path):
    """People in a strip at the side of a wide picture, which crops from the middle never show."""
    frame = pairs_of_bars(1)[0]
    wide = torch.from_numpy(frame.video).repeat(1, 1, 20, 1)
    hidden = KeyFrame(wide, frame.at_s, (Person((0.0, 0.0, 0.001, 1.0), (0,)),), fps=30.0)
    labelled = LabelledPeople(("right", "left"), (frame, hidden, hidden, hidden))
    log = []
    train(detecting(epochs=1), labelled, out=tmp_path, log=log.append)
    (epoch,) = [record for record in log if record["kind"] == "epoch"]
    assert (epoch["clips"], epoch["skipped"], read_lines(tmp_path / "skipped.jsonl")) == (1, 0, [])


def test_a_process_without_any_boxes_goes_on():
    frame = pairs_of_bars(1)[0]
    wide = torch.from_numpy(frame.video).repeat(1, 1, 20, 1)
    hidden = KeyFrame(wide, frame.at_s, (Person((0.0, 0.0, 0.001, 1.0), (0,)),), fps=30.0)
    log = []
    train(detecting(epochs=1, batch_size=2, micro_batch=1), LabelledPeople(("a", "b"), (frame, hidden)), log=log.append)
    assert losses(log)[0][1] > 0


def test_a_network_that_classifies_clips_is_the_start_of_a_detector(tmp_path):
    """With five other classes, and with the same two: the classifier of the first is new, all else stays."""
    recipe = detecting(epochs=0.5, lr=0.0, weight_decay=0.0, warmup_epochs=0, batch_norm="frozen")
    for classes in (5, 2):
        saved = save_pretrained(create_model(NAME, num_classes=classes, beta_inv=4), tmp_path / str(classes))
        path = saved / "model.safetensors"
        before, after = read_safetensors(path), train(replace(recipe, init=str(path)), people()).state_dict()
        assert {key for key in before if not torch.equal(before[key], after[key])} == (
            {"head.fc.weight", "head.fc.bias"} if classes == 5 else set()
        )


def test_weights_in_the_name_of_the_network_start_a_detector_too(tmp_path):
    save_pretrained(create_model(NAME, num_classes=5, beta_inv=4), tmp_path / "weights")
    recipe = replace(detecting(epochs=0.5, head_epochs=0.5, warmup_epochs=0), model=f"local-dir:{tmp_path / 'weights'}")
    model = train(recipe, people())
    before = read_safetensors(tmp_path / "weights" / "model.safetensors")
    assert torch.equal(model.state_dict()["slow.stem.conv1.conv.weight"], before["slow.stem.conv1.conv.weight"])
    assert model.num_classes == 2


def test_balance_counts_people():
    """Seven of nine people move right: that class weighs 2 / 7 where it is right, the other 7 / 2."""
    from slowfast_hub.trainer.clips import class_counts, sample_weights
    from slowfast_hub.trainer.task import task_of
    from slowfast_hub.trainer.train import loss_of

    many = KeyFrame(bars().train[0].video, 0.2, tuple(Person((0.0, 0.0, 1.0, 1.0), (0,)) for _ in range(7)))
    few = replace(many, people=tuple(Person((0.0, 0.0, 1.0, 1.0), (1,)) for _ in range(2)))
    task = task_of(detecting(balance="loss"), LabelledPeople(("right", "left"), (many, few)))
    counts = class_counts(task.labels, 2)
    assert counts.tolist() == [7, 2]
    positives = loss_of(detecting(balance="loss"), counts, len(task.labels), multilabel=True).pos_weight
    assert positives.tolist() == pytest.approx([2 / 7, 7 / 2])
    assert sample_weights(task.samples, counts).tolist() == pytest.approx([1 / 7, 1 / 2])


def test_a_number_of_clips_that_fits_into_memory_is_found():
    assert 1 <= with_fitting_micro_batch(detecting(batch_size=4), people()).micro_batch <= 4


def test_statistics_are_measured_anew_without_boxes():
    once, anew = (train(detecting(epochs=0.5, warmup_epochs=0, precise_norm=n), people()) for n in (0, 2))
    key = "slow.stem.conv1.norm.running_mean"
    assert not torch.equal(once.state_dict()[key], anew.state_dict()[key])


def test_half_precision_is_compared_on_whole_pictures():
    log = []
    train(detecting(epochs=0.5, warmup_epochs=0, precision="bfloat16"), people(), log=log.append)
    assert 0 < log[0]["difference"] < 0.05


UNKNOWN = tuple(
    replace(frame, people=tuple(replace(person, labels=()) for person in frame.people)) for frame in pairs_of_bars(2)
)
FOUND = LabelledPeople(("right", "left"), tuple(replace(frame, found=()) for frame in pairs_of_bars(4)))


@pytest.mark.parametrize(
    ("recipe", "labelled", "said"),
    [
        (small(), people(), r"tiny_for_training classifies whole clips, .* changes.roi=\{grid=7\}"),
        (detecting(), bars(), "is a detector, and this is a set of videos"),
        (small(box_jitter=0.1), bars(), "box_jitter and found_iou are about the boxes of people"),
        (detecting(mixup=0.5), people(), "mixup, cutmix and label_smoothing are for one label"),
        (detecting(rand_augment=5), people(), "boxes would not follow"),
        (detecting(eval_views="10x3"), people(), "a detector sees whole pictures"),
        (detecting(found_iou=0.9), FOUND, "no key frame has any"),
        (detecting(), LabelledPeople(("right", "left"), ()), "there are no key frames to train on"),
        (detecting(), LabelledPeople(("right", "left"), UNKNOWN), "nobody in the training part has a label"),
        (detecting(), replace(people(), val=UNKNOWN), "nobody in the val part has a label"),
    ],
)
def test_what_a_recipe_and_a_set_cannot_do_together_is_said_before_the_first_step(recipe, labelled, said):
    with pytest.raises(ValueError, match=said):
        train(recipe, labelled)


@pytest.mark.parametrize("wrong", [{"box_jitter": 0.5}, {"found_iou": 1.0}, {"found_score": 1.5}])
def test_impossible_fields_are_refused(wrong):
    with pytest.raises(ValueError, match=f"recipe.{next(iter(wrong))} must be in"):
        detecting(**wrong)
