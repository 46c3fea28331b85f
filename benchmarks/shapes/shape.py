"""A shape of work: what it is made of, how the library does it, and the loop that one would write by hand for it."""

import multiprocessing
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from shapes.peak import forget_peak, peak_mb

Way = Literal["ours", "floor"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a shape's figures may be at most; `None` for a figure that the shape does not have, or that may be anything."""

    ratio: float | None = 1.5
    exponent: float | None = None
    requests: int | None = None
    """Requests to a store, or read calls to a disk."""
    peak_memory_ratio: float | None = None
    median_s: float | None = None

    @property
    def plain(self) -> dict[str, float]:
        """The limits that are set."""
        return {name: limit for name in self.__slots__ if (limit := getattr(self, name)) is not None}

    def missed(self, figures: Mapping[str, float | None]) -> list[str]:
        """The names of the figures that are too high, or were not measured at all."""
        return [name for name, limit in self.plain.items() if (found := figures[name]) is None or found > limit]


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What one go took."""

    seconds: float
    result: Any = field(repr=False)
    peak_mb: float | None = None
    """The most memory that the process held."""
    requests: int | None = None


class Shape(ABC):
    """One shape, made in a folder of its own. Both ways are gone in turn, and must find the same."""

    letter: ClassVar[str]
    """A to N as in the table of targets; longer for what was good and must stay so."""
    name: ClassVar[str]
    floor_is: ClassVar[str]
    """The loop that it is compared with."""
    target: ClassVar[Target] = Target()
    slots: ClassVar[int | None] = None
    """The slots of the Spark session that it needs; `None` for none."""
    rounds_at_most: ClassVar[int | None] = None
    """Set for a shape whose rounds take long. With one round, there is none to warm up."""

    def __init__(self, folder: Path, scale: float) -> None:
        """Take the size; `prepare` makes the files."""
        self.folder = folder
        self.scale = scale
        self.spark: Any = None

    def sized(self, count: int, least: int = 1) -> int:
        """`count` at the scale of this run."""
        return max(least, round(count * self.scale))

    @abstractmethod
    def prepare(self) -> None:
        """Make the files, and the model's; not timed."""

    @abstractmethod
    def ours(self) -> Any:
        """Do it with the library."""

    @abstractmethod
    def floor(self) -> Any:
        """Do it by hand."""

    def before(self, way: Way) -> None:
        """What has to be done before each go, and is not timed."""

    def close(self) -> None:
        """What has to be done after the last go."""

    def found(self, result: Any) -> Any:
        """What must be the same for both ways, of what one of them returned."""
        return result

    def once(self, way: Way) -> Taken:
        """Go one of the ways."""
        go: Callable[[], Any] = getattr(self, way)
        started = time.perf_counter()
        result = go()
        return Taken(seconds=time.perf_counter() - started, result=result)


class ProcessShape(Shape):
    """A shape each of whose goes has a process of its own, for what happens once per process and for its peak memory.

    What a way returns travels to this process, so it should be small.
    """

    def settle(self) -> None:
        """What the process does first, and is not timed: imports, and a first small go."""

    def once(self, way: Way) -> Taken:
        """Go one of the ways in a new process."""
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(target=_go, args=(self, way, theirs))
        process.start()
        theirs.close()
        try:
            taken: Taken = mine.recv()
        finally:
            process.join()
        return taken


def _go(shape: ProcessShape, way: Way, pipe: Any) -> None:
    shape.settle()
    forget_peak()
    taken = Shape.once(shape, way)
    pipe.send(Taken(seconds=taken.seconds, result=taken.result, peak_mb=peak_mb()))


class Growth(ABC):
    """Work that is doubled three times: does the time grow faster than the work?"""

    letter: ClassVar[str]
    name: ClassVar[str]
    target: ClassVar[Target] = Target(ratio=None, exponent=1.1)
    slots: ClassVar[int | None] = None
    smallest: ClassVar[int]
    """The units of the smallest size."""

    def __init__(self, folder: Path, units: int) -> None:
        """Take the size; `prepare` makes the files."""
        self.folder = folder
        self.units = units
        self.spark: Any = None

    @abstractmethod
    def prepare(self) -> None:
        """Make the files; not timed."""

    def before(self) -> None:
        """What has to be done before each go, and is not timed."""

    @abstractmethod
    def ours(self) -> Any:
        """Do it with the library; the same work each time it is called."""
