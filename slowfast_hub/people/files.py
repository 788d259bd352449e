"""Files of annotations, which anybody may have made: opened only as far as such a file may be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

LARGEST_TABLE = 1 << 29  # bytes, read in pieces; AVA's training file has 48 million
LARGEST_TEXT = 1 << 28  # bytes, read at once; an export of half an hour with five people in every frame has 34 million
LONGEST_LINE = 1 << 16  # characters, of tables that are read line by line


def check_file(file: Path, largest: int = LARGEST_TEXT) -> None:
    """ValueError for what is no file of annotations: a device, a pipe, more bytes than one has."""
    if not file.is_file():
        raise ValueError(f"{file}: no such file; expected a table, a list, or an export of an annotation tool")
    if file.stat().st_size > largest:
        raise ValueError(f"{file}: {file.stat().st_size:,} bytes; a file of annotations has at most {largest:,} here")


def text_of(file: Path) -> str:
    """All of a file; ValueError where it is no text."""
    check_file(file)
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from error


def lines_of(opened: TextIO) -> Iterator[str]:
    """The lines of an open file; ValueError for one that is longer than a line of a table."""
    while line := opened.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise ValueError(f"{opened.name}: a line of more than {LONGEST_LINE:,} characters, as no table has")
        yield line
