"""Goes both ways of a shape in turn, doubles the work of a growth, and keeps the Spark session that they need."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shapes import library
from shapes.floats import rows_of, task, write
from shapes.shape import Growth, Shape, Taken, Target, Way
from sparktorch_assets import start_session

_DOUBLINGS = 3
_GROWTH_ROUNDS = 2
_WARM_ROWS = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The figures of one shape."""

    shape: str
    name: str
    floor_is: str
    target: Target
    median_s: float
    floor_s: float | None = None
    ratio: float | None = None
    exponent: float | None = None
    requests: int | None = None
    peak_memory_ratio: float | None = None

    @property
    def figures(self) -> dict[str, float | None]:
        """What was measured."""
        names = ("median_s", "floor_s", "ratio", "exponent", "requests", "peak_memory_ratio")
        return {name: getattr(self, name) for name in names}

    @property
    def missed(self) -> list[str]:
        """The names of the figures that miss their targets."""
        return self.target.missed(self.figures)

    @property
    def plain(self) -> dict[str, Any]:
        """For JSON; figures and targets that do not exist are left out, but for those that every reader looks for."""
        always = ("median_s", "floor_s", "ratio", "exponent")
        figures = {name: value for name, value in self.figures.items() if value is not None or name in always}
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}
        return {"shape": self.shape, "name": self.name, **rounded, "target": self.target.plain, "missed": self.missed}


class Sessions:
    """One Spark session at a time; a shape that needs another number of slots replaces it."""

    def __init__(self) -> None:
        self._slots: int | None = None
        self._spark: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def get(self, slots: int | None) -> Any:
        """A session with that many slots, whose workers have torch loaded; `None` for none."""
        if slots is None:
            return None
        if slots != self._slots:
            self.stop()
            self._spark = start_session(master=f"local[{slots}]", config={"spark.driver.memory": "4g"})
            self._slots = slots
            with tempfile.TemporaryDirectory() as root:
                for number in range(slots):  # so many shards that each slot gets one
                    write(rows_of(_WARM_ROWS, seed=number), Path(root) / "source" / f"{number}.parquet")
                library.score(self._spark, f"{root}/source", task("warm_up"), f"{root}/target", slots=slots)
        return self._spark

    def stop(self) -> None:
        """End the session, and its workers."""
        if self._spark is not None:
            self._spark.stop()
        self._spark = self._slots = None


def measure(shape: Shape, sessions: Sessions, rounds: int) -> Result:
    """Go both ways in turn, so that a busy minute of the machine falls on both.

    Raises:
        AssertionError: the ways did not find the same.
    """
    try:
        shape.prepare()
        shape.spark = sessions.get(shape.slots)
        return _measure(shape, rounds)
    finally:
        shape.close()


def _measure(shape: Shape, rounds: int) -> Result:
    rounds = min(rounds, shape.rounds_at_most or rounds)
    # What is found is compared in the first round, which warms up. A shape with a single round is not warmed up.
    warm_up = shape.rounds_at_most != 1
    taken: dict[Way, list[Taken]] = {"floor": [], "ours": []}
    for number in range(rounds + warm_up):
        found = {}
        for way, goes in taken.items():
            shape.before(way)
            goes.append(shape.once(way))
            if number == 0:
                found[way] = shape.found(goes[0].result)
        if number == 0:
            check_same(found["ours"], found["floor"])
    ours, floor = (goes[warm_up:] for goes in (taken["ours"], taken["floor"]))
    return Result(
        shape=shape.letter,
        name=shape.name,
        floor_is=shape.floor_is,
        target=shape.target,
        median_s=statistics.median(one.seconds for one in ours),
        floor_s=statistics.median(one.seconds for one in floor),
        ratio=_median_ratio(ours, floor, lambda one: one.seconds),
        requests=_median_of(ours, lambda one: one.requests),
        peak_memory_ratio=shape.target.peak_memory_ratio and _median_ratio(ours, floor, lambda one: one.peak_mb),
    )


def grow(kind: type[Growth], folder: Path, sessions: Sessions, rounds: int, scale: float) -> Result:
    """Double the work three times, and fit the exponent of the growth to the medians."""
    units = [max(2, round(kind.smallest * scale)) << doubling for doubling in range(_DOUBLINGS + 1)]
    growths = []
    for count in units:
        place = folder / str(count)
        place.mkdir()
        growth = kind(place, count)
        growth.prepare()
        growth.spark = sessions.get(kind.slots)
        growths.append(growth)
    growths[0].before()
    growths[0].ours()  # to warm up
    seconds: list[list[float]] = [[] for _ in growths]
    for _ in range(min(rounds, _GROWTH_ROUNDS)):
        for growth, goes in zip(growths, seconds, strict=True):
            growth.before()
            started = time.perf_counter()
            growth.ours()
            goes.append(time.perf_counter() - started)
    medians = [statistics.median(goes) for goes in seconds]
    exponent = float(np.polyfit(np.log(units), np.log(medians), 1)[0])
    return Result(
        shape=kind.letter,
        name=f"{kind.name}: {units[0]:,} to {units[-1]:,}",
        floor_is="",
        target=kind.target,
        median_s=medians[-1],
        exponent=exponent,
    )


def check_same(ours: Any, floor: Any) -> None:
    """Check that both ways have found the same. Of a table's ids, one in 10,000 may have another class: a sum depends
    on the size of the batch, and two classes may be equally likely but for that.

    Raises:
        AssertionError: they have not.
    """
    if not isinstance(ours, pa.Table):
        assert ours == floor, f"the library found {ours}, the floor {floor}"
        return
    assert ours["id"].equals(floor["id"]), f"the library has {len(ours):,} rows, the floor {len(floor):,}, or other ids"
    other = len(ours) - pc.sum(pc.equal(ours["predicted_class"], floor["predicted_class"])).as_py()
    assert other <= len(ours) / 10_000, f"{other:,} of {len(ours):,} rows have another class"


def _median_ratio(ours: list[Taken], floor: list[Taken], figure: Callable[[Taken], Any]) -> float:
    return float(statistics.median(figure(mine) / figure(bare) for mine, bare in zip(ours, floor, strict=True)))


def _median_of(ours: list[Taken], figure: Callable[[Taken], int | None]) -> int | None:
    figures = [found for one in ours if (found := figure(one)) is not None]
    return round(statistics.median(figures)) if figures else None
