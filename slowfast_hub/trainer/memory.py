"""How many clips a device takes at once."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from slowfast_hub.trainer.clips import clip_side
from slowfast_hub.trainer.keyframes import LabelledSet
from slowfast_hub.trainer.processes import process_state, processes_here
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.trainer.regularise import drop_paths
from slowfast_hub.trainer.start import start_model
from slowfast_hub.trainer.task import task_of

SPARE = 0.8  # of the free memory is counted on: what a step takes is not the same in every step


def with_fitting_micro_batch(recipe: Recipe, videos: LabelledSet) -> Recipe:
    """The recipe with the largest `micro_batch` that this device, and that of every other process, has memory for.

    Steps of 2, 4, 8 ... clips are run until the peak has grown twice in a row, as what was in memory before may hide
    what the first take; what the last takes more is what each further clip takes.
    """
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    process_state()
    accelerator = Accelerator()
    device = accelerator.device
    model, task = start_model(recipe, videos).to(device), task_of(recipe, videos)
    model.to(memory_format=torch.channels_last_3d)
    model.set_grad_checkpointing(recipe.grad_checkpointing)
    drop_paths(model, recipe.drop_path)
    clip = model.arch.clip
    side, dtype = clip_side(recipe, clip), getattr(torch, recipe.precision)
    share, count, peaks = math.ceil(recipe.batch_size / accelerator.num_processes), 1, [peak_bytes(device)]
    while count < share and (len(peaks) < 3 or not peaks[-3] < peaks[-2] < peaks[-1]):
        count *= 2
        clips = torch.zeros(count, model.arch.in_chans, clip.frames, side, side, device=device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = model(clips.contiguous(memory_format=torch.channels_last_3d), task.rois(clips)).sum()
        loss.backward()
        peaks.append(peak_bytes(device))
    fits = count  # that many have been there
    if count < share:
        fits += math.floor(SPARE * free_bytes(device) * (count // 2) / (peaks[-1] - peaks[-2]))
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

    return psutil.virtual_memory().available // processes_here()
