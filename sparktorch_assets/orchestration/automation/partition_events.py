"""The last event of each partition of an asset, reduced to the versions that it names.

Dagster stores these versions inside the events, with everything that an asset's page shows. For thousands of partitions
that would be many megabytes at every tick; so what was read once is kept, as an event never changes.
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import dagster as dg

from sparktorch_assets.tasks.digest import digest_of

DATA_VERSION = "sparktorch/data_version"
"""Metadata of a partition's materialization: its data version. Dagster's own is one for all partitions of a run."""
MADE_FROM = "sparktorch/made_from"
"""Metadata of a materialization: the versions of code and upstream data that it was made from, by name."""

_DAGSTERS_VERSION = "dagster/data_version"
_READ_AT_ONCE = 1_000
_KEPT = 200_000
_NAMED_IN_QUERY = 1_000  # more partitions than that are not named: all are asked for


@dataclass(frozen=True, slots=True)
class PartitionEvent:
    """What a partition's materialization or observation says."""

    version: str
    """The data version of the partition or, where the event names none, the event's own number: each one counts."""
    made_from: str | None
    """A digest of the versions that were recorded as `sparktorch/made_from`; `None` if none were."""


def last_materializations(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: Collection[str] | None = None
) -> dict[str, PartitionEvent]:
    """Partition -> its last materialization. Partitions that were never materialized are left out.

    Args:
        partitions: which to look for, as far as that makes the query smaller; by default all. Others may be in the
            result.
    """
    return _last(instance, asset, partitions, dg.DagsterEventType.ASSET_MATERIALIZATION)


def last_observations(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: Collection[str] | None = None
) -> dict[str, PartitionEvent]:
    """Partition -> its last observation, as `last_materializations`."""
    return _last(instance, asset, partitions, dg.DagsterEventType.ASSET_OBSERVATION)


def said_by(record: dg.EventLogRecord) -> PartitionEvent:
    """The versions in one event."""
    event = record.asset_materialization or record.asset_observation
    metadata: Any = event.metadata if event else {}
    ours = metadata.get(DATA_VERSION)
    recorded = metadata.get(MADE_FROM)
    tags = (event.tags if event else None) or {}
    version = ours.value if isinstance(ours, dg.TextMetadataValue) else tags.get(_DAGSTERS_VERSION)
    return PartitionEvent(
        version=version or str(record.storage_id),
        made_from=digest_of(recorded.value) if isinstance(recorded, dg.JsonMetadataValue) else None,
    )


def _last(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: Collection[str] | None, kind: dg.DagsterEventType
) -> dict[str, PartitionEvent]:
    named = set(partitions) if partitions and len(partitions) <= _NAMED_IN_QUERY else None
    numbers = sorted(instance.get_latest_storage_id_by_partition(asset, kind, named).values())
    found = {}
    for start in range(0, len(numbers), _READ_AT_ONCE):
        found.update(_of_events(instance, asset, kind, numbers[start : start + _READ_AT_ONCE]))
    return found


def _of_events(
    instance: dg.DagsterInstance, asset: dg.AssetKey, kind: Any, numbers: Sequence[int]
) -> dict[str, PartitionEvent]:
    # An event's number alone does not identify it: SQLite gives the numbers of deleted events to new ones.
    keys = {
        summary.storage_id: (asset, kind, summary.partition, summary.run_id, summary.storage_id, summary.timestamp)
        for summary in instance.get_asset_event_summary_records(kind, asset, storage_ids=numbers)
    }
    known = _read_before.get(keys.values())
    unknown = [number for number, key in keys.items() if key not in known]
    if unknown:
        wanted = dg.AssetRecordsFilter(asset_key=asset, storage_ids=unknown)
        observed = kind is dg.DagsterEventType.ASSET_OBSERVATION
        fetch = instance.fetch_observations if observed else instance.fetch_materializations
        read = {keys[record.storage_id]: said_by(record) for record in fetch(wanted, limit=len(unknown)).records}
        _read_before.keep(read)
        known |= read
    return {key[2]: event for key, event in known.items() if key[2] is not None}


class _Kept:
    """The events that were used last, up to a number of them."""

    def __init__(self) -> None:
        self._events: OrderedDict[tuple[Any, ...], PartitionEvent] = OrderedDict()
        self._lock = Lock()  # a code server evaluates its sensors in threads

    def get(self, keys: Collection[tuple[Any, ...]]) -> dict[tuple[Any, ...], PartitionEvent]:
        with self._lock:
            found = {key: self._events[key] for key in keys if key in self._events}
            for key in found:
                self._events.move_to_end(key)
        return found

    def keep(self, events: dict[tuple[Any, ...], PartitionEvent]) -> None:
        with self._lock:
            self._events.update(events)
            while len(self._events) > _KEPT:
                self._events.popitem(last=False)


_read_before = _Kept()
