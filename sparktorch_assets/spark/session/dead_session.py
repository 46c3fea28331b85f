"""Discards sessions that no longer work: the JVM was killed, Spark stopped the context itself, or the Connect server is
gone or was restarted. pyspark keeps such sessions forever, and every use fails with a bare ConnectionRefusedError.

pyspark has no public way to forget a JVM, so this sets what its own `stop` sets; written for pyspark 4.3.
"""

import logging
import os
import sys
from contextlib import suppress
from typing import Any

from sparktorch_assets.errors import HostError
from sparktorch_assets.masking import without_secrets

_LOG = logging.getLogger(__name__)
_SERVER_WAIT_S = 20.0


def forget_dead_sessions() -> None:
    """Make pyspark forget this process's session if it no longer works, so that another one can be started.

    Raises:
        HostError: the JVM is gone, and this Python process had been started by it (`spark-submit`).
    """
    if "pyspark" not in sys.modules:
        return
    from pyspark import SparkContext

    if SparkContext._gateway is not None and not _answers(SparkContext._gateway):  # noqa: SLF001
        _LOG.warning("the Java process of this process's Spark session is gone; the session is discarded")
        _forget_jvm()
        if "SPARK_LOCAL_REMOTE" in os.environ:  # the JVM was the Connect server as well
            _forget_connect_session()
    elif SparkContext._active_spark_context is not None and _was_stopped(SparkContext._active_spark_context):  # noqa: SLF001
        _LOG.warning("this process's Spark session was stopped by Spark itself; it is discarded")
        _stop_classic()
    elif "SPARK_LOCAL_REMOTE" not in os.environ and _connect_session() is None:
        os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)  # pyspark 4.3 leaves it behind when a session is stopped
    elif "SPARK_LOCAL_REMOTE" not in os.environ and _server_is_gone():
        _LOG.warning(
            "the Spark Connect server is gone, or has forgotten this process's session; the session is discarded"
        )
        _forget_connect_session()


def require_server(remote: str) -> None:
    """Raise HostError unless a Connect server can be reached at `remote`. Spark's own client would try for ten
    minutes."""
    from pyspark.sql.connect.client import DefaultChannelBuilder

    builder = DefaultChannelBuilder(remote)
    if not _is_reachable(builder):
        wants_tls = builder.token is not None and not builder.use_ssl and builder.host != "localhost"
        why = "; since there is a token, Spark's client asks every host but `localhost` for TLS" if wants_tls else ""
        way_out = " (on this host, to sc://localhost:...)" if wants_tls else ""
        raise HostError(
            f"no Spark Connect server can be reached at {without_secrets(remote)!r} (tried for {_SERVER_WAIT_S:.0f} s{why}). "
            f"Start it again, or correct `remote`{way_out}; without `remote`, a session in this process is used"
        )


def _answers(gateway: Any) -> bool:
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]

    try:
        gateway.jvm.java.lang.System.nanoTime()
    except (Py4JError, OSError):
        return False
    return True


def _was_stopped(context: Any) -> bool:
    return context._jsc is None or bool(context._jsc.sc().isStopped())  # noqa: SLF001


def _forget_jvm() -> None:
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        raise HostError(
            "Spark's Java process has ended, and this Python process was started by it (spark-submit, or a Spark "
            "shell): no new one can be started here. Start the application again"
        )
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    context, gateway = SparkContext._active_spark_context, SparkContext._gateway  # noqa: SLF001
    if context is not None:
        context._jsc = None  # noqa: SLF001  (there is no JVM left to notify)
        context.stop()
    with suppress(Exception):
        gateway.shutdown()  # type: ignore[union-attr]
    SparkContext._gateway = SparkContext._jvm = None  # noqa: SLF001
    SparkSession._instantiatedSession = SparkSession._activeSession = None  # noqa: SLF001
    if "pyspark.sql.context" in sys.modules:
        sys.modules["pyspark.sql.context"].SQLContext._instantiatedContext = None  # noqa: SLF001


def _stop_classic() -> None:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    session = SparkSession._instantiatedSession  # noqa: SLF001
    if session is not None:
        session.stop()
    elif SparkContext._active_spark_context is not None:  # noqa: SLF001
        SparkContext._active_spark_context.stop()  # noqa: SLF001


def _connect_session() -> Any:
    """This process's Connect session; `None` if there is none."""
    if "pyspark.sql.connect.session" not in sys.modules:
        return None
    from pyspark.sql.connect.session import SparkSession

    return SparkSession.getActiveSession() or SparkSession._get_default_session()  # noqa: SLF001


def _server_is_gone() -> bool:
    session = _connect_session()
    if session is None:
        return False
    if not _is_reachable(session.client._builder):  # noqa: SLF001
        return True
    try:
        session.conf.get("spark.sql.session.timeZone")
    except Exception as error:
        # A restarted server does not know earlier sessions; the client then closes itself.
        if any(name in str(error) for name in ("INVALID_HANDLE", "NO_ACTIVE_SESSION")):
            return True
        raise
    return False


def _is_reachable(builder: Any) -> bool:
    """Whether a new connection that `builder` makes gets an answer."""
    import grpc  # type: ignore[import-untyped]

    # Channels to one address share a connection, which gRPC may still believe to be alive.
    builder.setChannelOption("grpc.use_local_subchannel_pool", 1)
    channel = builder.toChannel()
    try:
        grpc.channel_ready_future(channel).result(timeout=_SERVER_WAIT_S)
    except grpc.FutureTimeoutError:
        return False
    finally:
        channel.close()
    return True


def _forget_connect_session() -> None:
    session = _connect_session()
    if session is not None:
        session.release_session_on_close = False  # the server cannot be reached, and pyspark would try for ten minutes
        session.stop()
    for name in ("SPARK_LOCAL_REMOTE", "SPARK_CONNECT_MODE_ENABLED"):
        os.environ.pop(name, None)
