"""Names of tensors in two languages: a table of pairs of patterns, read in either direction.

A pattern is a name with fields, `{path}.res{n}.{i}.{c}.{m}` here and `s{n}.pathway{p}_res{i}.branch2.{c}` there. Fields
that stand for the same thing in another spelling share a value: `{p}` is the number of a pathway and `{path}` its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

# field: (what it stands for, its spellings in the order of PLACES[what it stands for])
SPELLINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "path": ("pathway", ("slow", "fast")),
    "p": ("pathway", ("0", "1")),
    "t": ("pathway", ("", "t_")),
    "n": ("stage", ("2", "3", "4", "5")),
    "n-1": ("stage", ("1", "2", "3", "4")),
    "n-2": ("stage", ("0", "1", "2", "3")),
    "late": ("late stage", ("3", "4", "5")),
    "late-1": ("late stage", ("2", "3", "4")),
    "l": ("lateral", ("0", "1", "2", "3")),
    "l+1": ("lateral", ("1", "2", "3", "4")),
    "j": ("later lateral", ("1", "2", "3")),  # those behind a stage; the first one is behind the stem
    "j+1": ("later lateral", ("2", "3", "4")),
    "c": ("convolution", ("a", "b", "c")),
    "k": ("convolution", ("1", "2", "3")),
    "m": ("module", ("conv", "norm")),
    "b": ("module", ("conv", "bn")),
    "d": ("module", ("0", "1")),  # in an nn.Sequential
    "f": ("projection", ("theta", "phi", "g", "out")),
}
NUMBERS = {"i", "any"}  # any whole number; `any` is not carried over


@dataclass(frozen=True)
class Pattern:
    """One name with fields in braces."""

    text: str

    @cached_property
    def regex(self) -> re.Pattern[str]:
        parts = re.split(r"\{(.+?)\}", self.text)
        found = [re.escape(part) if at % 2 == 0 else self.group(part, at) for at, part in enumerate(parts)]
        return re.compile("".join(found))

    @cached_property
    def fields(self) -> list[str]:
        return re.findall(r"\{(.+?)\}", self.text)

    @staticmethod
    def group(field: str, at: int) -> str:
        return f"(?P<at{at}>" + (r"\d+" if field in NUMBERS else "|".join(SPELLINGS[field][1])) + ")"

    def read(self, name: str) -> dict[str, int | str] | None:
        """What the fields stand for in `name`; None where the pattern does not fit."""
        match = self.regex.fullmatch(name)
        if match is None:
            return None
        values: dict[str, int | str] = {}
        for name_of, text in zip(self.fields, match.groups()):
            if name_of in NUMBERS:
                values[name_of] = text
            else:
                meaning, spellings = SPELLINGS[name_of]
                values[meaning] = spellings.index(text)
        return values

    def write(self, values: Mapping[str, int | str]) -> str:
        """The name with the fields filled in."""

        def spelt(match: re.Match[str]) -> str:
            field = match[1]
            if field in NUMBERS:
                return str(values.get(field, "*"))
            meaning, spellings = SPELLINGS[field]
            return spellings[int(values[meaning])]

        return re.sub(r"\{(.+?)\}", spelt, self.text)


@dataclass(frozen=True)
class Names:
    """A table of modules, `(ours, theirs)`; the first pair that fits a name counts."""

    pairs: tuple[tuple[Pattern, Pattern], ...]

    def ours(self, module: str) -> str | None:
        return self.translate(module, read=1, write=0)

    def theirs(self, module: str) -> str | None:
        return self.translate(module, read=0, write=1)

    def translate(self, module: str, *, read: int, write: int) -> str | None:
        for pair in self.pairs:
            values = pair[read].read(module)
            if values is not None:
                return pair[write].write(values)
        return None


def table(*pairs: tuple[str, str]) -> Names:
    return Names(tuple((Pattern(ours), Pattern(theirs)) for ours, theirs in pairs))


def split_at_dot(key: str) -> tuple[str, str] | None:
    """A module's name and its tensor's, as torch joins them."""
    module, _, leaf = key.rpartition(".")
    return (module, leaf) if module and leaf in LEAVES else None


LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Layout:
    """How one project names the tensors of these networks."""

    name: str
    tables: tuple[Names, ...]  # one for each kind of network; the first that knows the most names counts
    drop: tuple[tuple[str, str], ...] = ()  # (regular expression, why such a tensor is left out)
    changes: dict[str, Any] = field(default_factory=dict)  # what all networks of the project differ in from our rows
    of_family: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # and those of one family: the first word of a row
    split: Callable[[str], tuple[str, str] | None] = split_at_dot  # their name of a tensor to module and our leaf
    join: Callable[[str, str], str] = "{}.{}".format  # and back
    one_head: bool = False  # the classifiers of clips and of boxes have the same name

    def ours(self, names: Names, key: str) -> str | None:
        """Our name of one of their tensors; None when the table has none."""
        parts = self.split(key)
        module = names.ours(parts[0]) if parts else None
        return f"{module}.{parts[1]}" if module and parts else None

    def theirs(self, names: Names, key: str) -> str:
        """Their name of one of our tensors, for messages and for the way back."""
        module, _, leaf = key.rpartition(".")
        found = names.theirs(module)
        return self.join(found, leaf) if found else f"no name for {key!r}"

    def dropped(self, key: str) -> str | None:
        """Why a tensor is left out; None when it is not."""
        return next((reason for pattern, reason in self.drop if re.fullmatch(pattern, key)), None)
