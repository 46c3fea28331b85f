"""Opens a Spark session next to the user's, with the same cluster and stores but none of the settings that change rows.

`spark.sql.files.ignoreCorruptFiles`, `datetimeRebaseModeInWrite` and a hundred others decide which rows are read from a
file, and with which values. An input table must not depend on what somebody set in a notebook, and reading one must not
change settings while other threads run queries.
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
"""Settings that decide where and how fast rows are read, but not which rows."""


@contextmanager
def own_session(spark: "SparkSession", settings: Mapping[str, str]) -> Iterator["SparkSession"]:
    """A session with Spark's own defaults and the given settings, whatever the cluster's configuration and `spark` say.

    Settings outside of `spark.sql`, such as credentials of stores, are taken from `spark`.

    Args:
        spark: the user's session, classic or Connect. It is not changed.
        settings: the settings that differ from Spark's defaults.
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
        if (
            client is not None
        ):  # a Connect session; own.stop() would stop a local server, and with it the user's session
            with contextlib.suppress(Exception):
                client.release_session()
            with contextlib.suppress(Exception):
                client.close()


def _is_hadoops(key: str) -> bool:
    return key.startswith("spark.hadoop.") or not key.startswith("spark.")
