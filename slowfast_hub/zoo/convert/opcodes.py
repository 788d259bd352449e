"""A pickle read as a list of instructions, before any of them is carried out.

The machine that runs pickles can be made to take all memory or never to end by a few hundred bytes: a huge memo
index, or tuples of tuples of tuples, each holding the one before twice, whose hash or text visits two to the power of
their depth.
"""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import BinaryIO, NamedTuple

from slowfast_hub.zoo.convert.refusal import DAMAGED, ConvertError

MAX_INSTRUCTIONS = 500_000  # of a file; real ones have some ten thousands, with an optimizer some hundred thousand
SIZES = 4  # a value written out in full is at most so many times larger than the instructions
MAX_DEPTH = 100  # of values in values: hashing a tuple uses the machine's own stack


class Value(NamedTuple):
    """What stands on the machine's stack: how large it is written out, and how deep."""

    size: int
    depth: int


FILLS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
MARK = Value(0, 0)  # compared by identity


def check_opcodes(path: Path, file: BinaryIO, pickles: int = 1, *, most: int = MAX_INSTRUCTIONS) -> None:
    """ConvertError unless the pickles at the file's position have at most so many instructions together."""
    left = most
    for _ in range(pickles):
        left -= count_opcodes(path, file, left)


def count_opcodes(path: Path, file: BinaryIO, most: int) -> int:
    """The number of instructions of one pickle; the file is left behind its end."""
    stack: list[Value] = []
    memo: dict[int, Value] = {}
    count = 0
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count > most:
                raise ConvertError(f"{path}: more than {most} pickle instructions")
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
                index = len(memo) if opcode.name == "MEMOIZE" else int(argument or 0)
                if index > most:
                    raise ConvertError(f"{path}: a pickle memo of {index} entries")
                memo[index] = stack[-1]
            elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
                stack.append(memo[int(argument or 0)])
            else:
                result = run(opcode, stack)
                if result.size > SIZES * most or result.depth > MAX_DEPTH:
                    raise ConvertError(f"{path}: a pickle whose values hold one another without end")
    except ConvertError:
        raise
    except DAMAGED as error:
        raise ConvertError(f"{path}: a damaged or incomplete pickle ({error})") from error
    return count


def run(opcode: pickletools.OpcodeInfo, stack: list[Value]) -> Value:
    """Take off the stack what an instruction takes, put on what it gives, each as large as all it was made of."""
    taken: list[Value] = []
    for kind in reversed(opcode.stack_before):
        if kind is pickletools.stackslice:
            while (value := stack.pop()) is not MARK:
                taken.append(value)
        elif kind is not pickletools.markobject:  # its mark went with the slice
            taken.append(stack.pop())
        elif pickletools.stackslice not in opcode.stack_before:
            stack.pop()
    size = 1 + sum(value.size for value in taken)
    if opcode.name in FILLS:  # the container stays as deep as it was, or becomes one deeper than what is put in
        container, items = taken[-1], taken[:-1]
        made = Value(size, max(container.depth, 1 + max((value.depth for value in items), default=0)))
    else:
        made = Value(size, 1 + max((value.depth for value in taken), default=0))
    for kind in opcode.stack_after:
        stack.append(MARK if kind is pickletools.markobject else made)
    return made
