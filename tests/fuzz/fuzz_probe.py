"""Coverage-guided fuzzing of what reads foreign files: the walk over the packets, and the index that is made of it.

    pip install atheris
    python tests/fuzz/fuzz_probe.py --corpus fuzz-corpus files   -max_total_time=600
    python tests/fuzz/fuzz_probe.py --corpus fuzz-corpus packets -max_total_time=600

`files`: whole files through `probe` and a reading of three frames, within tight limits. `packets`: the times that a
demuxer may claim, straight into the index, where no damage to a file is needed to reach the strange ones. All that
follows the name of the target goes to libFuzzer; a corpus begins with the whole files of `parents`.
"""

from __future__ import annotations

import argparse
import sys
from array import array
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as pytest has it: the folder of the tests

with atheris.instrument_imports(include=["slowfast_hub.spec", "slowfast_hub.video"]):
    from slowfast_hub.spec import Limits, VideoError, VideoInfo
    from slowfast_hub.video.reader import open_video
    from slowfast_hub.video.track import rate_of, track_of

import numpy as np
from fuzz.parents import made_parents

# Small, so that an input takes milliseconds; every limit can be met.
LIMITS = Limits(bytes=1 << 20, duration_s=3600.0, pixels=512 * 512, frames=200, wall_s=5.0, streams=8)


def files(data: bytes) -> None:
    """A file is refused by a VideoError, or known and readable; nothing else."""
    try:
        reader = open_video(data, limits=LIMITS)
        check_info(reader.info)
        last = reader.info.frames - 1
        numbers = sorted({0, last // 2, last})
        frames = list(reader.stream(numbers))
    except VideoError:
        return
    check(len(frames) == len(numbers), "as many frames as asked for")
    shape = (reader.info.height, reader.info.width, 3)
    check(all(tuple(frame.shape) == shape for frame in frames), "all frames have the size of the video")


def packets(data: bytes) -> None:
    """Whatever times packets claim, the index is in order and the rate is a rate."""
    draws = atheris.FuzzedDataProvider(data)
    end = 1 << draws.PickValueInList([4, 8, 62])  # small times meet each other, large ones reach the end of 64 bits
    times = array("q", (draws.ConsumeIntInRange(-end, end) for _ in range(draws.ConsumeIntInRange(1, 40))))
    keys = bytearray(draws.ConsumeBool() for _ in times)
    entries = times[::-1]  # as far from the times as can be: all that matters is which belongs to which
    track = track_of(times, keys, entries, draws.PickValueInList([*times, None]), lean=draws.ConsumeBool())
    check(all(before < after for before, after in pairwise(track.times)), "times ascend")
    check(all(before < after for before, after in pairwise(track.keys)), "keyframes ascend")
    check(set(track.keys) <= set(track.times) <= set(times), "keyframes are frames, frames are packets")
    for key in track.keys:
        check(track.entry(key) == entries[times.index(key)], "a seek to a keyframe goes by what came with it")
    for number, time in enumerate(track.times):
        check(track.number(time) == number, "a frame is found by its time")
        begin = track.key(number)
        check(begin is None or (begin in track.keys and begin <= time), "decoding begins at a keyframe before")
    ticks = np.sort(np.array(times, dtype=np.float64)) / draws.PickValueInList([1, 25, 90_000])
    fps, steady = rate_of(ticks, len(ticks), rate=draws.PickValueInList([0.0, 25.0, 1e9, -1.0]))
    check(0 < fps < float("inf"), "a rate is finite and positive")
    check(steady or len(set(ticks.tolist())) == len(ticks), "times that are given ascend")


def check_info(info: VideoInfo) -> None:
    check(info.frames >= 1 and info.width >= 1 and info.height >= 1, "a video has a frame")
    check(0 < info.fps < float("inf"), "a rate is finite and positive")
    check(np.isfinite(info.start_s) and 0 <= info.duration_s <= LIMITS.duration_s, "it has a beginning and a duration")
    times_s = [info.time_s(number) for number in range(info.frames)]
    check(times_s[0] == info.start_s, "it begins with its first frame")
    check(all(before < after for before, after in pairwise(times_s)), "times ascend")


def check(true: bool, claim: str) -> None:
    """Not `assert`: these hold under python -O, too."""
    if not true:
        raise RuntimeError(f"not so: {claim}")


TARGETS: dict[str, Callable[[bytes], None]] = {"files": files, "packets": packets}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="a folder for inputs that reach new lines")
    parser.add_argument("target", choices=sorted(TARGETS))
    options, theirs = parser.parse_known_args()
    corpus = options.corpus / options.target
    corpus.mkdir(parents=True, exist_ok=True)
    if options.target == "files":
        made_parents(corpus)
    atheris.Setup([sys.argv[0], *theirs, str(corpus)], TARGETS[options.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
