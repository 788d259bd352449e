"""How many clips a device takes at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from slowfast_hub.trainer.clips import clip_side
from slowfast_hub.trainer.processes import process_state
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.trainer.regularise import drop_paths
from slowfast_hub.trainer.start import start_model

SPARE = 0.8  # of the free memory is counted on: what a step takes is not the same in every step


def with_fitting_micro_batch(recipe: Recipe, classes: Sequence[str]) -> Recipe:
    """The recipe with the largest `micro_batch` that this device, and that of every other process, has memory for.

    A step of two clips and one of four are run: half of what the second takes more is what each further clip takes.
    """
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    process_state()
    accelerator = Accelerator()
    model = start_model(recipe, classes).to(accelerator.device)
    model.to(memory_format=torch.channels_last_3d)
    model.set_grad_checkpointing(recipe.grad_checkpointing)
    drop_paths(model, recipe.drop_path)
    clip = model.arch.clip
    side, dtype = clip_side(recipe, clip), getattr(torch, recipe.precision)
    peaks = []
    for count in (2, 4):
        clips = torch.zeros(count, model.arch.in_chans, clip.frames, side, side, device=accelerator.device)
        with torch.autocast(accelerator.device.type, dtype, enabled=dtype != torch.float32):
            loss = model(clips.contiguous(memory_format=torch.channels_last_3d)).sum()
        loss.backward()
        peaks.append(peak_bytes(accelerator.device))
    # Four clips have been there, so their memory is taken already.
    fits = 4 + math.floor(2 * SPARE * free_bytes(accelerator.device) / max(1, peaks[1] - peaks[0]))
    share = math.ceil(recipe.batch_size / accelerator.num_processes)
    return replace(recipe, micro_batch=min([share, *gather_object([fits])]))


def peak_bytes(device: torch.device) -> int:
    """The most memory that this process has had."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def free_bytes(device: torch.device) -> int:
    """The memory that nobody has."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return psutil.virtual_memory().available
