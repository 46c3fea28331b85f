"""Keeps Spark's Python workers apart by the version of the user's code that they run.

Classic Spark keeps idle Python workers for later jobs, in one pool for each set of environment variables. If a module
was edited, those workers have already imported its old version. So a job whose code conflicts with what a pool may have
imported gets a new pool, by means of an environment variable. Jobs whose code does not conflict share a pool, because
every new worker has to import torch. On Spark Connect, a session has exactly one pool, and its workers refuse code that
conflicts with what they have imported (`check_code`). Code that is shipped (`shipped_code`) is kept apart in the same
groups on both.
"""

import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sparktorch_assets.spark.session.shipped_code import shipped_data

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

VARIABLE = "SPARKTORCH_ASSETS_POOL"

_PROCESS = uuid.uuid4().hex
"""Part of every pool's name, so that drivers that share executors do not share pools."""
_lock = threading.RLock()
_pools: list[dict[str, str]] = []
"""For each pool, by its number: the pieces of code that its workers may have imported, each with its digest."""


@contextmanager
def workers_for(spark: "SparkSession", code: Mapping[str, str]) -> Iterator[str]:
    """Make functions that are passed to Spark inside the block (`mapInArrow`) run in workers that never imported
    another version of these pieces of code. The block should do nothing else, because other threads wait for it.

    Args:
        spark: a classic session; with a Connect session, this only finds the pool's name.
        code: piece -> digest, as returned by `ModelLoader.code`.

    Yields:
        The name of the pool, in which no two versions of a piece of code meet.
    """
    context = getattr(spark, "_sc", None)
    with _lock:
        # Unpacked into one folder, so no two modules may have brought one file with different contents.
        name = f"{_PROCESS}-{_pool_for({**code, **shipped_data(spark, code)})}"
        if context is None:
            yield name
            return
        environment: dict[str, str] = context.environment
        before = environment.get(VARIABLE)
        environment[VARIABLE] = name
        try:
            yield name
        finally:
            if before is None:
                del environment[VARIABLE]
            else:
                environment[VARIABLE] = before


def _pool_for(code: Mapping[str, str]) -> int:
    """The number of the newest pool that the code does not conflict with, or of a new pool."""
    for number in reversed(range(len(_pools))):
        if all(_pools[number].get(piece, digest) == digest for piece, digest in code.items()):
            _pools[number].update(code)
            return number
    _pools.append(dict(code))
    return len(_pools) - 1
