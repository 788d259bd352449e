"""A folder per class: root/<class>/<video>, or root/{train,val,test}/<class>/<video>.

A folder of frame images below that of a class stands for a video. Names that begin with a dot are left out, and links
to folders are not followed: they may lead in circles, or anywhere.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from slowfast_hub.trainer.formats.found import PARTS, Entry, Found
from slowfast_hub.video.container import IMAGE_SUFFIXES
from slowfast_hub.video.reader import VIDEO_SUFFIXES


def read_folder(root: Path) -> Found:
    """The videos below a folder; ValueError where there are none or where parts and classes are mixed."""
    left_out: Counter[str] = Counter()
    entries = [
        Entry(video, video.relative_to(root).as_posix(), label=folder.name, part=part)
        for part, place in parts_in(root)
        for folder in folders_in(place, left_out)
        for video in videos_in(folder, left_out)
    ]
    if not entries:
        endings = " ".join(sorted(VIDEO_SUFFIXES))
        raise ValueError(
            f"{root}: no videos; expected {root}/<class>/<video>, also below train, val and test, or annotation files "
            f"as {root}/train.csv. A video ends in one of {endings}, or is a folder of images below that of its class"
        )
    notes = (f"{root}: a folder per class", *(f"left out: {count} {what}" for what, count in (+left_out).items()))
    return Found(entries, notes, multilabel=False)


def parts_in(root: Path) -> list[tuple[str, Path]]:
    """(part, folder of its classes); ("", root) where there are no parts."""
    folders = folders_in(root, Counter())
    parts = [(PARTS[folder.name.lower()], folder) for folder in folders if folder.name.lower() in PARTS]
    names = ", ".join(folder.name for _, folder in parts)
    if len(dict(parts)) < len(parts):
        raise ValueError(f"{root}: {names} are two folders for one part; leave one")
    if len(parts) == len(folders):
        return parts
    classes = {folder.name for folder in folders}
    # A class may be called train; one that holds folders of the same names as its neighbours is a part.
    if len(parts) > 1 or any(below.name in classes for _, folder in parts for below in folders_in(folder, Counter())):
        other = next(folder.name for folder in folders if folder.name.lower() not in PARTS)
        raise ValueError(f"{root}: {names} look like parts and {other!r} like a class; move one of them elsewhere")
    return [("", root)]


def folders_in(folder: Path, left_out: Counter[str]) -> list[Path]:
    """The folders directly in a folder, sorted; links are left out and counted."""
    folders = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    left_out["links to folders"] += sum(path.is_symlink() for path in folders)
    return [path for path in folders if not path.is_symlink()]


def videos_in(folder: Path, left_out: Counter[str]) -> Iterator[Path]:
    """The videos of a class at any depth, sorted; what is none is counted."""
    found = 0
    for where, below, names in os.walk(folder, onerror=stop):
        below[:] = [path.name for path in folders_in(Path(where), left_out)]
        shown = sorted(name for name in names if not name.startswith("."))
        videos = [name for name in shown if Path(name).suffix.lower() in VIDEO_SUFFIXES]
        frames = [name for name in shown if Path(name).suffix.lower() in IMAGE_SUFFIXES]
        if videos or Path(where) == folder:
            frames = []  # images beside videos are no video
        left_out["files that are no videos"] += len(shown) - len(videos) - len(frames)
        found += len(videos) + bool(frames)
        yield from (Path(where, name) for name in videos)
        if frames:
            yield Path(where)
    if not found:
        left_out[f"folder without a video, so no class: {folder.name}"] += 1


def stop(error: OSError) -> None:
    """Let a folder without access be an error; os.walk would go on without it."""
    raise error
