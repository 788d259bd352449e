"""From a reader to clips that a network can see, on one pass over the video.

Each frame is decoded, resized and normalised once, whatever the number of clips and crops that share it, and dropped as
soon as no later clip needs it: memory does not grow with the number of views, nor with the length of the video.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from slowfast_hub.transforms.eval import EvalTransform, Fitter, as_clip
from slowfast_hub.video.reader import VideoReader


def stream_clips(reader: VideoReader, transform: EvalTransform, indices: Tensor) -> Iterator[Tensor]:
    """The clips (3, T, H', W') of `indices (clips, T)`, resized and not yet cropped.

    Rows start in ascending order, and so do the numbers in a row; numbers may repeat.
    """
    wanted = torch.unique(indices).tolist()
    stream = zip(wanted, reader.stream(wanted), strict=True)
    fit = Fitter(transform)
    held: dict[int, Tensor] = {}
    for row in indices:
        numbers = row.tolist()
        while numbers[-1] not in held:
            number, frame = next(stream)
            held[number] = fit(frame)
        yield as_clip([held[number] for number in numbers])
        # Later clips start no earlier, so what lies before this start is done with.
        for number in [number for number in held if number < numbers[0]]:
            del held[number]


def batches(clips: Iterable[Tensor], size: int, device: torch.device) -> Iterator[Tensor]:
    """Clips (3, T, H, W) of one shape as batches `(size, 3, T, H, W)` on `device`; the last may have fewer."""
    waiting: list[Tensor] = []
    for clip in clips:
        waiting.append(clip)
        if len(waiting) == size:
            yield batch(waiting, device)
            waiting = []
    if waiting:
        yield batch(waiting, device)


def batch(clips: Sequence[Tensor], device: torch.device) -> Tensor:
    """`(B, 3, T, H, W)` on `device`, in the layout the networks are fastest in."""
    return torch.stack([clip.permute(1, 2, 3, 0) for clip in clips]).permute(0, 4, 1, 2, 3).to(device)
