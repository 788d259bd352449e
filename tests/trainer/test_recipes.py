"""The recipes that ship: their schedules by numbers, and that each fits the network and the weights it is for."""

import math
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from slowfast_hub import create_model
from slowfast_hub.models import VideoModel
from slowfast_hub.trainer.clips import Turns, clip_side
from slowfast_hub.trainer.optim import make_optimizer, make_scheduler
from slowfast_hub.trainer.recipe import KINDS, Recipe, list_recipes, read_recipe
from slowfast_hub.zoo.describe import fields_from_json
from slowfast_hub.zoo.load import CLASSIFIER

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
STEPS = 100  # of an epoch
PAPER = [name for name in list_recipes() if name.startswith(("k400", "k600"))]


def rates(recipe: Recipe, *epochs: float) -> list[float]:
    """The learning rate at the step that begins at each of `epochs`."""
    rate = recipe.rate_for(recipe.batch_size)
    optimizer = make_optimizer(nn.Linear(2, 2), recipe, rate)
    scheduler = make_scheduler(optimizer, recipe, rate, STEPS)
    found = []
    for epoch in epochs:
        scheduler.step_update(round(epoch * STEPS))
        found.append(optimizer.param_groups[0]["lr"])
    return found


@cache
def network(name: str) -> VideoModel:
    """The network of a recipe, without memory for its tensors."""
    recipe = read_recipe(name)
    with torch.device("meta"):
        return create_model(recipe.model, **fields_from_json(recipe.changes))


def shapes(model: VideoModel) -> dict[str, torch.Size]:
    """Those of all tensors but the classifier and non-local blocks, which may be new."""
    new = (CLASSIFIER, "_nonlocal.")
    return {key: value.shape for key, value in model.state_dict().items() if not any(part in key for part in new)}


def test_the_recipes_of_the_paper_and_those_of_the_projects_ship():
    rows = (
        "slowfast_r50_4x16",
        "slowfast_r50_8x8",
        "slowfast_r101_8x8_t50",
        "slowfast_r101_16x8",
        "slowfast_nl_r101_16x8",
    )
    kinetics = {f"{data}_{row}" for data in ("k400", "k600") for row in rows} | {"k400_i3d_r50_8x8"}
    detectors = {"slowfast_det_r101_8x8_t50", "slowfast_nl_det_r101_8x8_t50", "slowfast_nl_det_r101_16x8"}
    ava = {f"ava_{row}" for row in detectors | {f"{kind}_det_r50_4x16" for kind in ("slow", "slowfast")}}
    ava.add("ava_slowfast_det_r50_8x8")
    assert {*list_recipes()} == kinetics | ava | {"charades_slowfast_r50_16x8", "ssv2_slowfast_r50_16x8", "finetune"}


def test_the_page_lists_every_recipe_and_names_no_field_that_is_not_there():
    text = PAGE.read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE))
    assert listed == {name for name in list_recipes() if not name.startswith("k600")}  # those share a line
    said = re.sub(r"```py\n.*?```", "", text, flags=re.DOTALL)  # Python has arguments, too
    assert set(re.findall(r"[` ](\w+)=[\w'\d]", said)) <= KINDS.keys()


@pytest.mark.parametrize(
    ("name", "epochs", "rate"),
    [
        ("k400_slowfast_r50_4x16", 256, 0.1),
        ("k400_slowfast_r50_8x8", 196, 0.1),
        ("k400_slowfast_r101_8x8_t50", 196, 0.1),
        ("k400_slowfast_r101_16x8", 98, 0.1),
        ("k400_slowfast_nl_r101_16x8", 98, 0.1),
        ("k400_i3d_r50_8x8", 196, 0.1),
        ("k600_slowfast_r50_4x16", 512, 0.05),
        ("k600_slowfast_r50_8x8", 392, 0.05),
        ("k600_slowfast_r101_8x8_t50", 392, 0.05),
        ("k600_slowfast_r101_16x8", 196, 0.05),
        ("k600_slowfast_nl_r101_16x8", 196, 0.05),
    ],
)
def test_kinetics_is_half_a_cosine_after_8000_steps_of_1024_clips(name, epochs, rate):
    recipe = read_recipe(name)
    warm = 34 if name.startswith("k400") else 68
    assert (recipe.epochs, recipe.warmup_epochs) == (epochs, warm)
    assert warm / 34 * 8000 == pytest.approx(warm * 240_000 / 1024, rel=0.01)
    end_of_line = rate * (1 + math.cos(math.pi * warm / epochs)) / 2
    assert rates(recipe, 0, warm, epochs) == pytest.approx([rate / 10, end_of_line, 0], abs=1e-9)
    assert rates(recipe, warm / 2) == pytest.approx([(rate / 10 + end_of_line) / 2])
    if warm < epochs / 2:
        assert rates(recipe, epochs / 2) == pytest.approx([rate / 2])


