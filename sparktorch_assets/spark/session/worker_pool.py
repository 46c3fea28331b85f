"""Spark's Python workers, kept apart by the version of the user's code that they run.

Classic Spark keeps idle Python workers for later jobs, one pool for each set of environment variables. A module that was
edited would be imported there already, in its old version. So a job whose code contradicts what a pool may have imported
gets a pool of its own, by a variable in the environment; jobs whose code does not contradict share one, since every new
worker imports torch anew. On Spark Connect a session has its own pool and no way to another: there, workers refuse code
that contradicts what they have imported (`check_code`).
"""

import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

VARIABLE = "SPARKTORCH_ASSETS_POOL"

_PROCESS = uuid.uuid4().hex
"""Drivers that share executors do not share pools."""
_lock = threading.RLock()
_pools: list[dict[str, str]] = []
"""By number, the pieces of code that a pool's workers may have imported, each with its digest."""


@contextmanager
def workers_for(spark: "SparkSession", code: Mapping[str, str]) -> Iterator[None]:
    """Functions that are handed to Spark inside the block (`mapInArrow`) run in workers that never imported another
    version of these pieces. The block should do nothing else: other threads wait for it.

    Args:
        spark: a classic session; with a Connect session this does nothing.
        code: piece -> digest, as `ModelLoader.code` gives them.
    """
    context = getattr(spark, "_sc", None)
    if context is None:
        yield
        return
    with _lock:
        environment: dict[str, str] = context.environment
        before = environment.get(VARIABLE)
        environment[VARIABLE] = f"{_PROCESS}-{_pool_for(code)}"
        try:
            yield
        finally:
            if before is None:
                del environment[VARIABLE]
            else:
                environment[VARIABLE] = before


def _pool_for(code: Mapping[str, str]) -> int:
    """The number of the newest pool that the code does not contradict, or of a new one."""
    for number in reversed(range(len(_pools))):
        if all(_pools[number].get(piece, digest) == digest for piece, digest in code.items()):
            _pools[number].update(code)
            return number
    _pools.append(dict(code))
    return len(_pools) - 1
