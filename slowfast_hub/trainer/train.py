"""A training run, in the order of time, on accelerate: the same on a CPU, a GPU, several, and several machines.

The paper's recipe (section 4) and how the projects differ from it are in the recipe files; this is what they have in
common. Everything that chance decides comes from the seed and the place in the run, so that a run that was stopped goes
on to the same weights, and a step has the same clips whatever the number of processes.
"""

from __future__ import annotations

import itertools
import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
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
    clear_unfinished,
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
    training_set,
    workers_of,
)
from slowfast_hub.trainer.evaluate import evaluate
from slowfast_hub.trainer.journal import SKIPPED, Journal, Record, Timer, advice, append_line, rewind
from slowfast_hub.trainer.metrics import measure
from slowfast_hub.trainer.optim import make_optimizer, make_scheduler
from slowfast_hub.trainer.processes import process_state
from slowfast_hub.trainer.recipe import Recipe, recipe_of, to_toml
from slowfast_hub.trainer.regularise import drop_paths, make_mix
from slowfast_hub.trainer.report import write_report
from slowfast_hub.trainer.samples import LabelledVideos
from slowfast_hub.trainer.start import answering, has_weights, start_model
from slowfast_hub.zoo.create import from_pretrained
from slowfast_hub.zoo.hub import CARD, save_pretrained

MIXED = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
LOSSES_TOGETHER = 10  # steps after which processes tell each other their losses
FURTHEST = 0.05  # of the logits' spread: what half precision may change on the first batch


