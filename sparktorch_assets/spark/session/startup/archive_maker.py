"""Makes the class archive of a JVM with certain flags (`class_archive`), by running small Spark jobs in such a JVM.

    python -m sparktorch_assets.spark.session.startup.archive_maker [FLAGS]

It runs in the background when a process ends that has found no archive, and says nothing. Run it without arguments where
an image is built, so that the image's first session has one already. Only one runs at a time.
"""

import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparktorch_assets.errors import HostError
from sparktorch_assets.private_folder import PrivateFolder
from sparktorch_assets.spark.session.config import default_config
from sparktorch_assets.spark.session.java import prepare_java
from sparktorch_assets.spark.session.start import start_session
from sparktorch_assets.spark.session.startup import switches
from sparktorch_assets.spark.session.startup.class_archive import QUIET, ClassArchive, class_archive

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_MASTER = "local[2]"
_OF_ANOTHER_JVM = (
    *("SPARK_REMOTE", "SPARK_LOCAL_REMOTE", "SPARK_CONNECT_MODE", "SPARK_CONNECT_MODE_ENABLED"),
    *("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET"),
)
"""Variables of the process that found no archive, with which this one would use a JVM that runs already."""
_END_S = 900
"""How long Java may take to write the archive: five seconds on an idle host, and longer on a busy one, to which it gives way."""


def main(arguments: list[str]) -> int:
    """Make the archive unless it is there, or another process makes one. The exit status is 1 if it cannot be made."""
    for variable in (switches.CLASS_ARCHIVE, switches.WORKER_DAEMON, switches.WARM_UP):
        os.environ[variable] = "off"
    for variable in _OF_ANOTHER_JVM:
        os.environ.pop(variable, None)
    try:
        archive = class_archive(prepare_java(), arguments[0] if arguments else _default_options())
        lock = PrivateFolder(archive.folder).open_lock(".lock")
    except (HostError, OSError) as error:
        return _failed(error)
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        archive.delete_leftovers()
        if archive.find() is not None:
            return 0
        try:
            _make(archive)
        except Exception as error:  # noqa: BLE001  (whatever it is, sessions do without the archive)
            archive.give_up()
            return _failed(error)
    return 0


def _default_options() -> str:
    return default_config(_MASTER)["spark.driver.extraJavaOptions"]


def _failed(error: BaseException) -> int:
    print(f"no class archive was made: {error}", file=sys.stderr)  # noqa: T201  (a command's output)
    return 1


def _make(archive: ClassArchive) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        options = (
            f'{archive.options} "-XX:ArchiveClassesAtExit={archive.temporary}" "-XX:ErrorFile={scratch}/error" {QUIET}'
        )
        spark = start_session(
            master=_MASTER, app_name="class archive", config={"spark.driver.extraJavaOptions": options}
        )
        with suppress(Exception):  # what fails here is only missing from the archive
            load_classes(spark, Path(scratch))
        spark.stop()
        _wait_for_java()
    archive.keep(archive.temporary)


def load_classes(spark: "SparkSession", scratch: Path) -> None:
    """Have the JVM load the classes that a run needs: to read files, to write a table, to call Python workers.

    Args:
        spark: a session whose JVM writes an archive of them when it ends.
        scratch: an empty folder.
    """
    from pyspark.sql import functions

    rows = spark.range(0, 64, 1, 2).select(
        functions.col("id"),
        functions.col("id").cast("string").alias("text"),
        functions.array(functions.col("id").cast("double")).alias("numbers"),
    )
    for kind in ("parquet", "json", "csv"):
        plain = rows.drop("numbers") if kind == "csv" else rows
        folder = str(scratch / kind)
        plain.write.format(kind).save(folder)
        read = spark.read.format(kind).schema(plain.schema).load(folder)
        read.groupBy("text").agg(functions.count("id"), functions.max("id")).collect()
        read.where("id > 3").orderBy("id").mapInArrow(_unchanged, plain.schema).collect()


def _unchanged(batches: Iterator[Any]) -> Iterator[Any]:
    return batches


def _wait_for_java() -> None:
    from pyspark import SparkContext

    gateway: Any = SparkContext._gateway  # noqa: SLF001  (there is no public way to end the JVM)
    gateway.proc.stdin.close()
    gateway.proc.wait(_END_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
