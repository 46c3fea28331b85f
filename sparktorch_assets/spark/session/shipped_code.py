"""Ships the user's own code to Spark's workers, for sessions whose workers have another Python path than the driver.

The code that a job runs is packed (`tasks/code/packed_code.py`) and added to the session's files, once per version. The
function that Spark calls travels inside another one, which has the worker import from that archive first, and then
unpickles the function: its classes may be in there.

Not `addPyFile`: it puts every archive of the session on the workers' path, old versions included, and on the driver's,
where it would hide edits.
"""

import logging
import os
import pickle
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pyarrow as pa

from sparktorch_assets.errors import HostError
from sparktorch_assets.spark.session.cluster_size import is_connect, setting
from sparktorch_assets.spark.session.config import is_local
from sparktorch_assets.tasks.code.module_finder import SHIPPED_FOLDER
from sparktorch_assets.tasks.code.packed_code import PackedCode, pack_code
from sparktorch_assets.tasks.code.unpacked_code import SHIP_SETTING, import_from, lacking_packages

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BatchFunction = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]

_LOG = logging.getLogger(__name__)
_DIGEST_CHARS = 32
_sending = threading.Lock()
_sent: "WeakKeyDictionary[SparkSession, set[str]]" = WeakKeyDictionary()
"""Session -> the names of the archives that were added to its files."""


def ships_code(spark: "SparkSession") -> bool:
    """Whether the session's jobs bring the user's code along: as `spark.sparktorch.ship` says; if that is not set,
    unless the workers run on this host, started by this process.

    Raises:
        HostError: the setting is neither `true` nor `false`.
    """
    given = setting(spark, SHIP_SETTING, "").strip().lower()
    if given not in ("", "true", "false"):
        raise HostError(f"{SHIP_SETTING}={given!r} must be true or false")
    if given:
        return given == "true"
    if is_connect(spark):
        return "SPARK_LOCAL_REMOTE" not in os.environ
    return not is_local(setting(spark, "spark.master", "local"))


def shipped_data(spark: "SparkSession", code: Iterable[str]) -> Mapping[str, str]:
    """The data files that come with these pieces of code if the session ships code -> digest."""
    packed = pack_code(code) if code and ships_code(spark) else None
    return {} if packed is None else packed.data


def with_code(spark: "SparkSession", function: BatchFunction, code: Iterable[str], group: str) -> BatchFunction:
    """The function, which brings the code that it runs along if the session ships code.

    Args:
        spark: a classic or Connect session.
        function: what Spark is to call with record batches.
        code: the pieces of code, as named by `ModelLoader.code`.
        group: a name that code shares only if no two versions of a module are in it: see `worker_pool`.
    """
    packed = pack_code(code) if ships_code(spark) else None
    if packed is None:
        return function
    archive = f"sparktorch-{packed.digest[:_DIGEST_CHARS]}.zip"
    _send(spark, archive, packed)
    return FunctionWithCode(
        function,
        ShippedCode(archive=archive, folder=SHIPPED_FOLDER + group, starts=packed.starts, packages=packed.packages),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ShippedCode:
    """What a worker needs to know in order to import shipped code."""

    archive: str
    """The archive's name among the session's files."""
    folder: str
    """The name of the folder for all code of the group."""
    starts: tuple[str, ...]
    packages: tuple[str, ...]

    def put_first(self) -> None:
        """Have this process import from the code first.

        Raises:
            HostError: it cannot be unpacked.
        """
        from pyspark import SparkFiles

        import_from(Path(SparkFiles.get(self.archive)), Path(SparkFiles.get(self.folder)), self.starts, self.packages)


class FunctionWithCode:
    """A function that is unpickled only where its code can be imported."""

    def __init__(self, function: BatchFunction, code: ShippedCode) -> None:
        self.function, self._code = function, code

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """What the function makes of the record batches."""
        return self.function(batches)

    def __reduce__(self) -> tuple[Any, ...]:
        """What pickle stores: the function as bytes, to be unpickled after the code has been unpacked."""
        from pyspark import cloudpickle

        content: bytes = cloudpickle.dumps(self.function)  # type: ignore[no-untyped-call]
        return _opened, (self._code, content)


def _opened(code: ShippedCode, content: bytes) -> FunctionWithCode:
    code.put_first()
    try:
        function = pickle.loads(content)  # noqa: S301  (our own bytes)
    except ModuleNotFoundError as error:
        lacking = lacking_packages()
        if not lacking:
            raise
        raise HostError(
            f"{error}: the code that was shipped to this worker imports installed packages that its Python lacks: "
            f"{', '.join(lacking)}. Install them there, since only the project's own modules are shipped"
        ) from error
    return FunctionWithCode(function, code)


def _send(spark: "SparkSession", name: str, packed: PackedCode) -> None:
    with _sending:
        sent = _sent.setdefault(spark, set())
        if name in sent:
            return
        path = Path(_folder().name, name)
        path.write_bytes(packed.content)
        spark.addArtifacts(str(path), file=True)
        sent.add(name)
    _LOG.info("shipped %d files of code to the workers (%s, %d bytes)", packed.files, name, len(packed.content))


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    """The folder of this process's archives, which executors may ask for as long as it lives."""
    return tempfile.TemporaryDirectory(prefix="sparktorch-shipped-")
