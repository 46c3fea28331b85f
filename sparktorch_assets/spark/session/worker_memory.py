"""Python workers whose memory Spark bounds with `spark.executor.pyspark.memory`: what they lack is said by its name.

The bound is one on addresses, so libraries count with all that they map; what fails first is most often the import of one.
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
    """Import torch, and what else predicting takes, in a worker whose memory is bounded.

    Raises:
        HostError: the bound is too low for that.
    """
    bound = os.environ.get("PYSPARK_EXECUTOR_MEMORY_MB")  # Spark's own way to tell its workers
    if bound is None:
        return
    try:
        import sparktorch_assets.predict.local  # noqa: F401
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        raise _too_little(f"{bound} MiB a worker", f"{type(error).__name__}: {error}") from error


def explain_memory(spark: "SparkSession", reason: str) -> HostError | None:
    """The HostError that a worker's failure stands for where the workers' memory is bounded and was used up.

    Args:
        spark: the session, classic or Connect.
        reason: the failure, in a line.
    """
    if not _TOO_LITTLE.search(reason):
        return None
    bound = setting(spark, MEMORY_SETTING, "")
    return _too_little(bound, reason) if bound else None


def memory_hint(spark: "SparkSession") -> str:
    """What to say of the bound where workers die, and it is not known of what; empty where there is none."""
    bound = setting(spark, MEMORY_SETTING, "")
    return f" ({MEMORY_SETTING}={bound} bounds theirs)" if bound else ""


def _too_little(bound: str, reason: str) -> HostError:
    return HostError(
        f"Spark's Python workers have too little memory: {MEMORY_SETTING} bounds it to {bound} ({reason}). Raise it, or "
        f"leave it out: libraries count with all that they map, and torch and its companions map more than 2 GiB"
    )