def train(
    recipe: Recipe,
    videos: LabelledVideos,
    *,
    out: str | Path | None = None,
    resume: str = "auto",
    show: bool = False,
    log: Callable[[Record], None] | None = None,
) -> VideoModel:
    """Train `recipe.model` on `videos.train`, test it on `videos.val`; the network comes back in eval mode on the CPU.

    It is the one with the best test (top-1, or mAP of a multi-label set); without a `val` part that after the last
    step.
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
        videos: LabelledVideos,
        *,
        out: Path | None,
        show: bool,
        log: Callable[[Record], None] | None,
    ) -> None:
        from accelerate.utils import set_seed

        check(recipe, videos)
        self.recipe, self.videos, self.out = recipe, videos, out
        self.accelerator = make_accelerator(recipe)
        self.processes = self.accelerator.num_processes
        set_seed(recipe.seed)
        network = start_model(recipe, videos.classes)
        network.set_grad_checkpointing(recipe.grad_checkpointing)
        drop_paths(network, recipe.drop_path)
        self.network = batch_norm.arrange(network, recipe).to(self.accelerator.device)
        self.network.to(memory_format=torch.channels_last_3d)
        set_seed(recipe.seed, device_specific=True)  # dropout differs between processes

        clips = training_set(recipe, videos, network.arch.clip)
        share = math.ceil(min(recipe.batch_size, len(clips)) / self.processes)
        self.turns = Turns(
            len(clips),
            batch_size=recipe.batch_size,
            process=self.accelerator.process_index,
            processes=self.processes,
            turns=math.ceil(share / (recipe.micro_batch or share)),
            seed=recipe.seed,
            weights=sample_weights(videos) if recipe.balance == "sampler" else None,
        )
        self.steps = self.turns.steps  # of an epoch
        self.total = max(1, round(recipe.epochs * self.steps))
        self.workers = workers_of(recipe)
        self.loader = make_loader(clips, self.turns, self.workers, self.accelerator.device)

        self.optimizer = self.accelerator.prepare_optimizer(make_optimizer(self.network, recipe))
        self.scheduler = make_scheduler(self.optimizer.optimizer, recipe, self.steps)
        self.ema = make_ema(self.network, recipe)
        self.loss_of = loss_of(recipe, videos).to(self.accelerator.device)
        self.mix = make_mix(recipe, len(videos.classes))
        self.model: nn.Module = self.network  # as accelerate wraps it
        self.head_alone: bool | None = None  # whether the classifier learns alone at this time
        self.progress = Progress()
        self.best: VideoModel | None = None  # where no folder keeps it
        self.asked_to_stop = False
        self.untold: list[Tensor] = []  # losses of the steps that processes have not told each other yet
        self.rates: list[float] = []  # of the same steps
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
        while self.progress.step < self.total and not self.done:
            self.epoch()
        return self.finish()

    def resume(self, how: str) -> None:
        """Go on from a checkpoint, if there is one and it is wanted."""
        path = None if how in ("auto", "never") else Path(how)
        found = [] if self.out is None else checkpoints(self.out)
        if how == "never" and found:
            raise FileExistsError(f"{self.out} holds a run already; choose another folder, or resume it")
        path = found[-1] if path is None and found else path
        if path is not None:
            self.restore(path)
            self.journal.say(f"resumed from {path}, after step {self.progress.step}")
        self.accelerator.wait_for_everyone()
        if self.out is not None and self.accelerator.is_main_process:
            clear_unfinished(self.out)
            rewind(self.out, self.progress.step)
            machine = {"processes": self.processes, "device": str(self.accelerator.device), "workers": self.workers}
            write_about(self.out, self.recipe, self.videos, machine)

    def epoch(self) -> None:
        """The rest of an epoch, from where the run stands; then its test and a checkpoint."""
        epoch, self.turns.first = divmod(self.progress.step, self.steps)
        self.turns.epoch = epoch
        end = min(self.total, (epoch + 1) * self.steps)
        timer, skipped, sums, stop = Timer(), list[Skipped](), torch.zeros(3), False
        batches = timer.waiting(self.loader)
        if self.progress.step == 0 and self.recipe.precision != "float32":
            batches = self.checked(batches)
        for step in range(self.progress.step, end):
            self.phase(step)
            self.scheduler.step_update(step)
            skipped += self.step([next(batches) for _ in range(self.turns.turns)])
            self.progress.step = step + 1
            save = step + 1 < end and bool(self.recipe.save_every) and (step + 1) % self.recipe.save_every == 0
            ask = self.asked_to_stop and self.processes == 1
            if step + 1 < end and not save and not ask and len(self.untold) < LOSSES_TOGETHER:
                continue
            told, stop = self.tell()
            sums += told
            self.journal.advance(step + 1, f"epoch {epoch + 1}, loss {float(sums[0] / sums[2].clamp(min=1)):.3f}")
            if save or (stop and step + 1 < end):
                self.save()
            if stop and step + 1 < end:
                raise KeyboardInterrupt(f"stopped after step {step + 1}; the same command goes on from there")
        self.tell_epoch(epoch + 1, sums, timer, skipped)
        if self.videos.val and ((epoch + 1) % self.recipe.eval_every == 0 or end == self.total):
            self.test(epoch + 1)
        self.save()
        if stop:
            raise KeyboardInterrupt(f"stopped after epoch {epoch + 1}; the same command goes on from there")

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

    def step(self, batches: list[Batch]) -> list[Skipped]:
        """One step of the optimiser, in as many turns as there are batches; the videos that could not be read."""
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
        return [skipped for batch in batches for skipped in batch.skipped]

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sum of the losses of a batch, and how many of its first answers are right."""
        device = self.accelerator.device
        if not len(batch.clips):
            return self.nothing(), torch.zeros((), device=device)
        clips, targets = batch.clips.to(device, non_blocking=True), batch.targets.to(device, non_blocking=True)
        labels = targets
        if self.mix is not None:
            clips, targets = self.mix(clips, labels)
        logits = self.model(clips.contiguous(memory_format=torch.channels_last_3d))
        loss = self.loss_of(logits.float(), targets)
        loss = loss.mean(1).sum() if self.videos.multilabel else loss.sum()
        right = (logits.argmax(1) == labels).float().sum() if labels.ndim == 1 else torch.zeros((), device=device)
        return loss, right

    def nothing(self) -> Tensor:
        """A loss of 0 that all processes can go backward from, where no video of a batch could be read."""
        arch = self.network.arch
        side = clip_side(self.recipe, arch.clip)
        batch_norm.still(self.network)  # black pictures are no statistics
        black = torch.zeros(1, arch.in_chans, arch.clip.frames, side, side, device=self.accelerator.device)
        loss = 0 * self.model(black).float().sum()
        self.to_training()
        return loss

    def checked(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches; the first is seen in half precision and in float32: a FloatingPointError if they differ."""
        first = next(batches)
        if len(first.clips):
            clips = first.clips[:4].to(self.accelerator.device)
            # A copy, as accelerate makes the network itself run in half precision.
            plain = answering(self.network, ()).to(self.accelerator.device)
            with torch.no_grad():
                exact = plain(clips)
                with self.accelerator.autocast():
                    rough = plain(clips).float()
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

    def tell(self) -> tuple[Tensor, bool]:
        """Losses of the last steps, of all processes together, into the log.

        Returns their sums (loss, right answers, clips), and whether a process was asked to stop.
        """
        stop = torch.full_like(self.untold[0], float(self.asked_to_stop))
        told = self.accelerator.reduce(torch.stack([*self.untold, stop])).cpu()
        first = self.progress.step - len(self.untold) + 1
        for step, (loss, right, clips), rate in zip(range(first, self.progress.step + 1), told.tolist(), self.rates):
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the loss is {loss} in step {step}: lower lr (now {rate:g}) or set clip_grad, and go on from the "
                    "last checkpoint"
                )
            self.journal.write({"kind": "step", "step": step, "lr": rate, **self.means(loss, right, clips)})
        self.untold.clear()
        self.rates.clear()
        return told[:-1].sum(0), bool(told[-1].any())

    def means(self, loss: float, right: float, clips: float) -> Record:
        """Sums as a record."""
        record: Record = {"loss": loss / max(clips, 1), "clips": round(clips)}
        return record if self.videos.multilabel else {**record, "accuracy": right / max(clips, 1)}

    def tell_epoch(self, epoch: int, sums: Tensor, timer: Timer, skipped: list[Skipped]) -> None:
        """What an epoch was like."""
        from accelerate.utils import gather_object

        skipped = [Skipped(*found) for found in gather_object(skipped)]
        record = {
            "kind": "epoch",
            "step": self.progress.step,
            "epoch": epoch,
            **self.means(*sums.tolist()),
            "seconds": timer.seconds,
            "wait_seconds": timer.wait_s,
            "skipped": len(skipped),
        }
        self.journal.write(record)
        accuracy = "" if self.videos.multilabel else f", {100 * record['accuracy']:.1f} % of the clips right"
        self.journal.say(f"epoch {epoch}: loss {record['loss']:.4f}{accuracy}; {advice(timer, self.workers)}")
        if skipped:
            self.journal.say(f"{len(skipped)} videos could not be read and were left out, such as {skipped[0].reason}")
            if self.out is not None and self.accelerator.is_main_process:
                for found in skipped:
                    append_line(
                        self.out / SKIPPED,
                        {
                            "step": self.progress.step,
                            "epoch": found.epoch + 1,
                            "video": found.video,
                            "reason": found.reason,
                        },
                    )
        if not record["clips"]:
            raise ValueError(f"no video of epoch {epoch} could be read, such as {skipped[0].reason}")

    def test(self, epoch: int) -> None:
        """Test the network on the `val` part, and keep it if it is the best so far."""
        if self.recipe.precise_norm:
            self.measure_norm()
        network = answering(self.tested, self.videos.classes)
        evaluation = evaluate(
            network.to(self.accelerator.device),
            self.videos.val,
            classes=self.videos.classes,
            views=self.recipe.eval_views,
            multilabel=self.videos.multilabel,
            on_error="report",
            workers=self.workers,
            name=self.recipe.model,
        )
        metrics = measure(evaluation)
        answer = (metrics.mean_ap if self.videos.multilabel else metrics.top1) or 0.0
        better = self.progress.better(answer, epoch)
        if better:
            self.keep(network, f"{metrics.line}; chosen by this very test")
        name = "mAP" if self.videos.multilabel else "top1"
        record = {
            "kind": "test",
            "step": self.progress.step,
            "epoch": epoch,
            name: answer,
            "requested": metrics.requested,
        }
        self.journal.write({**record, "decoded": metrics.decoded})
        self.journal.say(
            f"epoch {epoch}: test {name} {100 * answer:.1f} %, {metrics.decoded} of {metrics.requested} videos, "
            f"views {self.recipe.eval_views}{'; the best so far' if better else ''}"
        )

    def measure_norm(self) -> None:
        """Statistics of batch norm for the weights as they are now."""
        self.turns.first = 0
        batches = itertools.islice(self.loader, self.recipe.precise_norm)
        batch_norm.measure_anew(self.tested, batches, self.accelerator.device, self.average)

    def average(self, value: Tensor) -> Tensor:
        """The mean over all processes."""
        return self.accelerator.reduce(value, reduction="mean")

    def keep(self, network: VideoModel, note: str) -> None:
        """Make this the network that the run gives. note: what its card says of it."""
        network = network.cpu()
        if self.out is None:
            self.best = network
        elif self.accelerator.is_main_process:
            (self.out / CARD).unlink(missing_ok=True)  # it tells the figures of another network
            save_pretrained(network, self.out, origin={"source": "trained with slowfast_hub.trainer", "val": note})

    def finish(self) -> VideoModel:
        """The network of the run, and the report."""
        if self.progress.best is None:
            self.keep(answering(self.tested, self.videos.classes), "not tested")
        self.accelerator.wait_for_everyone()
        self.journal.write({"kind": "end", "step": self.progress.step, "best": self.progress.best})
        if self.out is None:
            assert self.best is not None
            return self.best
        if self.accelerator.is_main_process:
            write_report(self.out)
        return from_pretrained(self.out)

    # What it needs on the way

    @property
    def tested(self) -> VideoModel:
        """The network whose answers count."""
        return self.network if self.ema is None else self.ema.module

    @property
    def done(self) -> bool:
        """Whether the tests have stopped getting better."""
        return 0 < self.recipe.patience <= self.progress.worse

    def save(self) -> None:
        """Write a checkpoint; on a full disk say so and go on."""
        from accelerate.utils import gather_object

        random_states = gather_object([random_state()])
        if self.out is None or not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        state = {
            "set": self.set_text,
            "recipe": to_toml(self.recipe),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": random_states,
        }
        try:
            save_checkpoint(self.out, self.progress, state, keep=self.recipe.keep)
        except OSError as error:
            self.journal.write({"kind": "error", "step": self.progress.step, "error": str(error)})
            self.journal.say(f"no checkpoint after step {self.progress.step}, the last one stays: {error}")

    def restore(self, path: Path) -> None:
        """Go on where a checkpoint was written."""
        self.progress, state = load_checkpoint(path)
        check_same(recipe_of(state["recipe"]), self.recipe, path)
        if state["set"] != self.set_text:
            raise ValueError(f"{path} was written with other videos: {state['set']}, now {self.set_text}; start anew")
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if len(state["random"]) == self.processes:
            set_random_state(state["random"][self.accelerator.process_index])
        else:
            self.journal.say(f"written by {len(state['random'])} processes, now {self.processes}: dropout draws anew")

    @property
    def set_text(self) -> str:
        """The set, so far as a checkpoint depends on it."""
        return f"{len(self.videos.train)} training videos of {len(self.videos.classes)} classes"


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


def loss_of(recipe: Recipe, videos: LabelledVideos) -> nn.Module:
    """Losses of single clips: cross-entropy, or of a multi-label set binary cross-entropy of each class.

    balance="loss": a class weighs one over its number of videos; scaled so that the videos weigh 1 in the mean. Of many
    labels, the positives of a class weigh as much as its negatives.
    """
    counts, total = class_counts(videos).clamp(min=1), len(videos.train)
    balanced = recipe.balance == "loss"
    if videos.multilabel:
        return nn.BCEWithLogitsLoss(reduction="none", pos_weight=(total - counts) / counts if balanced else None)
    weight = total / (counts * len(counts)) if balanced else None
    return nn.CrossEntropyLoss(weight=weight, reduction="none", label_smoothing=recipe.label_smoothing)


def check(recipe: Recipe, videos: LabelledVideos) -> None:
    """ValueError where the recipe and the set do not fit each other."""
    if not videos.train:
        raise ValueError("there are no videos to train on: the training part of the set is empty")
    if recipe.batch_norm == "frozen" and not has_weights(recipe):
        raise ValueError(
            f"batch_norm='frozen' keeps the statistics of trained weights, and {recipe.model} has none: name a tag "
            f"(slowfast-hub list '{recipe.model}*' --pretrained), or take batch_norm=batch head_epochs=0"
        )
    if videos.multilabel and (recipe.mixup or recipe.cutmix or recipe.label_smoothing):
        raise ValueError("mixup, cutmix and label_smoothing are for one label each; this set has any number of them")


# What may differ when a run goes on: it changes where and how fast, not what.
MACHINE = {"workers", "hold", "micro_batch", "grad_checkpointing", "save_every", "keep", "eval_every", "patience"}


def check_same(before: Recipe, now: Recipe, path: Path) -> None:
    """ValueError that names the fields in which a run would go on as another one."""
    changed = [
        f"{field.name} {getattr(before, field.name)!r}, now {getattr(now, field.name)!r}"
        for field in fields(Recipe)
        if field.name not in MACHINE and getattr(before, field.name) != getattr(now, field.name)
    ]
    if changed:
        raise ValueError(
            f"{path} is of a run with {'; '.join(changed)}: use its recipe, or start anew in another folder"
        )


@contextmanager
def stop_signals(training: Training) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the run after its step, with a checkpoint; a second time they end it at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        if training.asked_to_stop:
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
