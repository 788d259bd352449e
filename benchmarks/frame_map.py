"""Frame mAP of a made validation set of AVA's size: ours against the official code, and that both give the same.

    pip install --no-deps mmaction2
    python benchmarks/frame_map.py [--frames 57408]

The official code is that of ActivityNet as the wheel of mmaction2 carries it, with a process for each core in the place
of its 32; ours is one thread. Each detection has a score of its own, as the official code leaves equal ones to numpy's
sort, and corners lie on a grid of 1/512, so that its float32 and our float64 see the same overlaps.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from measure import machine

from slowfast_hub.trainer.detections import read_detections
from slowfast_hub.trainer.frame_map import LabelledBoxes, frame_map
from slowfast_hub.trainer.keyframes import KeyFrame

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from official_ava import official_ava

CLASSES = 80
EVALUATED = tuple(label for label in range(CLASSES) if label % 4 != 3)  # 60
SECONDS = 897  # of each video that have a key frame: 902 to 1798
LEAST = 0.002  # score of a detection that is kept, as MMAction2's action_thr
GRID = 512


def made_set(frames: int) -> tuple[LabelledBoxes, LabelledBoxes]:
    """Truth and detections: 2.5 people a frame who do about 2.3 things each, found a little off, and some not there."""
    random = np.random.default_rng(0)
    people = 1 + random.poisson(1.5, frames)
    frame_of = np.repeat(np.arange(frames), people)
    corners = random.integers(0, GRID // 2, (len(frame_of), 2))
    sides = random.integers(GRID // 6, GRID // 2, (len(frame_of), 2))
    boxes = np.concatenate([corners, corners + sides], 1)
    common = 1 / np.arange(3, CLASSES + 3) ** 1.2
    does = random.random((len(frame_of), CLASSES)) < 2.3 * common / common.sum()
    does[~does[:, EVALUATED].any(1), 0] = True  # MMAction2 passes over frames without an evaluated label
    row, label = does.nonzero()
    truth = LabelledBoxes(frame_of[row], label, boxes[row] / GRID, np.ones(len(row)))

    # Everybody is found, some 20 % too badly; then come those who are not there.
    more = random.integers(0, frames, len(frame_of) // 10)
    moved = boxes + random.integers(-GRID // 14, GRID // 14, boxes.shape)
    found_in = np.concatenate([frame_of, more])
    found = np.concatenate([moved, moved[random.integers(0, len(moved), len(more))]]).clip(0, GRID)
    truly = np.concatenate([does, np.zeros((len(more), CLASSES), bool)])
    logits = random.normal(-7.6, 2, truly.shape) + 5 * truly
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    row, label = (scores >= LEAST).nonzero()
    score = scores[row, label]
    order = np.lexsort((-score, found_in[row]))  # as the official reader sorts them
    row, label, score = row[order], label[order], score[order]
    _, own = np.unique(label + score.astype(np.float64), return_index=True)
    own.sort()
    row, label, score = row[own], label[own], score[own]
    return truth, LabelledBoxes(found_in[row], label, found[row] / GRID, score.astype(np.float64))


def moment(frame: int) -> tuple[str, str]:
    return f"made{frame // SECONDS:07d}", f"{902 + frame % SECONDS:04d}"


def write(path: Path, boxes: LabelledBoxes, *, scored: bool) -> None:
    columns = (each.tolist() for each in (boxes.frames, boxes.classes, boxes.boxes, boxes.scores))
    with path.open("w") as file:
        for frame, label, box, score in zip(*columns):
            sides = ",".join(f"{side:.9f}" for side in box)
            file.write(f"{','.join(moment(frame))},{sides},{label + 1}" + f",{score:.9g}" * scored + "\n")


def timed(work: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Median seconds, and the answer."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        answer = work()
        seconds.append(time.perf_counter() - begin)
    return median(seconds), answer


def official(code: Any, truth: Path, found: Path, labels: Path) -> tuple[float, float, list[float], float]:
    """Seconds to read and to evaluate, average precisions, and their mean."""
    _, evaluated = code.read_labelmap(labels.open())
    read = {truth.name: code.read_csv, found.name: code.read_csv}
    reading, values = 0.0, []
    for path in (truth, found):
        seconds, read[path.name] = timed(lambda path=path: read[path.name](path.open(), evaluated))
        reading += seconds
    pool = code.multiprocessing.Pool
    code.multiprocessing.Pool = lambda processes: pool(os.cpu_count())
    code.read_csv = lambda file, classes: read[Path(file.name).name]
    average_precision = code.metrics.compute_average_precision

    def kept(*given: np.ndarray) -> float:
        values.append(average_precision(*given))
        return values[-1]

    code.metrics.compute_average_precision = kept
    with contextlib.redirect_stdout(io.StringIO()):
        seconds, answer = timed(lambda: code.ava_eval(str(found), "mAP", str(labels), str(truth), None, verbose=False))
    return reading, seconds, values, answer["overall"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=64 * SECONDS, help="key frames; AVA's validation set has 57 k")
    count = parser.parse_args().frames
    code = official_ava()
    if code is None:
        parser.error("the official code is not installed: pip install --no-deps mmaction2")
    truth, found = made_set(count)
    print(f"{machine()}, numpy {np.__version__}\n")
    print(f"{count:,} key frames, {len(truth):,} labels of people, {len(found):,} detections\n")
    frames = [KeyFrame(moment(number)[0], 0.0, (), time=moment(number)[1]) for number in range(count)]
    names = [f"class {label}" for label in range(CLASSES)]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("truth.csv", "found.csv", "labels.pbtxt")]
        write(files[0], truth, scored=False)
        write(files[1], found, scored=True)
        files[2].write_text("".join(f'item {{\n  name: "{label}"\n  id: {label + 1}\n}}\n' for label in EVALUATED))

        def ours(detections: LabelledBoxes) -> Any:
            return frame_map(truth, detections, num_classes=CLASSES, evaluated=EVALUATED)

        mine, answer = timed(lambda: ours(found), 3)
        mine_file, from_file = timed(lambda: ours(read_detections(files[1], frames, names).boxes), 3)
        reading, theirs, values, mean_ap = official(code, *files)
    figures = answer.average_precision[list(EVALUATED)]
    largest = max(np.abs(np.sort(figures) - np.sort(values)).max(), abs(answer.mean_ap - mean_ap))
    if not largest < 1e-9 or from_file.mean_ap != answer.mean_ap:
        raise SystemExit(f"the figures differ by {largest:.2g}: ours {answer.mean_ap}, official {mean_ap}")
    print("| mAP of | official, s | ours, s | ratio |\n|---|---|---|---|")
    print(f"| what was read | {theirs:.1f} | {mine:.2f} | {theirs / mine:.0f}x |")
    print(
        f"| a file of detections | {reading + theirs:.1f} | {mine_file:.2f} | {(reading + theirs) / mine_file:.0f}x |"
    )
    print(f"\nmAP {100 * answer.mean_ap:.4f} % by both; of no class do the figures differ by more than {largest:.1g}")


if __name__ == "__main__":
    main()
