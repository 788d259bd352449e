"""Damaged video files by number: the same seed and the same parents make the same bytes, on every machine.

What is done to a file is what happens to files: bits flip, copies break off, pieces get lost, come twice or belong to
another file, and fields of a header claim what the rest of the file cannot keep. The last is what attackers do, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

Damage = Callable[[Random, bytes, bytes], bytes]  # (draws, the file, another file) to the damaged file

LARGEST = 1_000_000  # bytes of a damaged file: spliced ones do not grow without end

# Numbers that readers trip over: nothing, signs, edges of every width, and values just large enough to cost a lot.
NUMBERS = (0, 1, 2, 255, 1 << 15, (1 << 16) - 1, 16_384, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 64) - 1)

# Four letters that stand before fields with sizes, counts, rates, times or places in a file (ISO base media, RIFF).
BOXES = re.compile(
    b"ftyp|moov|mvhd|trak|tkhd|edts|elst|mdia|mdhd|hdlr|minf|dinf|dref|stbl|stsd|stts|ctts|stsc|stsz|stz2|stco|co64|stss"
    b"|sdtp|moof|mfhd|traf|tfhd|tfdt|trun|mvex|trex|sidx|mdat|avc1|avcC|hvc1|hev1|hvcC|vp09|av01|av1C|mp4v|esds|colr|pasp"
    b"|RIFF|avih|strh|strf|movi|idx1|indx|00dc|LIST|OggS|GIF8|NETSCAPE|fLaC|VP8X|ANIM|ANMF"
)


@dataclass(frozen=True)
class Mutant:
    """A damaged file, and where it comes from."""

    data: bytes
    kind: str  # what was done, a name of DAMAGES or several joined by "+"
    parent: int  # which of the parents was damaged
    other: int  # and which one gave pieces to it, if any was needed


def mutate(seed: int, parents: Sequence[bytes]) -> Mutant:
    """The damaged file number `seed` that these parents make. ValueError without parents."""
    if not parents:
        raise ValueError("mutate needs at least one parent; got none")
    draws = Random(seed)
    parent, other = draws.randrange(len(parents)), draws.randrange(len(parents))
    data, kinds = parents[parent], [draws.choice(list(DAMAGES)) for _ in range(draws.choice((1, 1, 1, 2, 3)))]
    for kind in kinds:
        data = DAMAGES[kind](draws, data, parents[other])[:LARGEST]
    return Mutant(data, "+".join(kinds), parent, other)


def flip_few_bits(draws: Random, data: bytes, other: bytes) -> bytes:
    """1 to 20 bits anywhere."""
    damaged = bytearray(data)
    for _ in range(draws.randint(1, 20) if data else 0):
        damaged[draws.randrange(len(damaged))] ^= 1 << draws.randrange(8)
    return bytes(damaged)


def flip_many_bits(draws: Random, data: bytes, other: bytes) -> bytes:
    """A bit in every few bytes of a stretch."""
    damaged = bytearray(data)
    begin, end = stretch(draws, len(data))
    every = draws.choice((2, 8, 64, 512))
    for at in range(begin, end, every):
        damaged[min(at + draws.randrange(every), end - 1)] ^= 1 << draws.randrange(8)
    return bytes(damaged)


def cut_off(draws: Random, data: bytes, other: bytes) -> bytes:
    """The rest is missing."""
    return data[: draws.randint(0, len(data))]


def behead(draws: Random, data: bytes, other: bytes) -> bytes:
    """The beginning is missing."""
    return data[min(len(data), draws.choice((1, 4, 32, 188, 1024, draws.randint(0, len(data))))) :]


def swap_header(draws: Random, data: bytes, other: bytes) -> bytes:
    """The head of another file on this body."""
    size = draws.choice((8, 64, 512, 4096, draws.randint(0, len(other))))
    return other[:size] + data[size:]


def splice(draws: Random, data: bytes, other: bytes) -> bytes:
    """This file up to somewhere, then another from somewhere on."""
    return data[: draws.randint(0, len(data))] + other[draws.randint(0, len(other)) :]


def interleave(draws: Random, data: bytes, other: bytes) -> bytes:
    """Pieces of both files in turn, as two writers of one file leave them."""
    size = draws.choice((188, 512, 4096, 65_536))
    pieces = (data[at : at + size] + other[at : at + size] for at in range(0, len(data), size))
    return b"".join(pieces)


def repeat_piece(draws: Random, data: bytes, other: bytes) -> bytes:
    begin, end = stretch(draws, len(data))
    return data[:begin] + data[begin:end] * draws.choice((2, 3, 20)) + data[end:]


def remove_piece(draws: Random, data: bytes, other: bytes) -> bytes:
    begin, end = stretch(draws, len(data))
    return data[:begin] + data[end:]


def move_piece(draws: Random, data: bytes, other: bytes) -> bytes:
    begin, end = stretch(draws, len(data))
    rest = data[:begin] + data[end:]
    at = draws.randint(0, len(rest))
    return rest[:at] + data[begin:end] + rest[at:]


def fill_range(draws: Random, data: bytes, other: bytes) -> bytes:
    """A stretch of one byte, as a hole in a file or an erased block of memory leaves it."""
    begin, end = stretch(draws, len(data))
    return data[:begin] + draws.choice((b"\0", b"\0", b"\xff")) * (end - begin) + data[end:]


def blow_up_box(draws: Random, data: bytes, other: bytes) -> bytes:
    """Extreme numbers in the fields of a named box: its size in front of the name, or what stands behind it."""
    names = [match.start() for match in BOXES.finditer(data)]
    for _ in range(draws.randint(1, 3) if names else 0):
        at = draws.choice(names) + draws.choice((-4, 4, 8, 12, 16, 20, 24, 28, 32, draws.randrange(4, 96)))
        data = with_number(draws, data, at)
    return data


def blow_up_head(draws: Random, data: bytes, other: bytes) -> bytes:
    """Extreme numbers somewhere in the first bytes, where most formats say sizes and rates."""
    for _ in range(draws.randint(1, 4)):
        data = with_number(draws, data, draws.randrange(max(1, min(len(data), draws.choice((64, 256, 1024))))))
    return data


def stretch(draws: Random, size: int) -> tuple[int, int]:
    """Begin and end of a piece of `size` bytes; short ones are as likely as long ones."""
    length = min(size, draws.choice((1, 16, 256, 4096, 65_536, size // 10, size // 2)))
    begin = draws.randint(0, size - length)
    return begin, begin + length


def with_number(draws: Random, data: bytes, at: int) -> bytes:
    """`data` with an extreme number of 1 to 8 bytes written over what stands at `at`."""
    width, order = draws.choice((1, 2, 4, 4, 4, 8)), draws.choice(("big", "big", "little"))
    number = draws.choice((*NUMBERS, draws.getrandbits(64))) % (1 << 8 * width)
    return data[: max(0, at)] + number.to_bytes(width, order) + data[max(0, at) + width :]


DAMAGES: dict[str, Damage] = {
    damage.__name__: damage
    for damage in (
        flip_few_bits,
        flip_many_bits,
        cut_off,
        behead,
        swap_header,
        splice,
        interleave,
        repeat_piece,
        remove_piece,
        move_piece,
        fill_range,
        blow_up_box,
        blow_up_head,
    )
}
