"""How a network is trained, as one frozen dataclass; a recipe file is the same in TOML."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

from slowfast_hub.people.boxes import PERSON_SCORE
from slowfast_hub.spec import at_least, one_of, whole

SHIPPED = resources.files("slowfast_hub.trainer") / "recipes"


@dataclass(frozen=True)
class Recipe:
    """Everything a run depends on but the videos.

    A clip is one view of one video. An epoch shows each video once, but for those that are left when no step is full.
    """

    # The network
    model: str  # what create_model takes; a name with a tag, and a folder or repository, bring their weights
    changes: dict[str, Any] = field(default_factory=dict)  # overrides of the model's row
    init: str | None = None  # weights to start from: a safetensors file, or a name with a tag, a folder, a repository
    # The steps
    epochs: float = 196
    batch_size: int = 64  # clips of one step, of all processes together
    micro_batch: int | None = None  # the most clips that one device takes at once; a step then has several turns
    optimizer: str = "sgd"  # a name timm's optimiser factory knows; its sgd has Nesterov's momentum, as PySlowFast's
    lr: float = 0.1
    lr_batch: int | None = None  # `lr` is for steps of so many clips, and grows with batch_size; None: it is as it is
    momentum: float = 0.9
    weight_decay: float = 1e-4  # not on biases and batch norm, as PySlowFast
    layer_decay: float | None = None  # each stage below the head learns at this share of the rate of the next one
    schedule: str = "cosine"  # half a cosine to 0, "steps" or "constant"
    milestones: tuple[float, ...] = ()  # epochs at which "steps" multiplies the rate by `step_decay`
    step_decay: float = 0.1
    warmup_epochs: float = 34  # a straight line up to where the schedule is by then
    warmup_start: float = 0.1  # where it begins, as a share of the rate
    head_epochs: float = 0.0  # at the beginning the new classifier learns alone
    patience: int = 0  # tests without a better answer after which the run ends; 0, and without a val part: never
    clip_grad: float | None = None  # largest norm of the gradient
    ema_decay: float = 0.0  # running mean of the weights that is tested and kept in place of the last ones; 0: off
    # The answer
    label_smoothing: float = 0.0
    balance: str = "none"  # rare classes: "sampler" shows them more often, "loss" gives them more weight
    mixup: float = 0.0  # alpha of its beta distribution; 0: off
    cutmix: float = 0.0
    drop_path: float = 0.0  # share of dropped blocks, growing from 0 at the first to this at the last
    # The clips
    crop: int | None = None  # px of training clips; None: those of the network's clip recipe
    jitter: tuple[int, int] | None = None  # px, see TrainTransform; None: in the proportions of the paper's 256 to 320
    jitter_inverse: bool = False  # the scale is drawn evenly in 1 / px (PySlowFast, INV_UNIFORM_SAMPLE)
    aspect: float = 0.0
    flip: float = 0.5
    swap: dict[str, str] = field(default_factory=dict)  # classes that a flip turns into each other
    light: float = 0.0
    color: float = 0.0  # strength of torchvision's ColorJitter
    rand_augment: int = 0  # magnitude of RandAugment's two operations, 1..30; 0: off
    erase: float = 0.0  # probability of an erased box
    speed: float = 0.0  # largest relative change of the clip's clock
    # The boxes of people
    box_jitter: float = 0.0  # how far each side of a box moves at most, as a share of the box
    found_iou: float | None = None  # boxes of a person detector that overlap a drawn one by more are learnt from, too
    found_score: float = PERSON_SCORE  # at least; of such boxes
    # Batch norm
    batch_norm: str = "batch"  # "frozen" keeps its statistics, "sync" shares them between GPUs
    norm_clips: int | None = None  # statistics are taken within so many clips; None: within what a device takes at once
    precise_norm: int = 0  # batches over which statistics are taken anew before a test; 0: off
    # The machine
    precision: str = "float32"  # or bfloat16, float16
    grad_checkpointing: bool = False  # blocks are computed again in the backward pass: less memory, more time
    workers: int = -1  # processes that make clips, for each training process; -1: one for each core
    hold: int = 0  # px: videos stay decoded in memory, their longer side at most this; 0: off
    # The run
    eval_views: str = "centre"
    eval_every: int = 1  # epochs from test to test
    save_every: int = 0  # steps from checkpoint to checkpoint; 0: an epoch
    keep: int = 2  # checkpoints that stay
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"batch_size": 1, "eval_every": 1, "save_every": 0, "keep": 1, "patience": 0}.items():
            whole(f"recipe.{name}", getattr(self, name), least)
        for name, least in {"precise_norm": 0, "workers": -1, "hold": 0, "rand_augment": 0}.items():
            whole(f"recipe.{name}", getattr(self, name), least)
        for name in ("micro_batch", "lr_batch", "crop", "norm_clips"):
            if getattr(self, name) is not None:
                whole(f"recipe.{name}", getattr(self, name), 1)
        for name in ("epochs", "lr", "weight_decay", "warmup_epochs", "head_epochs", "mixup", "cutmix"):
            at_least(f"recipe.{name}", getattr(self, name), 0)
        if not (0 < self.epochs < math.inf and self.lr < math.inf):
            raise ValueError(f"recipe.epochs is above 0, and finite as lr is; got {self.epochs} and {self.lr}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"recipe.seed is a whole number from 0; got {self.seed!r}")
        if None in self.changes.values():
            raise ValueError(f"recipe.changes cannot hold None, for which TOML has no word; got {self.changes}")
        for name in (
            "flip",
            "erase",
            "step_decay",
            "warmup_start",
            "label_smoothing",
            "ema_decay",
            "color",
            "found_score",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"recipe.{name} must be in 0..1; got {getattr(self, name)!r}")
        for name in ("aspect", "light", "speed", "drop_path", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"recipe.{name} must be in [0, 1); got {getattr(self, name)!r}")
        if not 0 <= self.box_jitter < 0.5:
            raise ValueError(
                f"recipe.box_jitter must be in [0, 0.5), so that a box keeps a side; got {self.box_jitter!r}"
            )
        if self.found_iou is not None and not 0 < self.found_iou < 1:
            raise ValueError(f"recipe.found_iou must be in (0, 1), or none; got {self.found_iou!r}")
        one_of("recipe.schedule", self.schedule, ("cosine", "steps", "constant"))
        one_of("recipe.balance", self.balance, ("none", "sampler", "loss"))
        one_of("recipe.batch_norm", self.batch_norm, ("batch", "frozen", "sync"))
        one_of("recipe.precision", self.precision, ("float32", "bfloat16", "float16"))
        longer = [name for name in ("warmup_epochs", "head_epochs") if getattr(self, name) > self.epochs]
        if longer:
            told = " and ".join(f"{name} {getattr(self, name)}" for name in longer)
            raise ValueError(
                f"{told} {'is' if len(longer) == 1 else 'are'} longer than the run of {self.epochs} epochs: lower "
                f"{'it' if len(longer) == 1 else 'them'} too, as {' '.join(f'{name}=0' for name in longer)}"
            )
        if bool(self.milestones) != (self.schedule == "steps") or list(self.milestones) != sorted(self.milestones):
            raise ValueError(
                f"milestones are ascending epochs of schedule='steps'; got {self.milestones} and {self.schedule!r}"
            )
        if self.jitter is not None and (len(self.jitter) != 2 or not 1 <= self.jitter[0] <= self.jitter[1]):
            raise ValueError(f"jitter is (smallest, largest) in px; got {self.jitter}")
        if self.milestones and self.milestones[-1] >= self.epochs:
            raise ValueError(f"milestones {self.milestones} lie beyond the run of {self.epochs} epochs")
        if self.swap and not self.flip:
            raise ValueError("swap says what a flip does, and flip is 0: leave swap out")
        if len({*self.swap, *self.swap.values()}) != 2 * len(self.swap):
            raise ValueError(f"swap names pairs of classes, each class once; got {self.swap}")
        if self.batch_norm == "frozen" and self.precise_norm:
            raise ValueError(
                "precise_norm takes statistics anew, which batch_norm='frozen' keeps: leave one of them out"
            )
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise ValueError(f"recipe.layer_decay must be in (0, 1]; got {self.layer_decay!r}")
        if self.clip_grad is not None and not self.clip_grad > 0:
            raise ValueError(f"recipe.clip_grad must be positive; got {self.clip_grad!r}")
        if self.rand_augment > 30:
            raise ValueError(f"recipe.rand_augment is 0 (off) to 30; got {self.rand_augment}")
        if self.norm_clips is not None and self.batch_norm != "batch":
            raise ValueError(f"norm_clips belongs to batch_norm='batch'; got {self.batch_norm!r}")

    def rate_for(self, clips: int) -> float:
        """The learning rate for steps of so many clips (Goyal et al. 2017: it grows with their number)."""
        return self.lr if self.lr_batch is None else self.lr * clips / self.lr_batch


KINDS: dict[str, Any] = get_type_hints(Recipe)


def read_recipe(source: str | Path, overrides: Mapping[str, object] | Sequence[str] = ()) -> Recipe:
    """A recipe from a TOML file whose keys are the fields, or one that ships here, by its name; `overrides` win.

    overrides: a mapping, or `key=value` pairs as on a command line; `changes.dropout=0.2` reaches into a table.
    Errors: FileNotFoundError that lists what ships, TypeError for unknown keys and values of another kind.
    """
    name = str(source)
    file = Path(source) if name.endswith(".toml") else Path(str(SHIPPED / f"{name}.toml"))
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such recipe; give a .toml file or one of {', '.join(list_recipes())}")
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{file}: not TOML: {error}") from error
    given = overrides if isinstance(overrides, Mapping) else dict(map(as_pair, overrides))
    for key, value in given.items():
        table, dot, inner = key.partition(".")
        if dot:
            if table not in ("changes", "swap") or "." in inner:
                raise TypeError(f"{key}: changes.FIELD and swap.CLASS alone reach into a table; give a whole one else")
            values[table] = {**values.get(table, {}), inner: value}
        else:
            values[key] = value
    return recipe_from(values, str(file))


def list_recipes() -> list[str]:
    """Names of the recipes that ship here."""
    return sorted(file.name.removesuffix(".toml") for file in SHIPPED.iterdir() if file.name.endswith(".toml"))


def as_pair(text: str) -> tuple[str, object]:
    """`key=value` with a value as TOML has it; what is none there is a string: model=slowfast_r50_4x16."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"an override is key=value; got {text!r}")
    if value == "none":
        return key, None
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def recipe_from(values: Mapping[str, object], where: str) -> Recipe:
    """The recipe of plain values; TypeError names what does not fit."""
    unknown = [name for name in values if name not in KINDS]
    if unknown:
        close = difflib.get_close_matches(unknown[0], KINDS, n=1)
        meant = f"did you mean {close[0]!r}?" if close else f"its fields are {', '.join(KINDS)}"
        raise TypeError(f"{where}: a recipe has no field {unknown[0]!r}; {meant}")
    if "model" not in values:
        raise TypeError(f"{where}: a recipe needs a model; add model=NAME")
    return Recipe(**{name: fitted(where, name, value) for name, value in values.items()})  # type: ignore[arg-type]


