"""The processes of a run, as `torchrun` and `accelerate launch` start them."""

from __future__ import annotations

import atexit
import os
from typing import Any

import torch
from torch import distributed as dist


def process_state() -> Any:
    """accelerate's state: this process among those that were started together, or alone.

    To be asked for before accelerate's `Accelerator`: without GPUs that takes each of them for a run of its own.
    """
    from accelerate import PartialState

    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several and not dist.is_initialized():
        join()
    return PartialState(cpu=several and not torch.cuda.is_available())


def join() -> None:
    """Meet the other processes, those of this attempt of the launcher alone.

    torch 2.14 keeps one store of addresses over all attempts: started again after a failure, processes would look for
    those that died.
    """
    store, rank, size = next(iter(dist.rendezvous("env://")))
    attempt = dist.PrefixStore(f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", store=attempt, rank=rank, world_size=size)
    # A process that ends while gloo's threads are at work is aborted now and then.
    atexit.register(dist.destroy_process_group)


def processes_here() -> int:
    """How many of them share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def apart(worker: int) -> None:
    """Take a worker out of the group of processes that torchrun, or Ctrl-C on a terminal, signals all at once.

    The clips that it has are needed for the step that is still done; it ends when this process does.
    """
    if hasattr(os, "setsid"):
        os.setsid()
