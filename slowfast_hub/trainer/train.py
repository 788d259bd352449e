"""The training script, in the order of time, on accelerate: the same on a CPU, a GPU and several."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from slowfast_hub.models import VideoModel
from slowfast_hub.trainer.data import ClipDataset, Sample
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.transforms.train import TrainTransform
from slowfast_hub.zoo.create import create_model


def train(
    recipe: Recipe,
    samples: Sequence[Sample],
    *,
    num_classes: int,
    log: Callable[[dict[str, float]], None] | None = None,
) -> VideoModel:
    """Train `recipe.model` on `samples`; the network comes back in eval mode on the CPU.

    log: called once an epoch with epoch, loss, accuracy (of the training clips), lr and seconds.
    Errors: ValueError for a label outside `num_classes`, FloatingPointError when the loss is not finite.
    """
    from accelerate import Accelerator
    from accelerate.utils import set_seed
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler
    from timm.utils import ModelEmaV3

    check_labels(samples, num_classes)
    set_seed(recipe.seed)
    accelerator = Accelerator()
    model = start_model(recipe, num_classes).to(memory_format=torch.channels_last_3d).train()
    spec = model.arch.clip
    transform = TrainTransform(spec, recipe.jitter, aspect=recipe.aspect, flip=recipe.flip, light=recipe.light)
    dataset = ClipDataset(samples, spec, transform, speed=recipe.speed, seed=recipe.seed)
    loader = torch.utils.data.DataLoader(
        dataset,
        recipe.batch_size,
        shuffle=True,
        drop_last=len(dataset) > recipe.batch_size,  # a batch of one clip has no batch statistics
        num_workers=recipe.workers,
    )
    optimizer = create_optimizer_v2(
        model, opt=recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=recipe.momentum
    )
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    steps = len(loader)
    total, warmup = max(1, round(recipe.epochs * steps)), round(recipe.warmup_epochs * steps)
    scheduler = CosineLRScheduler(
        optimizer,
        t_initial=total,
        warmup_t=warmup,
        warmup_lr_init=recipe.lr / 10,
        t_in_epochs=False,
    )
    ema = (
        ModelEmaV3(accelerator.unwrap_model(model), decay=recipe.ema_decay, use_warmup=True)
        if recipe.ema_decay
        else None
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)

    step = 0
    for epoch in range(math.ceil(recipe.epochs)):
        dataset.epoch, begin = epoch, time.perf_counter()
        loss_sum = correct = seen = 0.0
        for clips, labels in loader:
            if step >= total:
                break
            scheduler.step_update(step)
            logits = model(clips.contiguous(memory_format=torch.channels_last_3d))
            loss = loss_of(logits, labels)
            accelerator.backward(loss)
            if recipe.clip_grad is not None:
                accelerator.clip_grad_norm_(model.parameters(), recipe.clip_grad)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if ema is not None:
                ema.update(accelerator.unwrap_model(model), step=step)
            loss_sum += float(loss.detach()) * len(labels)
            correct += float((logits.argmax(1) == labels).sum())
            seen += len(labels)
        if not math.isfinite(loss_sum):
            raise FloatingPointError(f"the loss is {loss_sum} in epoch {epoch}; lower lr={recipe.lr} or set clip_grad")
        if log is not None and accelerator.is_main_process and seen:
            log(
                {
                    "epoch": epoch,
                    "loss": loss_sum / seen,
                    "accuracy": correct / seen,
                    "lr": optimizer.param_groups[0]["lr"],
                    "seconds": time.perf_counter() - begin,
                }
            )
    trained = ema.module if ema is not None else accelerator.unwrap_model(model)
    return trained.cpu().eval()


def start_model(recipe: Recipe, num_classes: int) -> VideoModel:
    """The network of the recipe with fresh weights, or those of `recipe.init`."""
    return create_model(recipe.model, num_classes=num_classes, checkpoint_path=recipe.init, **recipe.changes)


def check_labels(samples: Sequence[Sample], num_classes: int) -> None:
    if not samples:
        raise ValueError("there are no samples to train on")
    for sample in samples:
        if not 0 <= sample.label < num_classes:
            raise ValueError(f"{sample.video!r:.80}: label {sample.label} is not in 0..{num_classes - 1}")


def append_line(path: str | Path, record: dict[str, object]) -> None:
    """Add one JSON object to a .jsonl file."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
