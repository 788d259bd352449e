import math

import pytest

from slowfast_hub.trainer.optim import make_optimizer, make_scheduler
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.zoo.create import create_model

MODEL = create_model("slowfast_r14_4x16_w16")


def rates(recipe: Recipe, *steps: int) -> list[float]:
    """Of the head's weights, with ten steps an epoch."""
    rate = recipe.rate_for(recipe.batch_size)
    optimizer = make_optimizer(MODEL, recipe, rate)
    scheduler = make_scheduler(optimizer, recipe, rate, 10)
    found = []
    for step in steps:
        scheduler.step_update(step)
        found.append(max(group["lr"] for group in optimizer.param_groups))
    return found


def test_half_a_cosine_with_a_line_up_to_where_it_is():
    """PySlowFast, lr_policy.py: of 100 steps the first 20 go from a tenth up to the cosine's value there."""
    recipe = Recipe("any", epochs=10, warmup_epochs=2, lr=1.0)
    at_20 = 0.5 * (1 + math.cos(math.pi * 0.2))
    expected = [0.1, (0.1 + at_20) / 2, at_20, 0.5, 0.0]
    assert rates(recipe, 0, 10, 20, 50, 100) == pytest.approx(expected, abs=1e-9)


def test_steps_count_from_the_beginning_of_the_run():
    recipe = Recipe("any", epochs=10, warmup_epochs=1, lr=1.0, schedule="steps", milestones=(5.0, 8.0))
    assert rates(recipe, 5, 10, 49, 50, 79, 80) == pytest.approx([0.55, 1.0, 1.0, 0.1, 0.1, 0.01])


def test_a_constant_rate_after_the_line():
    recipe = Recipe("any", epochs=10, warmup_epochs=1, lr=0.5, schedule="constant", warmup_start=0.0)
    assert rates(recipe, 0, 5, 10, 99) == pytest.approx([0.0, 0.25, 0.5, 0.5])


def test_the_rate_is_for_the_clips_of_a_step():
    recipe = Recipe("any", epochs=10, warmup_epochs=0, lr=1.6, lr_batch=1024, batch_size=64)
    assert rates(recipe, 0) == pytest.approx([0.1])


def test_stages_learn_slower_the_deeper_they_lie():
    optimizer = make_optimizer(MODEL, Recipe("any", layer_decay=0.5), 1.0)
    names = {id(parameter): name for name, parameter in MODEL.named_parameters()}
    scales = {names[id(p)]: group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    assert scales["head.fc.weight"] == 1
    for pathway in ("slow", "fast"):
        found = [scales[f"{pathway}.{stage}.0.a.conv.weight"] for stage in ("res5", "res4", "res3", "res2")]
        assert found == [0.5, 0.25, 0.125, 0.0625]
        assert scales[f"{pathway}.stem.conv1.conv.weight"] == 0.03125
    found = [next(scales[name] for name in scales if name.startswith(f"laterals.{i}.")) for i in range(4)]
    assert found == [0.03125, 0.0625, 0.125, 0.25]


def test_biases_and_batch_norm_do_not_decay():
    optimizer = make_optimizer(MODEL, Recipe("any", weight_decay=0.3), 0.1)
    decays = {p.ndim: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {1: 0.0, 2: 0.3, 5: 0.3}
