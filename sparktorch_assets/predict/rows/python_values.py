"""Converts Python values to Arrow arrays without changing any: Arrow itself changes some to fit the type that it
infers.

Measured with pyarrow 26: `[date, datetime]` loses the time of day, `[naive, aware]` the time zone, a pandas timestamp
its nanoseconds, `["a", b"a"]` becomes bytes, and `[time, 1]` a time.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

_ONE_MEANING = {str, bytes, int, dt.date, dt.time, dt.timedelta}
"""Types whose values Arrow stores unchanged if all values of a column have exactly the same type."""

_IN_NANOSECONDS = {
    pa.timestamp("us"): pa.timestamp("ns"),
    pa.timestamp("us", "UTC"): pa.timestamp("ns", "UTC"),
    pa.duration("us"): pa.duration("ns"),
}
"""Types that Arrow infers, with microseconds, and their nanosecond versions, which pandas' own values may need."""


def array_of(values: Sequence[Any], kind: pa.DataType | None = None) -> pa.Array:
    """The values as an array of `kind`, or of the type that Arrow infers; `None` and NaN stay distinct.

    Floats may be rounded to a narrower `kind`. No other value is changed.

    Raises:
        pyarrow.ArrowException, TypeError, ValueError, OverflowError: the values have no common type, or one does not
        fit.
    """
    array = pa.array(values, kind)
    if not _may_change(array.type, inferred=kind is None) or _of_one_meaning(values):
        return array
    changed = _first_changed(values, array)
    if changed is not None and kind is None and array.type in _IN_NANOSECONDS:
        array = pa.array(values, _IN_NANOSECONDS[array.type])
        changed = _first_changed(values, array)
    if changed is not None:
        raise pa.ArrowInvalid(f"a {type(values[changed]).__name__} does not fit {array.type} as it is")
    return array


def _first_changed(values: Sequence[Any], array: pa.Array) -> int | None:
    pairs = zip(values, array.to_pylist(), strict=True)
    return next((row for row, (value, stored) in enumerate(pairs) if not _same(value, stored)), None)


def _may_change(kind: pa.DataType, *, inferred: bool) -> bool:
    """Whether Arrow may change values when it stores them in this type, or in a type nested in it."""
    if kind.num_fields:
        return any(_may_change(kind.field(place).type, inferred=inferred) for place in range(kind.num_fields))
    return bool(pa.types.is_temporal(kind) or pa.types.is_binary(kind) or (pa.types.is_integer(kind) and not inferred))


def _of_one_meaning(values: Sequence[Any]) -> bool:
    types = set(map(type, values)) - {type(None)}
    if types == {dt.datetime}:
        return len({value.tzinfo is None for value in values if value is not None}) == 1
    return len(types) <= 1 and types <= _ONE_MEANING


def _same(value: Any, stored: Any) -> bool:
    if stored is None:
        return True
    if isinstance(value, Mapping):
        pairs = stored.items() if isinstance(stored, Mapping) else stored
        return all(_same(value.get(key), item) for key, item in pairs)
    if isinstance(stored, list):
        given = list(value)
        return len(given) == len(stored) and all(map(_same, given, stored))
    if isinstance(stored, float):
        return True
    if isinstance(value, np.generic | np.ndarray):
        return bool(np.all(value == stored))
    return bool(value == stored)
