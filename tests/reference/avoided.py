"""Faults that are known and not mended yet: draws keep away from what shows them, so that a run finds others."""

AVOIDED: frozenset[str] = frozenset(
    {
        "percent, number sign or question mark in a table's path",
        "odd partition values in Delta's log",
        "conditions on values of another type",
        "instants of different time zones in one column",
        "null partitions in Hive's folders",
    }
)
