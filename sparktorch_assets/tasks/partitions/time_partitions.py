"""Partitions that are months, days or hours of a column of dates or times.

The key of a partition is the beginning of its window, as in Dagster: `2013-01-01` for a month and a day, and
`2013-01-01-05:00` for an hour. Windows are half open: a row at midnight belongs to the day that begins then.
"""

import datetime as dt
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sparktorch_assets.errors import InputSchemaError, TaskError, nearest
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.partitions.column_value import DATE, column_type, value_partition
from sparktorch_assets.tasks.partitions.table_partition import TablePartition
from sparktorch_assets.tasks.row_filter import RowFilter
from sparktorch_assets.tasks.validation import names, positive

KEY_FORMATS: Mapping[str, str] = {"month": "%Y-%m-%d", "day": "%Y-%m-%d", "hour": "%Y-%m-%d-%H:%M"}
"""How Dagster writes the keys of partitions, in the notation of `strftime`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimePartitions:
    """One partition per month, day or hour of a column of dates or times, from `start` on. Rows of other times are in no
    partition."""

    by: Literal["month", "day", "hour"]
    """The length of a window."""
    column: str
    """The column of dates or times."""
    start: str | dt.date
    """Where the first window begins: a date, or a time for hours (`2013-01-01T05:00`)."""
    end: str | dt.date | None = None
    """Where the last window ends: `2014-01-01` for all of 2013. `None`: partitions are added as time goes by, each when
    its window has passed."""
    timezone: str = "UTC"
    """The time zone in which months and days begin, such as `America/New_York`. Columns of dates, and of times that have
    no time zone themselves, are taken as they are; for these, it only decides when a window has passed."""
    max_partitions_per_run: int | None = None
    """The most partitions that one run of a backfill refreshes. `None`: one run refreshes all of them, in one Spark
    job."""

    def __post_init__(self) -> None:
        check_fields(self)
        names((self.column,), "TimePartitions.column")
        positive(self.max_partitions_per_run, "TimePartitions.max_partitions_per_run")
        try:
            zoneinfo.ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            choices = zoneinfo.available_timezones()
            raise TaskError(
                f"TimePartitions.timezone={self.timezone!r} is no time zone; {nearest(self.timezone, choices)}"
            ) from None
        if self.by == "hour" and self.timezone != "UTC":
            raise TaskError(
                f"TimePartitions.timezone={self.timezone!r} does not go with by='hour': where clocks are put back, two hours "
                f"would have one key. Leave timezone out: the hours of UTC begin when those of other zones begin"
            )
        for name in ("start", "end"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, self._boundary(name, given))
        if self.ending is not None and self.beginning >= self.ending:
            raise TaskError(f"TimePartitions.end={self.end!r} is not after start={self.start!r}")

    def _boundary(self, name: str, given: str | dt.date) -> str:
        """The given date or time as the key of the window that begins there."""
        where = f"TimePartitions.{name}={str(given)!r}"
        try:
            time: Any = dt.datetime.fromisoformat(str(given))
        except ValueError:
            try:
                time = self._beginning(str(given))
            except TaskError:
                raise TaskError(
                    f"{where} is no date or time such as 2013-01-01" + ("T05:00" if self.by == "hour" else "")
                ) from None
        if time.tzinfo is not None:
            raise TaskError(f"{where} has an offset from UTC; leave it out, and name the time zone in `timezone`")
        fits = time.replace(minute=0, second=0, microsecond=0)
        if self.by != "hour":
            fits = fits.replace(hour=0)
        if self.by == "month":
            fits = fits.replace(day=1)
        if fits != time:
            raise TaskError(f"{where} lies within a {self.by}; write {fits:%Y-%m-%d} where the {self.by} begins")
        return str(time.strftime(KEY_FORMATS[self.by]))

    def _beginning(self, key: str) -> dt.datetime:
        try:
            return dt.datetime.strptime(key, KEY_FORMATS[self.by])  # noqa: DTZ007  (a time of the zone's own clock)
        except ValueError:
            raise TaskError(f"{key!r} is no key of a partition by {self.by}, such as {self.start!r}") from None

    def window(self, key: str) -> tuple[dt.datetime, dt.datetime]:
        """The beginning and the end of a partition, as times of the zone's own clock.

        Raises:
            TaskError: no partition can have this key.

        >>> months = TimePartitions(by="month", column="at", start="2013-01-01")
        >>> [str(bound) for bound in months.window("2013-12-01")]
        ['2013-12-01 00:00:00', '2014-01-01 00:00:00']
        """
        begins = self._beginning(key)
        if self.by == "month":
            return begins, (begins + dt.timedelta(days=31)).replace(day=1)
        return begins, begins + (dt.timedelta(days=1) if self.by == "day" else dt.timedelta(hours=1))

    @property
    def beginning(self) -> dt.datetime:
        """Where the first window begins, as a time of the zone's own clock."""
        return self._beginning(str(self.start))

    @property
    def ending(self) -> dt.datetime | None:
        """Where the last window ends, as a time of the zone's own clock; `None` if there is no last one."""
        return None if self.end is None else self._beginning(str(self.end))

    @property
    def derived_column(self) -> str:
        """The column that is added to predictions if the window is no value of `column` itself: `time_hour_month`."""
        return f"{self.column}_{self.by}"

    def table_column(self, column_types: Mapping[str, str], place: str) -> str:
        """The column by which the prediction table is partitioned: `column` itself, or `derived_column`.

        Raises:
            InputSchemaError: the column is missing, or has no dates or times.
        """
        return self.table_partitions([str(self.start)], column_types, place)[0].column

    def table_partitions(
        self, keys: Iterable[str], column_types: Mapping[str, str], place: str
    ) -> tuple[TablePartition, ...]:
        """The partitions with these keys, in their order.

        If the input holds predictions that are divided in the same way, and therefore has the column that was added to
        them, rows are selected by that column's value.

        Args:
            keys: keys of Dagster's.
            column_types: the input's columns; types as `str(pyarrow.DataType)` gives them.
            place: the beginning of error messages: the task and its input.

        Raises:
            InputSchemaError: the column is missing, or has no dates or times.
            TaskError: no partition can have this key.
        """
        if self.derived_column in column_types:
            return tuple(value_partition(key, self.derived_column, column_types, place) for key in keys)
        kind = column_type(self.column, column_types, place)
        if kind == DATE and self.by == "day":
            return tuple(value_partition(key, self.column, column_types, place) for key in keys)
        if not kind.startswith("timestamp[") and not (kind == DATE and self.by == "month"):
            raise InputSchemaError(
                f"{place}: partitions by {self.by}: column {self.column!r} has type {kind}; it must be a timestamp"
                + ("" if self.by == "hour" else ", or a date")
                + ". For one partition per value of a column of text, numbers or dates, write by: static or by: dynamic"
            )
        return tuple(
            TablePartition(key=key, column=self.derived_column, value=key, where=self._rows(key, kind)) for key in keys
        )

    def _rows(self, key: str, kind: str) -> tuple[RowFilter, ...]:
        begins, ends = (self._bound(time, kind) for time in self.window(key))
        return (
            RowFilter(column=self.column, op=">=", value=begins),
            RowFilter(column=self.column, op="<", value=ends),
        )

    def _bound(self, time: dt.datetime, kind: str) -> dt.date:
        if kind == DATE:
            return time.date()
        if "tz=" not in kind:
            return time
        return time.replace(tzinfo=zoneinfo.ZoneInfo(self.timezone)).astimezone(dt.UTC)
