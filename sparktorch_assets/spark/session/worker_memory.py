"""Recognizes failures of Python workers whose memory Spark limits with `spark.executor.pyspark.memory`, and names the
limit.

The limit is one on address space, so libraries count with everything that they map. What fails first is usually an
import.
"""

import os
import re
from typing import TYPE_CHECKING

from sparktorch_assets.errors import HostError
from sparktorch_assets.spark.session.cluster_size import setting

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MEMORY_SETTING = "spark.executor.pyspark.memory"

_TOO_LITTLE = re.compile(
    r"failed to map segment from shared object|MemoryError|[Cc]annot allocate memory|can't allocate memory|"
    r"can't start new thread|bad_alloc|malloc of size \d+ failed|OpenBLAS.*(?:memory|pthread_create)"
)


def load_torch() -> None:
    """Import torch, and everything else that predicting needs, in a worker whose memory is limited.

    Raises:
        HostError: the limit is too low for that.
    """
    bound = os.environ.get("PYSPARK_EXECUTOR_MEMORY_MB")  # how Spark passes the limit to its workers
    if bound is None:
        return
    try:
        import sparktorch_assets.predict.model.torch_model  # noqa: F401
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        raise _too_little(f"{bound} MiB per worker", f"{type(error).__name__}: {error}") from error


def explain_memory(spark: "SparkSession", reason: str) -> HostError | None:
    """A HostError if the reason of a worker's failure is that its limited memory was used up; else `None`.

    Args:
        spark: the session, classic or Connect.
        reason: the failure, in one line.
    """
    if not _TOO_LITTLE.search(reason):
        return None
    bound = setting(spark, MEMORY_SETTING, "")
    return _too_little(bound, reason) if bound else None


def memory_hint(spark: "SparkSession") -> str:
    """A note about the limit for a message about workers that died of an unknown cause; empty if there is no limit."""
    bound = setting(spark, MEMORY_SETTING, "")
    return f" ({MEMORY_SETTING}={bound} limits their memory)" if bound else ""


def _too_little(bound: str, reason: str) -> HostError:
    return HostError(
        f"Spark's Python workers have too little memory: {MEMORY_SETTING} limits it to {bound} ({reason}). Raise it, "
        f"or leave it out: libraries count with everything that they map, and torch and its dependencies map over 2 GiB"
    )
