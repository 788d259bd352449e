"""Frames from a thread of their own, through a queue with bounds: what comes is taken in while a network works.

What happens when the queue is full is a policy. "never": the source waits, as a file can. "oldest", for sources that do
not wait: the frame that has waited longest makes room, so that answers stay close to the present. "newest": what comes
is dropped until there is room, so that what has been taken in stays without gaps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from threading import Condition, Thread
from time import perf_counter
from types import TracebackType
from typing import Literal

from torch import Tensor

from slowfast_hub.spec import VideoError

Drop = Literal["never", "oldest", "newest"]
DROPS = ("never", "oldest", "newest")

LEAVE_S = 1.0  # that a thread gets to end; one that waits for the network ends by itself, and holds nobody up

Timed = tuple[
    float | None, Tensor
]  # when a frame is shown, in seconds of its source, if that is known; (H, W, 3) uint8


@dataclass(frozen=True, eq=False)
class Arriving:
    """A source that is open."""

    name: str
    frames: Generator[Timed]
    fps: float | None = None  # None: not known
    steady: bool = True  # frames lie on a grid of that rate; else each is shown from its time to the next one's
    waits: bool = True  # it does not go on by itself while nobody takes a frame
    stalled_s: float | None = None  # silence for so long is a failure; None: it takes the time it takes
    stop: Callable[[], None] = lambda: None  # lets go a thread that waits for the next frame


@dataclass(frozen=True, eq=False)
class Arrived:
    """A frame, and when it came."""

    number: int  # of all frames that came, those dropped among them
    time_s: float | None
    frame: Tensor
    at: float  # on the clock of time.perf_counter


class Feed:
    """Takes in frames while a `with` lasts; iterate to have them.

    After the last one that came before it, an error of the source is a VideoError here.
    """

    def __init__(self, source: Arriving, *, room: int, drop: Drop) -> None:
        self.received = 0  # frames, those dropped among them
        self.dropped = 0
        self._came = (0.0, 0.0)  # when the first and the latest frame came
        self._source, self._room, self._drop = source, room, drop
        self._changed = Condition()
        self._waiting: deque[Arrived] = deque()
        self.closed = self._ended = False
        self._failure: Exception | None = None
        self._thread = Thread(target=self._take_in, name=f"frames of {source.name}", daemon=True)

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._thread.join(LEAVE_S)

    def close(self) -> None:
        """End it, from any thread: nothing more is taken in, and who iterates is let go."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        self._source.stop()

    @property
    def fps(self) -> float:
        """Frames that come in a second; 0 before the second one."""
        with self._changed:
            first, latest = self._came
            return (self.received - 1) / (latest - first) if latest > first else 0.0

    def __iter__(self) -> Iterator[Arrived]:
        while (arrived := self._next()) is not None:
            yield arrived

    def _next(self) -> Arrived | None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting or self._ended or self.closed, self._source.stalled_s):
                raise VideoError(self._source.name, f"nothing came for {self._source.stalled_s:g} s")
            if self._waiting and not self.closed:
                self._changed.notify_all()
                return self._waiting.popleft()
            failure = None if self.closed else self._failure
        if isinstance(failure, VideoError):
            raise failure
        if failure is not None:
            raise VideoError(self._source.name, f"reading failed: {type(failure).__name__}: {failure}") from failure
        return None

    def _take_in(self) -> None:
        try:
            for number, (time_s, frame) in enumerate(self._source.frames):
                if not self._offer(Arrived(number, time_s, frame, perf_counter())):
                    break
            self._source.frames.close()
        except Exception as error:  # noqa: BLE001 - it may be anyone's iterator, and is raised where it is iterated
            self._failure = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _offer(self, arrived: Arrived) -> bool:
        """Put a frame into the queue, as the policy has it; False once the feed is closed."""
        with self._changed:
            self._came = (self._came[0] if self.received else arrived.at, arrived.at)
            self.received += 1
            if self._drop == "never":
                self._changed.wait_for(lambda: self.closed or len(self._waiting) < self._room)
            full = len(self._waiting) >= self._room
            self.dropped += full
            if full and self._drop == "oldest":
                self._waiting.popleft()
            if not full or self._drop == "oldest":
                self._waiting.append(arrived)
            self._changed.notify_all()
            return not self.closed