@pytest.mark.parametrize("name", PAPER)
def test_the_rates_of_the_paper_are_those_of_1024_clips(name):
    recipe = read_recipe(name, ["batch_size=1024"])
    assert recipe.rate_for(recipe.batch_size) == (1.6 if name.startswith("k400") else 0.8)
    assert (recipe.optimizer, recipe.momentum, recipe.weight_decay, recipe.norm_clips) == ("sgd", 0.9, 1e-4, 8)
    assert (recipe.crop, recipe.jitter) == (224, (256, 340) if "r101" in name else (256, 320))
    assert network(name).arch.dropout == 0.5


def test_charades_falls_to_a_tenth_in_epochs_41_and_49():
    name = "charades_slowfast_r50_16x8"
    recipe = read_recipe(name)
    assert rates(recipe, 0, 4, 40.99) == pytest.approx([1e-4, 0.0375, 0.0375])
    assert rates(recipe, 41, 48.99, 49, 56.99) == pytest.approx([0.00375, 0.00375, 0.000375, 0.000375])
    arch = network(name).arch
    assert (arch.activation, arch.clip.frames, arch.clip.fps) == ("sigmoid", 64, 24)


@pytest.mark.parametrize("name", [name for name in list_recipes() if name.startswith("ava")])
def test_ava_falls_to_a_tenth_in_the_middle_and_at_three_quarters_of_the_paper_s_68_epochs(name):
    """14k steps of 1024 key frames are 68 epochs of 211k, and the first 1k of them are 4.85. PySlowFast: 20 epochs."""
    recipe = read_recipe(name)
    long = name != "ava_slowfast_det_r50_8x8"
    assert recipe.epochs == pytest.approx(14_000 * 1024 / 211_000, rel=0.01) if long else recipe.epochs == 20
    assert recipe.warmup_epochs == (pytest.approx(1_000 * 1024 / 211_000, rel=0.01) if long else 5)
    half, rest = recipe.epochs / 2, recipe.epochs * 3 / 4
    assert rates(recipe, 0, recipe.warmup_epochs, half - 0.01) == pytest.approx([1.25e-4, 0.1, 0.1])
    assert rates(recipe, half, rest - 0.01, rest, recipe.epochs - 0.01) == pytest.approx([0.01, 0.01, 0.001, 0.001])
    assert (recipe.weight_decay, recipe.found_iou, recipe.found_score, recipe.box_jitter) == (1e-7, None, 0.8, 0)
    assert (network(name).num_classes, network(name).arch.activation) == (80, "sigmoid")


def test_something_something_falls_to_a_tenth_in_epochs_14_and_18_and_never_flips():
    name = "ssv2_slowfast_r50_16x8"
    recipe = read_recipe(name)
    assert rates(recipe, 0, 0.19, 13.99) == pytest.approx([1e-4, 0.03, 0.03])
    assert rates(recipe, 14, 17.99, 18, 21.99) == pytest.approx([0.003, 0.003, 0.0003, 0.0003])
    assert (recipe.flip, network(name).arch.clip.sampling) == (0, "segments")


def test_fine_tuning_begins_with_the_classifier_and_leaves_batch_norm_as_it_was():
    recipe = read_recipe("finetune")
    assert rates(recipe, 0, 15, 30) == pytest.approx([0.001, 0.005, 0], abs=1e-9)
    assert (recipe.epochs, recipe.head_epochs, recipe.patience, recipe.batch_norm) == (30, 3, 12, "frozen")
    assert read_recipe("finetune", ["batch_size=64"]).rate_for(64) == pytest.approx(0.04)


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_is_for_the_row_in_its_name_and_a_turn_of_it_goes_through(name):
    recipe = read_recipe(name)
    assert recipe.model == name.partition("_")[2] or name == "finetune"
    model = network(name)
    clip, side = model.arch.clip, clip_side(recipe, model.arch.clip)
    clips = torch.empty(recipe.micro_batch, 3, clip.frames, side, side, device="meta")
    if model.arch.roi is not None:
        assert model(clips, torch.empty(3, 5, device="meta")).shape == (3, model.num_classes)
    else:
        assert model(clips).shape == (recipe.micro_batch, model.num_classes)


@pytest.mark.parametrize("name", list_recipes())
@pytest.mark.parametrize("processes", [1, 2])
def test_a_step_is_shared_out_in_whole_turns(name, processes):
    recipe = read_recipe(name)
    turns = recipe.batch_size // processes // recipe.micro_batch
    shared = Turns(100, batch_size=recipe.batch_size, process=0, processes=processes, turns=turns, seed=0, weights=None)
    assert {len(keys) for keys in shared} == {recipe.micro_batch}


@pytest.mark.parametrize("name", [name for name in list_recipes() if read_recipe(name).init is not None])
def test_the_weights_that_a_recipe_begins_with_fit_its_network(name):
    recipe = read_recipe(name)
    run = recipe.init.removeprefix("local-dir:")
    if run != recipe.init:  # the run of another recipe
        before = network(run)
    else:
        with torch.device("meta"):
            before = create_model(recipe.init)
    assert shapes(before) == shapes(network(name))
