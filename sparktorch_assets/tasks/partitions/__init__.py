"""How a table is divided into partitions, declared without touching Dagster: one file per kind.

A partition has a key, which Dagster shows and which selects rows of the input, and becomes one partition of the
prediction table.
"""

from sparktorch_assets.tasks.partitions.column_value import unusable_as_key
from sparktorch_assets.tasks.partitions.dynamic_partitions import DynamicPartitions
from sparktorch_assets.tasks.partitions.one_dimension import refuse_several
from sparktorch_assets.tasks.partitions.static_partitions import StaticPartitions
from sparktorch_assets.tasks.partitions.table_partition import TablePartition
from sparktorch_assets.tasks.partitions.time_partitions import TimePartitions

Partitions = TimePartitions | StaticPartitions | DynamicPartitions

__all__ = [
    "DynamicPartitions",
    "Partitions",
    "StaticPartitions",
    "TablePartition",
    "TimePartitions",
    "refuse_several",
    "unusable_as_key",
]
