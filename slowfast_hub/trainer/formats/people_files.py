"""The files of a set of people: its tables, what stands beside them, and where its videos are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slowfast_hub.people.boxes import Unit
from slowfast_hub.people.rows import BoxTable
from slowfast_hub.people.tables import read_boxes
from slowfast_hub.spec import VideoError, VideoInfo
from slowfast_hub.trainer.formats.ava import (
    CUT_FPS,
    Layout,
    frame_folders,
    layout_of,
    read_actions,
    read_excluded,
    read_proposals,
)
from slowfast_hub.trainer.formats.found import listing, videos_by_stem
from slowfast_hub.trainer.formats.tables import classes_beside
from slowfast_hub.trainer.keyframes import Instant
from slowfast_hub.video.reader import open_video

Files = str | Path | Sequence[str | Path] | None


@dataclass(frozen=True, eq=False)
class Sources:
    """What the files of a set say, as they say it."""

    tables: tuple[tuple[str, BoxTable], ...]  # part ("" where nothing says so), its rows
    found: tuple[BoxTable, ...]
    excluded: frozenset[Instant]
    actions: dict[int, str] | None  # a list with numbers
    classes: tuple[str, ...]  # a list without, beside a file
    videos: VideoFiles
    notes: tuple[str, ...]

    def all_tables(self) -> tuple[BoxTable, ...]:
        """Those of labels, and those that a detector found."""
        return (*(table for _, table in self.tables), *self.found)


class VideoFiles:
    """The files of a set's videos, found by what annotations call them."""

    def __init__(self, folder: Path, frame_lists: Sequence[Path], fps: float | None) -> None:
        self.folder, self.fps = folder, fps
        self._frame_lists = frame_lists
        self._stems: Mapping[str, Path] | None = None
        self._folders: dict[str, str] | None = None
        self._paths: dict[str, Path] = {}
        self._infos: dict[str, VideoInfo] = {}
        self._unreadable: set[str] = set()

    def path(self, name: str) -> Path:
        """Where a video should be, whether it is there or not."""
        if name not in self._paths:
            self._paths[name] = self._find(name)
        return self._paths[name]

    def _find(self, name: str) -> Path:
        exact = self.folder / name
        if name and os.path.exists(exact):
            return exact
        if self._stems is None:
            self._stems = videos_by_stem(self.folder)
        if name in self._stems:
            return self._stems[name]
        if self._folders is None:
            self._folders = frame_folders(self._frame_lists)
        return self.folder / self._folders.get(name, name)

    def info(self, name: str) -> VideoInfo:
        """What is known of a video; VideoError where it cannot be opened."""
        if name not in self._infos:
            path = self.path(name)
            self._infos[name] = open_video(path, fps=(self.fps or CUT_FPS) if path.is_dir() else None).info
        return self._infos[name]

    def seconds_of(self, name: str, frame: int) -> float:
        """When a frame of a video begins; of one that is there and cannot be read, as if it had CUT_FPS."""
        if name not in self._unreadable:
            try:
                return self.info(name).begin_s(frame)
            except VideoError:
                if not os.path.exists(self.path(name)):
                    raise
                self._unreadable.add(name)  # whoever reads it says so
        return frame / CUT_FPS


def gather(
    source: str | Path,
    *,
    val: str | Path | None = None,
    videos: str | Path | None = None,
    found: Files = None,
    excluded: Files = None,
    actions: str | Path | None = None,
    unit: Unit | None = None,
    every_s: float = 1.0,
    fps: float | None = None,
) -> Sources:
    """The tables of a set, read and not yet judged; what is not given is looked for in the folder that `source` is."""
    source = Path(source)
    layout = layout_of(source) if source.is_dir() else Layout({"": source}, videos=source.parent)
    truth = layout.truth if val is None else {"train": file_of(layout, source, "train"), "val": val_file(Path(val))}
    if not truth:
        raise ValueError(
            f"{source}: no tables of boxes whose names tell a part, as ava_train_v2.2.csv and val.csv; name a file"
        )
    files = VideoFiles(Path(videos or layout.videos), layout.frame_lists, fps)
    tables = tuple(
        (part, read_boxes(file, unit=unit, seconds_of=files.seconds_of, every_s=every_s))
        for part, file in truth.items()
    )
    found_tables = tuple(read_found(file, files) for file in paths(found) or layout.found.values())
    excluded_files = paths(excluded) or layout.excluded
    moments = read_excluded(excluded_files)
    notes = [note for table in (*(table for _, table in tables), *found_tables) for note in table.notes]
    if moments:
        notes.append(f"{len(moments)} moments are excluded: {listing([file.name for file in excluded_files])}")
    lists = [Path(actions)] if actions is not None else layout.actions
    read = [read_actions(file) for file in lists]
    if any(each != read[0] for each in read[1:]):
        raise ValueError(f"{source}: {listing([file.name for file in lists])} differ; name one: actions=")
    numbered = bool(lists) and lists[0].suffix.lower() == ".pbtxt"
    classes = tuple(read[0].values()) if lists and not numbered else classes_beside(next(iter(truth.values())))
    return Sources(tables, found_tables, moments, read[0] if numbered else None, classes, files, tuple(notes))


def val_file(val: Path) -> Path:
    return file_of(layout_of(val), val, "val") if val.is_dir() else val


def file_of(layout: Layout, source: Path, part: str) -> Path:
    """The file of a part; ValueError where a folder has none."""
    file = layout.truth.get(part) or layout.truth.get("")
    if file is None:
        raise ValueError(f"{source}: no table of boxes for {part}; name a file")
    return file


def paths(files: Files) -> tuple[Path, ...]:
    if files is None:
        return ()
    return (Path(files),) if isinstance(files, str | Path) else tuple(map(Path, files))


def read_found(file: Path, videos: VideoFiles) -> BoxTable:
    """Boxes that a detector found."""
    if file.suffix.lower() in (".pkl", ".pickle"):
        return read_proposals(file)
    return read_boxes(file, seconds_of=videos.seconds_of)
