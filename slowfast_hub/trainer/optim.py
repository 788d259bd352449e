"""Optimiser and learning rate: timm's, with the paper's schedule.

The rate is set at every step, as PySlowFast does (lr_policy.py): half a cosine from the first step to the last, and the
warm-up is a straight line to the value that the cosine has where the line ends.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer

from slowfast_hub.trainer.recipe import Recipe


def make_optimizer(model: nn.Module, recipe: Recipe, rate: float) -> Optimizer:
    """timm's optimiser of that name; biases and batch norm do not decay."""
    from timm.optim import create_optimizer_v2

    return create_optimizer_v2(
        model,
        opt=recipe.optimizer,
        lr=rate,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        layer_decay=recipe.layer_decay,
    )


def make_scheduler(optimizer: Optimizer, recipe: Recipe, rate: float, steps: int) -> Any:
    """timm's scheduler; `step_update(n)` sets the rates for step n, counted from 0. steps: of one epoch."""
    from timm.scheduler import CosineLRScheduler, MultiStepLRScheduler

    total, warmup = max(1, round(recipe.epochs * steps)), round(recipe.warmup_epochs * steps)
    start = rate * recipe.warmup_start
    if recipe.schedule == "cosine":
        scheduler: Any = CosineLRScheduler(optimizer, total, warmup_t=warmup, warmup_lr_init=start, t_in_epochs=False)
    else:
        decays = [round(epoch * steps) + 1 for epoch in recipe.milestones]  # timm decays one step before
        scheduler = MultiStepLRScheduler(
            optimizer,
            decays,
            recipe.step_decay,
            warmup_t=warmup,
            warmup_lr_init=start,
            warmup_prefix=False,  # the epochs of decay count from the first step
            t_in_epochs=False,
        )
    if warmup:
        # timm's line goes to the full rate, from where a cosine would drop.
        goals = scheduler._get_lr(warmup)
        scheduler.warmup_steps = [(goal - scheduler.warmup_lr_init) / warmup for goal in goals]
    return scheduler
