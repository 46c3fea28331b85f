"""Runs a first small job in the background as soon as a session exists, so that the first real one starts sooner.

The job makes the JVM load the classes of any job, and Spark start the process from which Python workers are forked. It
has one task, which leaves the other cores to the user's jobs. It is for local sessions: a cluster's executors cost money,
and may not even be there yet.
"""

import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sparktorch_assets.spark.session.startup.switches import WARM_UP, is_on
from sparktorch_assets.spark.session.worker_pool import workers_for

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOG = logging.getLogger(__name__)
GROUP = "sparktorch_assets: warm-up"
"""The group of the job, which keeps it apart from the user's own."""


def warm_up(spark: "SparkSession") -> threading.Thread | None:
    """Start the job. Nobody waits for it, and its failure is nobody's concern.

    Args:
        spark: a new classic session in local mode.

    Returns:
        The thread that runs it; `None` if it is switched off, or the session has only one core.
    """
    if not is_on(WARM_UP) or spark.sparkContext.defaultParallelism < 2:
        return None
    thread = threading.Thread(target=_run, args=[spark], name="sparktorch-warm-up", daemon=True)
    thread.start()
    return thread


def _run(spark: "SparkSession") -> None:
    try:
        context = spark.sparkContext
        context.setJobGroup(GROUP, "starts Python workers before they are needed")
        with workers_for(spark, {}):
            rows = spark.range(0, 1, 1, 1).mapInArrow(_unchanged, "id bigint")
        rows.collect()
    except Exception as error:  # noqa: BLE001  (the session may have been stopped meanwhile)
        _LOG.debug("the warm-up job did not finish: %s", error)


def _unchanged(batches: Iterator[Any]) -> Iterator[Any]:
    return batches
