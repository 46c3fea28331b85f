"""A Spark session of our own beside the user's: the same cluster and stores, and none of the settings that change rows.

`spark.sql.files.ignoreCorruptFiles`, `datetimeRebaseModeInWrite` and a hundred others decide which rows come out of a file
and what stands in them. An input table must not depend on what somebody set in a notebook, nor may reading one change
settings under the queries of other threads.
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_KEPT = (
    "spark.sql.artifact.",
    "spark.sql.catalog.",
    "spark.sql.files.maxPartitionBytes",
    "spark.sql.files.maxPartitionNum",
    "spark.sql.files.minPartitionNum",
    "spark.sql.files.openCostInBytes",
    "spark.sql.shuffle.partitions",
)
"""Settings that say where and how fast, but not what."""


@contextmanager
def own_session(spark: "SparkSession", settings: Mapping[str, str]) -> Iterator["SparkSession"]:
    """A session with Spark's own defaults and the given settings, whatever the cluster's configuration and `spark` say.

    Credentials of stores and other settings outside of `spark.sql` are `spark`'s.

    Args:
        spark: the user's session, classic or Connect. It stays as it is.
        settings: what differs from Spark's defaults.
    """
    own = spark.newSession()
    try:
        found = own.conf.getAll
        for key, value in spark.conf.getAll.items():
            if _is_hadoops(key) and found.get(key) != value:
                own.conf.set(key, value)
        for key in found:
            if key.startswith("spark.sql.") and not key.startswith(_KEPT) and own.conf.isModifiable(key):
                own.conf.unset(key)
        for key, value in settings.items():
            own.conf.set(key, value)
        yield own
    finally:
        client: Any = getattr(own, "_client", None)
        if client is not None:  # of Connect; own.stop() would stop a local server, and so the user's session
            with contextlib.suppress(Exception):
                client.release_session()
            with contextlib.suppress(Exception):
                client.close()


def _is_hadoops(key: str) -> bool:
    return key.startswith("spark.hadoop.") or not key.startswith("spark.")
