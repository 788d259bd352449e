"""A training run, in the order of time, on accelerate: the same on a CPU, a GPU, several, and several machines.

The paper's recipe (section 4) and how the projects differ from it are in the recipe files; this is what they have in
common. Everything that chance decides comes from the seed and the place in the run, so that a run that was stopped goes
on to the same weights, and a step has the same clips whatever the number of processes.
"""

from __future__ import annotations

import itertools
import math
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from slowfast_hub.models import VideoModel
from slowfast_hub.trainer import batch_norm
from slowfast_hub.trainer.about import write_about
from slowfast_hub.trainer.checkpoint import (
    Progress,
    checkpoints,
    clear,
    load_checkpoint,
    random_state,
    save_checkpoint,
    set_random_state,
)
from slowfast_hub.trainer.clips import (
    Batch,
    Skipped,
    Turns,
    class_counts,
    clip_side,
    make_loader,
    sample_weights,
    workers_of,
)
from slowfast_hub.trainer.journal import SKIPPED, Journal, Record, Timer, advice, append_line, rewind
from slowfast_hub.trainer.keyframes import LabelledSet
from slowfast_hub.trainer.optim import make_optimizer, make_scheduler
from slowfast_hub.trainer.processes import process_state
from slowfast_hub.trainer.recipe import Recipe, recipe_of, to_toml
from slowfast_hub.trainer.regularise import drop_paths, make_mix
from slowfast_hub.trainer.report import RECIPE, write_report
from slowfast_hub.trainer.start import answering, has_weights, start_model
from slowfast_hub.trainer.task import Task, task_of
from slowfast_hub.zoo.create import from_pretrained
from slowfast_hub.zoo.hub import CARD, row_of, save_pretrained
from slowfast_hub.zoo.registry import find_arch

MIXED = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
LOSSES_TOGETHER = 10  # the most steps after which processes tell each other their losses
FEW_STEPS = 4  # of an epoch
FURTHEST = 0.05  # of the logits' spread: what half precision may change on the first batch


def train(
    recipe: Recipe,
    videos: LabelledSet,
    *,
    out: str | Path | None = None,
    resume: str = "auto",
    show: bool = False,
    log: Callable[[Record], None] | None = None,
) -> VideoModel:
    """Train `recipe.model` on `videos.train`, test it on `videos.val`; the network comes back in eval mode on the CPU.

    It is the one with the best test (top-1, or mAP of a multi-label set); without a `val` part that after the last
    step.
    videos: labelled ones, for networks that classify clips, or key frames of labelled people, for detectors.
    out: folder of the run. The best network lies in it as `from_pretrained` reads it, beside checkpoints and the log.
    resume: "auto" goes on from the last checkpoint in `out`, "never" starts anew, and a checkpoint's path goes on from
    it.
    show: a bar and a line for each epoch on stderr. log: is given every record of the log.

    Errors: ValueError for a recipe and a set that do not fit each other, FloatingPointError when the loss is not
    finite, KeyboardInterrupt after SIGTERM or Ctrl-C, once a checkpoint is written.
    """
    training = Training(recipe, videos, out=None if out is None else Path(out), show=show, log=log)
    try:
        with stop_signals(training):
            return training.run(resume)
    finally:
        training.journal.close()


