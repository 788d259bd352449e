"""The processes of a run, as `torchrun` and `accelerate launch` start them."""

from __future__ import annotations

import atexit
import os
from typing import Any

import torch


def process_state() -> Any:
    """accelerate's state: this process among those that were started together, or alone.

    To be asked for before accelerate's `Accelerator`: without GPUs that takes each of them for a run of its own.
    """
    from accelerate import PartialState

    begun = torch.distributed.is_initialized()
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    state = PartialState(cpu=several and not torch.cuda.is_available())
    if not begun and torch.distributed.is_initialized():
        # A process that ends while gloo's threads are at work is aborted now and then.
        atexit.register(state.destroy_process_group)
    return state


def processes_here() -> int:
    """How many of them share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def apart(worker: int) -> None:
    """Take a worker out of the group of processes that torchrun, or Ctrl-C on a terminal, signals all at once.

    The clips that it has are needed for the step that is still done; it ends when this process does.
    """
    if hasattr(os, "setsid"):
        os.setsid()