def fitted(where: str, name: str, value: object) -> object:
    """A value as its field has it: whole numbers as floats, lists as tuples; TypeError for another kind."""
    text = str(KINDS[name]).removeprefix("<class '").removesuffix("'>")
    kinds = text.split(" | ")
    if value is None and "None" in kinds:
        return None
    if "float" in kinds and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if text.startswith("tuple[") and isinstance(value, list | tuple):
        numbers = all(isinstance(item, int | float) and not isinstance(item, bool) for item in value)
        if numbers and ("float" in text or all(isinstance(item, int) for item in value)):
            return tuple(value)
    if text.startswith("dict[") and isinstance(value, dict):
        return value
    if type(value).__name__ in kinds:
        return value
    raise TypeError(f"{where}: {name} is {text}; got {value!r}")


def to_toml(recipe: Recipe) -> str:
    """The recipe as a TOML file, every field; None is left out, as TOML has no word for it."""
    lines = [
        f"{f.name} = {toml_value(getattr(recipe, f.name))}"
        for f in fields(recipe)
        if getattr(recipe, f.name) is not None
    ]
    return "\n".join(lines) + "\n"


def toml_value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml_value(str(key))} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
        return f'"{escaped}"'
    return repr(value)


def recipe_of(text: str) -> Recipe:
    """The recipe that `to_toml` wrote."""
    return recipe_from(tomllib.loads(text), "recipe")