class Training:
    """What the parts of a run share."""

    def __init__(
        self,
        recipe: Recipe,
        videos: LabelledSet,
        *,
        out: Path | None,
        show: bool,
        log: Callable[[Record], None] | None,
    ) -> None:
        from accelerate.utils import set_seed

        self.recipe, self.videos, self.out = recipe, videos, out
        self.task = task_of(recipe, videos)
        check(recipe, videos, self.task)
        self.accelerator = make_accelerator(recipe)
        self.processes = self.accelerator.num_processes
        if out is not None and self.accelerator.is_main_process:
            check_folder(out)
        set_seed(recipe.seed)
        network = start_model(recipe, videos)
        network.set_grad_checkpointing(recipe.grad_checkpointing)
        drop_paths(network, recipe.drop_path)
        self.network = batch_norm.arrange(network, recipe).to(self.accelerator.device)
        self.network.to(memory_format=torch.channels_last_3d)
        set_seed(recipe.seed, device_specific=True)  # dropout differs between processes

        clips, counts = self.task.clips(network.arch.clip), class_counts(self.task.labels, len(videos.classes))
        share = min(recipe.batch_size, len(clips)) / self.processes  # of one process
        self.turns = Turns(
            len(clips),
            batch_size=recipe.batch_size,
            process=self.accelerator.process_index,
            processes=self.processes,
            turns=min(math.ceil(math.ceil(share) / (recipe.micro_batch or math.ceil(share))), max(1, int(share))),
            seed=recipe.seed,
            weights=sample_weights(self.task.samples, counts) if recipe.balance == "sampler" else None,
        )
        check_turn(recipe, int(share / self.turns.turns))
        self.steps = self.turns.steps  # of an epoch
        self.total = max(1, round(recipe.epochs * self.steps))
        self.workers = workers_of(recipe)
        self.loader = make_loader(clips, self.turns, self.workers, self.accelerator.device)

        rate = recipe.rate_for(self.turns.batch_size)
        self.optimizer = self.accelerator.prepare_optimizer(make_optimizer(self.network, recipe, rate))
        self.scheduler = make_scheduler(self.optimizer.optimizer, recipe, rate, self.steps)
        self.ema = make_ema(self.network, recipe)
        self.loss_of = loss_of(recipe, counts, len(self.task.labels), multilabel=videos.multilabel)
        self.loss_of.to(self.accelerator.device)
        self.weight = len(self.task.samples) / len(self.task.labels)  # of a loss: a clip has those of all its people
        self.mix = make_mix(recipe, len(videos.classes))
        self.model: nn.Module = self.network  # as accelerate wraps it
        self.head_alone: bool | None = None  # whether the classifier learns alone at this time
        self.progress = Progress()
        self.best: VideoModel | None = None  # where no folder keeps it
        self.asked_to_stop = False
        self.untold: list[Tensor] = []  # losses of the steps that processes have not told each other yet
        self.rates: list[float] = []  # of the same steps
        self.told_at = time.perf_counter()
        self.together = 1  # steps after which they do
        self.sums = torch.zeros(3)  # of the epoch: loss, right answers, clips
        self.skipped: list[Skipped] = []  # videos of this process that are not listed yet
        self.num_skipped = 0  # of the epoch, of all processes, listed
        self.told_waiting = 0.0  # the share of the time at which advice was given
        self.journal = Journal(
            out if self.accelerator.is_main_process else None,
            log=log if self.accelerator.is_main_process else None,
            show=show and self.accelerator.is_main_process,
            total=self.total,
        )

    # In the order of time

    def run(self, resume: str) -> VideoModel:
        """All of it."""
        self.resume(resume)
        self.journal.say(epochs_of(len(self.task.samples), self.turns.batch_size, self.task.noun))
        if pairs := mirrored(self.videos.classes, self.recipe):
            self.journal.say(f"a flip shows the other of {pairs}: add flip=0, or name the pairs with swap")
        finished = not self.test_is_due and self.over
        while self.test_is_due or not self.over:
            if self.test_is_due:  # also of a run that was stopped before it
                self.test()
            else:
                self.epoch()
        if self.progress.step < self.total and self.progress.best is not None:
            self.journal.say(
                f"no better test in {self.progress.worse} (patience={self.recipe.patience}); the network of epoch "
                f"{math.ceil(self.progress.kept / self.steps)} is kept, {100 * self.progress.best:.1f} %"
            )
        return self.finish(finished)

    def resume(self, how: str) -> None:
        """Go on from a checkpoint, if there is one and it is wanted."""
        from accelerate.utils import broadcast_object_list

        (path,) = broadcast_object_list([self.checkpoint(how)])
        if path is not None:
            if not path.is_file():
                raise ValueError(
                    f"{path}: no such checkpoint here; all machines of a run need one folder that they share"
                )
            self.restore(path)
            self.journal.say(f"resumed from {path}, after step {self.progress.step}")
        self.accelerator.wait_for_everyone()
        if self.out is not None and self.accelerator.is_main_process:
            clear(self.out, self.progress.step)
            rewind(self.out, self.progress.step, self.progress.tested)
            machine = {"processes": self.processes, "device": str(self.accelerator.device), "workers": self.workers}
            write_about(self.out, self.recipe, self.videos, machine)

    def checkpoint(self, how: str) -> Path | None:
        """Where to go on from."""
        found = [] if self.out is None else checkpoints(self.out)
        if how == "never" and found:
            raise FileExistsError(f"{self.out} holds a run already; choose another folder, or resume it")
        if how in ("auto", "never"):
            return found[-1] if found else None
        return Path(how)

    def epoch(self) -> None:
        """The rest of an epoch, from where the run stands, and a checkpoint."""
        epoch, self.turns.first = divmod(self.progress.step, self.steps)
        self.turns.epoch = epoch
        end = min(self.total, (epoch + 1) * self.steps)
        if not self.turns.first:
            self.sums, self.num_skipped = torch.zeros(3), 0
        timer = Timer()
        batches = timer.waiting(self.loader)
        if self.progress.step == 0 and self.recipe.precision != "float32":
            batches = self.checked(batches)
        for step in range(self.progress.step, end):
            self.phase(step)
            self.scheduler.step_update(step)
            self.step([next(batches) for _ in range(self.turns.turns)])
            self.progress.step = step + 1
            save = bool(self.recipe.save_every) and (step + 1) % self.recipe.save_every == 0
            ask = self.asked_to_stop and self.processes == 1
            if step + 1 < end and not save and not ask and len(self.untold) < self.together:
                continue
            stop = self.tell()
            self.journal.advance(step + 1, f"epoch {epoch + 1}, loss {self.means()['loss']:.3f}")
            if step + 1 == end:
                self.tell_epoch(epoch + 1, timer)
            if save or stop or step + 1 == end:
                self.save()
            if stop:
                raise KeyboardInterrupt(f"stopped after step {step + 1}; the same command goes on from there")

    def phase(self, step: int) -> None:
        """Which layers learn in this step, and how batch norm behaves: as the recipe has it."""
        alone = step < round(self.recipe.head_epochs * self.steps)
        if alone != self.head_alone:
            self.head_alone = alone
            for parameter in self.network.parameters():
                parameter.requires_grad_(not alone)
            for parameter in self.network.head.parameters():
                parameter.requires_grad_(True)
            # Wrapped anew, as DistributedDataParallel looks once at what learns.
            self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
            self.model = self.accelerator.prepare_model(self.network)
        self.to_training()

    def to_training(self) -> None:
        """Training mode for what learns, and for batch norm as the recipe has it."""
        self.network.train(not self.head_alone)
        self.network.head.train()
        if self.recipe.batch_norm == "frozen":
            batch_norm.still(self.network)

    def step(self, batches: list[Batch]) -> None:
        """One step of the optimiser, in as many turns as there are batches."""
        told = torch.zeros(3, device=self.accelerator.device)  # loss, right answers, clips
        share = self.turns.batch_size / self.processes  # gradients are averaged over processes
        for turn, batch in enumerate(batches):
            last = turn == len(batches) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                loss, right = self.forward(batch)
                # A clip that is missing weighs nothing; the others as much as ever.
                self.accelerator.backward(loss / share)
            told += torch.stack([loss.detach(), right, right.new_tensor(float(len(batch.clips)))])
        if self.recipe.clip_grad is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update(self.network, step=self.progress.step + 1)
        self.untold.append(told)
        self.rates.append(max(group["lr"] for group in self.optimizer.param_groups))
        self.skipped += [skipped for batch in batches for skipped in batch.skipped]

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sum of the losses of a batch, and how many of its first answers are right."""
        device = self.accelerator.device
        if not len(batch.clips):
            return self.nothing(), torch.zeros((), device=device)
        clips, targets = batch.clips.to(device, non_blocking=True), batch.targets.to(device, non_blocking=True)
        rois = None if batch.rois is None else batch.rois.to(device, non_blocking=True)
        labels = targets
        if self.mix is not None:
            clips, targets = self.mix(clips, labels)
        logits = self.model(clips.contiguous(memory_format=torch.channels_last_3d), rois)
        loss = self.loss_of(logits.float(), targets)
        loss = self.weight * (loss.mean(1) if self.videos.multilabel else loss).sum()
        right = (logits.argmax(1) == labels).float().sum() if labels.ndim == 1 else torch.zeros((), device=device)
        return loss, right

    def nothing(self) -> Tensor:
        """A loss of 0 that all processes can go backward from, where no video of a batch could be read."""
        arch = self.network.arch
        side = clip_side(self.recipe, arch.clip)
        self.network.eval()  # black pictures are no statistics, and no block is computed twice in another mode
        black = torch.zeros(1, arch.in_chans, arch.clip.frames, side, side, device=self.accelerator.device)
        loss = 0 * self.model(black, self.task.rois(black)).float().sum()
        self.to_training()
        return loss

    def checked(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches; the first is seen in half precision and in float32: a FloatingPointError if they differ."""
        first = next(batches)
        if len(first.clips):
            clips = first.clips[:4].to(self.accelerator.device)
            # A copy, as accelerate makes the network itself run in half precision.
            plain = answering(self.network, ()).to(self.accelerator.device)
            rois = self.task.rois(clips)
            with torch.no_grad():
                exact = plain(clips, rois)
                with self.accelerator.autocast():
                    rough = plain(clips, rois).float()
            spread = float(exact.amax() - exact.amin()) or 1.0
            off = float((rough - exact).abs().max()) / spread
            self.journal.write({"kind": "precision", "step": 0, "difference": off})
            self.journal.say(f"{self.recipe.precision} changes the first logits by {100 * off:.2f} % of their spread")
            if not off <= FURTHEST:
                raise FloatingPointError(
                    f"{self.recipe.precision} changes the logits of the first clips by {100 * off:.1f} % of their "
                    f"spread (at most {100 * FURTHEST:.0f} % are expected): train in float32, or with another torch"
                )
        yield first
        yield from batches

    def tell(self) -> bool:
        """Losses of the last steps, of all processes together, into the log; whether a process was asked to stop."""
        seconds = time.perf_counter() - self.told_at
        asked = self.untold[0].new_tensor([float(self.asked_to_stop), seconds / len(self.untold), 0.0])
        *told, (stop, seconds, _) = self.accelerator.reduce(torch.stack([*self.untold, asked])).tolist()
        for step, (loss, right, clips), rate in zip(
            itertools.count(self.progress.step - len(told) + 1), told, self.rates
        ):
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the loss is {loss} in step {step}: start in another folder with a lower lr (now {rate:g}) "
                    "or with clip_grad; the best network so far is init=local-dir:RUN"
                )
            self.sums += torch.tensor([loss, right, clips])
            self.journal.write({"kind": "step", "step": step, "lr": rate, **self.means(loss, right, clips)})
        self.untold.clear()
        self.rates.clear()
        self.told_at = time.perf_counter()
        # A request to stop is heard within five seconds or a step; all processes count the same seconds.
        self.together = max(1, min(LOSSES_TOGETHER, int(5 * self.processes / seconds)))
        return stop > 0

    def means(self, *sums: float) -> Record:
        """Sums of losses, right answers and clips as a record; those of the epoch if none are given."""
        loss, right, clips = sums or self.sums.tolist()
        record: Record = {"loss": loss / max(clips, 1), "clips": round(clips)}
        return record if self.videos.multilabel else {**record, "accuracy": right / max(clips, 1)}

    def list_skipped(self) -> None:
        """The videos that could not be read, of all processes, into their file."""
        from accelerate.utils import gather_object

        found = [Skipped(*each) for each in gather_object(self.skipped)]
        self.skipped.clear()
        self.num_skipped += len(found)
        if found:
            self.journal.say(
                f"{len(found)} {self.task.noun} could not be read and were left out, such as {found[0].reason}"
            )
        if self.out is not None and self.accelerator.is_main_process:
            for each in found:
                line = {"step": self.progress.step, "epoch": each.epoch + 1, "video": each.video, "reason": each.reason}
                append_line(self.out / SKIPPED, line)

    def tell_epoch(self, epoch: int, timer: Timer) -> None:
        """What an epoch was like."""
        self.list_skipped()
        times = {"seconds": timer.seconds, "wait_seconds": timer.wait_s}
        record = {"kind": "epoch", "step": self.progress.step, "epoch": epoch, **self.means(), **times}
        self.journal.write({**record, "skipped": self.num_skipped})
        if not record["clips"]:
            raise ValueError(
                f"none of the {self.task.noun} of epoch {epoch} could be read; slowfast-hub data check says why"
            )
        accuracy = "" if self.videos.multilabel else f", {100 * record['accuracy']:.1f} % of the clips right"
        waiting, self.told_waiting = advice(timer.waited, self.workers, told=self.told_waiting)
        self.journal.say(f"epoch {epoch}: loss {record['loss']:.4f}{accuracy}; {waiting}")

    @property
    def over(self) -> bool:
        """Whether all steps are done, or tests have stopped getting better."""
        return self.progress.step >= self.total or 0 < self.recipe.patience <= self.progress.worse

    @property
    def test_is_due(self) -> bool:
        """Whether an epoch has ended whose test is not done yet."""
        epoch, rest = divmod(self.progress.step, self.steps)
        end = self.progress.step == self.total or (not rest and epoch % self.recipe.eval_every == 0)
        return bool(self.videos.val) and end and self.progress.tested < self.progress.step

    def test(self) -> None:
        """Test the network on the `val` part, keep it if it is the best so far, and write a checkpoint."""
        network, epoch = self.answering(), math.ceil(self.progress.step / self.steps)
        called = f"{row_of(network.arch)} of this run"
        test = self.task.test(network.to(self.accelerator.device), workers=self.workers, name=called)
        tied = test.answer == self.progress.best
        better = self.progress.better(test.answer) and self.keep(network, f"{test.line}; chosen by this very test")
        self.progress.take(test.answer, kept=better)
        record = {"kind": "test", "step": self.progress.step, "epoch": epoch, test.name: test.answer}
        self.journal.write({**record, "requested": test.requested, "decoded": test.decoded})
        kept = "; as good as the best so far, and kept" if tied else "; the best so far"
        self.journal.say(
            f"epoch {epoch}: val {test.name} {100 * test.answer:.1f} %, {test.decoded} of {test.requested} "
            f"{test.of}{kept if better else ''}"
        )
        self.save()
        if self.asked_to_stop and self.processes == 1:
            raise KeyboardInterrupt(f"stopped after epoch {epoch}; the same command goes on from there")

    def answering(self) -> VideoModel:
        """A copy of the network whose answers count, the same in all processes, on the CPU."""
        from accelerate.utils import broadcast

        tested = self.network if self.ema is None else self.ema.module
        if self.recipe.precise_norm:
            self.turns.first = 0
            batches = itertools.islice(self.loader, self.recipe.precise_norm)
            batch_norm.measure_anew(tested, batches, self.accelerator.device, self.average)
        for buffer in tested.buffers():  # running statistics are those of a process's own last clips
            broadcast(buffer)
        return answering(tested, self.videos.classes)

    def average(self, value: Tensor) -> Tensor:
        """The mean over all processes."""
        return self.accelerator.reduce(value, reduction="mean")

    def keep(self, network: VideoModel, note: str) -> bool:
        """Make this the network that the run gives; whether that could be written. note: what its card says of it."""
        from accelerate.utils import broadcast_object_list

        network, kept = network.cpu(), True
        if self.out is None:
            self.best = network
        elif self.accelerator.is_main_process:
            try:
                (self.out / CARD).unlink(missing_ok=True)  # it tells the figures of another network
                origin = {"source": "trained with slowfast_hub.trainer", "network": self.recipe.model, "val": note}
                save_pretrained(network, self.out, origin=origin)
            except OSError as error:
                kept = False
                self.complain(f"the network of step {self.progress.step} could not be written: {error}")
        (kept,) = broadcast_object_list([kept])
        return bool(kept)

    def complain(self, text: str) -> None:
        """What went wrong and does not end the run."""
        self.journal.write({"kind": "error", "step": self.progress.step, "error": text})
        self.journal.say(text)

    def finish(self, finished: bool) -> VideoModel:
        """The network of the run, and the report. finished: there was nothing left to do."""
        if self.progress.best is None and not self.keep(self.answering(), "not tested"):
            raise OSError(f"{self.out}: no space for the network; make some, and the same command writes it")
        self.accelerator.wait_for_everyone()
        if self.best is not None:
            return self.best
        assert self.out is not None  # else the best network is held
        if self.accelerator.is_main_process:
            if not finished:
                self.journal.write({"kind": "end", "step": self.progress.step, "best": self.progress.best})
            write_report(self.out)
        return from_pretrained(self.out)

    # What it needs on the way

    def save(self) -> None:
        """Write a checkpoint; on a full disk say so and go on."""
        from accelerate.utils import gather_object

        self.list_skipped()
        random_states = gather_object([random_state()])
        if self.out is not None and self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = {
                "set": self.set_text,
                "recipe": to_toml(self.recipe),
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "ema": None if self.ema is None else self.ema.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),
                "random": random_states,
                "sums": self.sums,
                "num_skipped": self.num_skipped,
            }
            try:
                save_checkpoint(self.out, self.progress, state, keep=self.recipe.keep)
            except OSError as error:
                self.complain(f"no checkpoint after step {self.progress.step}, the last one stays: {error}")
        # A process that leaves a stopped run earlier makes the launcher end the one that writes.
        self.accelerator.wait_for_everyone()

    def restore(self, path: Path) -> None:
        """Go on where a checkpoint was written."""
        self.progress, state = load_checkpoint(path)
        check_same(recipe_of(state["recipe"]), self.recipe, path)
        if state["set"] != self.set_text:
            raise ValueError(
                f"{path} was written with other {self.task.noun}: {state['set']}, now {self.set_text}; start anew"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.sums, self.num_skipped = state["sums"], state["num_skipped"]
        if self.out is None or path.parent.parent.resolve() != self.out.resolve():
            self.progress.best, self.progress.worse = None, 0  # its best network lies elsewhere
        if len(state["random"]) == self.processes:
            set_random_state(state["random"][self.accelerator.process_index])
        else:
            self.journal.say(f"written by {len(state['random'])} processes, now {self.processes}: dropout draws anew")

    @property
    def set_text(self) -> str:
        """The set, so far as a checkpoint depends on it: how many videos, and a digest of their names and labels."""
        digest = sha256(repr(self.videos.classes).encode())
        for part in (self.videos.train, self.videos.val):
            for sample in part:
                digest.update(repr(self.task.identity(sample)).encode(errors="surrogateescape"))  # type: ignore[arg-type]
            digest.update(b"end of a part")
        numbers = f"{len(self.videos.train)} training and {len(self.videos.val)} val {self.task.noun}"
        return f"{numbers} of {len(self.videos.classes)} classes, digest {digest.hexdigest()[:12]}"


def epochs_of(count: int, batch_size: int, noun: str) -> str:
    """How many steps an epoch has, what it leaves out, and what to do where they are few."""
    steps, rest = divmod(count, batch_size)
    text = f"an epoch is {steps} {'step' if steps == 1 else 'steps'} of {batch_size} {noun}"
    if rest:
        text += f", and leaves {rest} of {count} out, others each time"
    smaller = max(1, count // FEW_STEPS)
    return text if steps >= FEW_STEPS or smaller >= batch_size else f"{text}; those are few: try batch_size={smaller}"


def make_accelerator(recipe: Recipe) -> Any:
    """accelerate's, in the precision of the recipe."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # an earlier run in this process may have had another precision
    process_state()
    return Accelerator(mixed_precision=MIXED[recipe.precision])


def make_ema(network: VideoModel, recipe: Recipe) -> Any:
    """timm's running mean of the weights, whose horizon grows with the steps; None if it is off."""
    from timm.utils import ModelEmaV3

    return ModelEmaV3(network, decay=recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None


def loss_of(recipe: Recipe, found: Tensor, total: int, *, multilabel: bool) -> nn.Module:
    """Losses of single clips, or people: cross-entropy, or of a multi-label set binary cross-entropy of each class.

    found: how many of the `total` videos, or people, have each class as a label.
    balance="loss": a class weighs one over its number of videos; scaled so that the videos weigh 1 in the mean. Of many
    labels, the positives of a class weigh as much as its negatives.
    """
    counts, balanced = found.clamp(min=1), recipe.balance == "loss"
    if multilabel:
        positives = (total - counts).clamp(min=1) / counts
        return nn.BCEWithLogitsLoss(reduction="none", pos_weight=positives if balanced else None)
    weight = total / (counts * (found > 0).sum()) if balanced else None
    return nn.CrossEntropyLoss(weight=weight, reduction="none", label_smoothing=recipe.label_smoothing)


def check(recipe: Recipe, videos: LabelledSet, task: Task) -> None:
    """ValueError where the recipe and the set do not fit each other."""
    if not task.labels:
        raise ValueError(f"there are no {task.noun} to train on: the training part of the set is empty")
    if recipe.batch_norm == "frozen" and not has_weights(recipe):
        find_arch(recipe.model)  # a name that nobody knows has an error of its own
        raise ValueError(
            f"batch_norm='frozen' keeps the statistics of trained weights, and {recipe.model} has none: name a tag "
            f"(slowfast-hub list '{recipe.model}*' --pretrained), or take batch_norm=batch head_epochs=0"
        )
    task.check()
    if videos.multilabel and (recipe.mixup or recipe.cutmix or recipe.label_smoothing):
        raise ValueError("mixup, cutmix and label_smoothing are for one label each; this set has any number of them")


def mirrored(classes: Sequence[str], recipe: Recipe) -> str:
    """Pairs of classes that differ in left and right alone, where flips mix them up; "" where there are none."""
    if not recipe.flip or recipe.swap:
        return ""
    others = {name: re.sub("left", "right", name, flags=re.IGNORECASE) for name in classes}
    return ", ".join(f"{name} and {other}" for name, other in others.items() if name != other and other in classes)


def check_turn(recipe: Recipe, clips: int) -> None:
    """ValueError where a device takes too few clips at once for what the recipe does with them."""
    if clips < 2 and (recipe.mixup or recipe.cutmix):
        raise ValueError(f"mixup and cutmix need two clips at once, and a device takes {clips}: raise micro_batch")
    if recipe.norm_clips is not None and clips < recipe.norm_clips:
        raise ValueError(
            f"norm_clips={recipe.norm_clips} is more than the {clips} clips that a device takes at once: lower it, "
            "raise batch_size or micro_batch, or start fewer processes"
        )


def check_folder(out: Path) -> None:
    """FileExistsError for a folder of something else: a run writes files of common names."""
    if out.is_dir() and any(out.iterdir()) and not (out / RECIPE).is_file():
        raise FileExistsError(f"{out} holds files that are no run; choose another folder")


# What may differ when a run goes on: it changes where and how fast, not what.
MACHINE = {"workers", "grad_checkpointing", "save_every", "keep", "eval_every", "patience"}


def same_for(recipe: Recipe) -> set[str]:
    """The fields that may differ; how many clips a device takes at once, where batch norm does not look at them."""
    return MACHINE | ({"micro_batch"} if recipe.batch_norm == "frozen" else set())


def check_same(before: Recipe, now: Recipe, path: Path) -> None:
    """ValueError that names the fields in which a run would go on as another one."""
    changed = [
        f"{field.name} {getattr(before, field.name)!r}, now {getattr(now, field.name)!r}"
        for field in fields(Recipe)
        if field.name not in same_for(now) and getattr(before, field.name) != getattr(now, field.name)
    ]
    if changed:
        raise ValueError(
            f"{path} is of a run with {'; '.join(changed)}: use its recipe, or start anew in another folder (--out)"
        )


@contextmanager
def stop_signals(training: Training) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the run after its step, with a checkpoint; a second Ctrl-C ends it at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        if training.asked_to_stop and number == signal.SIGINT:  # launchers send SIGTERM twice
            raise KeyboardInterrupt
        training.asked_to_stop = True

    if threading.current_thread() is not threading.main_thread():  # where Python takes no signals
        yield
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
