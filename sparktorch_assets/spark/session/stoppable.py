"""Runs Spark actions so that they end when Python is told to stop.

An action waits for Spark's answer inside py4j or gRPC. If a signal handler raises during that wait (as Dagster's does
on SIGTERM), it leaves a connection with an unread answer, and the job goes on: the step ended only when the job did. So
an action runs in a separate thread, and the main thread, which receives signals, only waits for it.
"""

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, TypeVar

from sparktorch_assets.spark.session.cluster_size import is_connect

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

T = TypeVar("T")

_LOOK_S = 0.2
_STOP_S = 10.0
"""How long to wait for a cancelled job to end; Spark gives its Python workers two seconds."""


def run_stoppable(spark: "SparkSession", action: Callable[[], T]) -> T:
    """Run `action` and return its result. If this thread is interrupted meanwhile, the Spark jobs of `action` are
    cancelled, and the interruption is raised once they have ended.

    Args:
        spark: the session, classic or Connect, whose jobs `action` starts.
        action: a function that starts Spark jobs and waits for them. It runs in another thread.
    """
    tag = f"sparktorch-assets-{uuid.uuid4().hex}"
    add_tag, cancel = _tags_of(spark)
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            add_tag(tag)
            result = action()
        except BaseException as error:  # noqa: BLE001  (raised again in the waiting thread)
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    threading.Thread(target=_inheriting(spark, run), name="spark-action", daemon=True).start()
    try:
        while not outcome.done():
            wait([outcome], timeout=_LOOK_S)
    except BaseException:
        until = time.monotonic() + _STOP_S
        while not outcome.done() and time.monotonic() < until:  # the job may not have been submitted at the first try
            cancel(tag)
            wait([outcome], timeout=_LOOK_S)
        raise
    return outcome.result()


def _tags_of(spark: "SparkSession") -> tuple[Callable[[str], Any], Callable[[str], Any]]:
    """Two functions: one tags this thread's jobs, the other cancels the jobs with a tag."""
    if is_connect(spark):
        return spark.addTag, spark.interruptTag
    context = spark.sparkContext  # a classic session's own interruptTag finds none of its jobs (Spark 4.3.0)
    return context.addJobTag, context.cancelJobsWithTag


def _inheriting(spark: "SparkSession", run: Callable[[], None]) -> Callable[[], None]:
    """`run` with the local properties (a job's group, pool and description) and the tags of this thread."""
    from pyspark import inheritable_thread_target
    from pyspark.sql import SparkSession, is_remote

    if not is_remote() and not isinstance(spark, SparkSession):
        return run  # a test's fake session has none of these
    inheriting: Callable[[], None] = inheritable_thread_target(spark)(run)
    return inheriting
