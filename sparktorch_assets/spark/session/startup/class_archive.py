"""Lets Spark's JVM map its classes from an archive, instead of reading, checking and linking them from 250 jars.

That is Java's application class-data sharing (JEP 350). The archive belongs to one Java, one set of jars and one set of
flags, which its name contains as a digest; another one is never looked at. Java itself checks this as well, and ignores
an archive that does not fit. It does not check the archive's content, and crashes if that is damaged, so the name also
contains a checksum.

A missing archive is made by a process of its own (`archive_maker`), which starts when this one ends, so that no run
waits for it or shares the processor with it.
"""

import atexit
import contextlib
import hashlib
import logging
import os
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

from sparktorch_assets.private_folder import cache_folders, require_private
from sparktorch_assets.spark.session.java import JavaHome, major_version
from sparktorch_assets.spark.session.startup.switches import CLASS_ARCHIVE, is_on

_LOG = logging.getLogger(__name__)
_OPTIONS = "spark.driver.extraJavaOptions"
_CLASS_PATH = ("spark.driver.extraClassPath", "spark.driver.defaultJavaOptions", "spark.driver.userClassPathFirst")
"""Settings with which the JVM has other classes, or flags that are not known here."""
_VARIABLES = (
    *("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"),
    *(
        "PYSPARK_SUBMIT_ARGS",
        "SPARK_HOME",
        "SPARK_CONF_DIR",
        "SPARK_DIST_CLASSPATH",
        "HADOOP_CONF_DIR",
        "YARN_CONF_DIR",
    ),
)
"""Environment variables that change the JVM's flags or its class path."""
QUIET = "-Xlog:cds=off -Xlog:cds+dynamic=off"
"""Java says on stdout which archives it does not use, and which classes it does not archive."""
_MAKER = "sparktorch_assets.spark.session.startup.archive_maker"
_KEPT = 2
_TRY_AGAIN_S = 24 * 3600
"""After an archive could not be made, how long nobody tries it again."""
_TEMPORARY = ".tmp-"
_READ_BYTES = 1 << 20


class ClassArchive:
    """The archive for one Java, one set of jars and one set of flags.

    Args:
        folder: where archives are kept.
        options: the JVM's flags without those for the archive, as `spark.driver.extraJavaOptions` has them.
        key: the digest of everything that the archive belongs to.
    """

    def __init__(self, folder: Path, options: str, key: str) -> None:
        self.folder = folder
        self.options = options
        self.key = key

    def find(self) -> Path | None:
        """The archive's file; `None` if there is none yet. A damaged one is deleted."""
        for path in self.folder.glob(f"{self.key}-*.jsa"):
            with contextlib.suppress(OSError):  # another process has deleted it
                if path.name == self.file_name(path):
                    self._note_use(path)
                    return path
                path.unlink()
        return None

    @staticmethod
    def _note_use(path: Path) -> None:
        """The archives that were used last are kept."""
        try:
            os.utime(path)
        except FileNotFoundError:
            raise
        except OSError as error:  # a folder that is read-only, in the image of a container for instance
            _LOG.debug("the use of %s is not noted: %s", path, error)

    def file_name(self, path: Path) -> str:
        """The name that an archive with the content of this file has."""
        checksum = 0
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                checksum = zlib.crc32(block, checksum)
        return f"{self.key}-{checksum:08x}.jsa"

    def keep(self, made: Path) -> None:
        """Give a finished archive its name in one step, and delete all but the two that were used last."""
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.rename(self.folder / self.file_name(made))
        by_use = sorted(self.folder.glob("*.jsa"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in by_use[_KEPT:]:
            path.unlink(missing_ok=True)  # a JVM that uses it still has it mapped

    def give_up(self) -> None:
        """Remember for a day that this archive could not be made."""
        self.delete_leftovers()
        self._failed.touch()

    def delete_leftovers(self) -> None:
        """Delete what processes have left that were killed while they made an archive. Only one makes any at a time."""
        for left in self.folder.glob(f"{_TEMPORARY}*"):
            left.unlink(missing_ok=True)

    @property
    def temporary(self) -> Path:
        """The file that Java writes; the name of the process keeps attempts apart."""
        return self.folder / f"{_TEMPORARY}{self.key}-{os.getpid()}"

    def make_at_exit(self) -> None:
        """Have the archive made when this process ends. One is enough per process, whatever sessions it starts."""
        with contextlib.suppress(OSError):
            if time.time() - self._failed.stat().st_mtime < _TRY_AGAIN_S:
                return
        atexit.unregister(_start_maker)
        atexit.register(_start_maker, self.options)

    @property
    def _failed(self) -> Path:
        return self.folder / f"{self.key}.failed"


def with_class_archive(
    settings: Mapping[str, str], given: Mapping[str, str], java: JavaHome | None
) -> tuple[dict[str, str], Path | None]:
    """The settings with the flags for the class archive, and its file. If there is none, the settings are returned as
    they are, and the archive is made when this process ends.

    Args:
        settings: those with which the JVM will start.
        given: those of them that are the user's.
        java: what runs the JVM; `None` if it runs already.
    """
    if java is None or not is_on(CLASS_ARCHIVE) or _OPTIONS in given or any(key in given for key in _CLASS_PATH):
        return dict(settings), None
    try:
        archive = class_archive(java, settings[_OPTIONS])
        found = archive.find()
    except OSError as error:
        _LOG.debug("no class archive is used: %s", error)
        return dict(settings), None
    if found is None:
        archive.make_at_exit()
        return dict(settings), None
    return {**settings, _OPTIONS: f"{archive.options} {flags(found)}"}, found


def flags(archive: Path) -> str:
    """The JVM's flags for an archive. With `auto`, it does without one that does not fit."""
    return f'"-XX:SharedArchiveFile={archive}" -Xshare:auto {QUIET}'


def class_archive(java: JavaHome, options: str) -> ClassArchive:
    """The archive of this Java, the installed Spark, and these flags.

    Raises:
        OSError: no folder can hold it, or Spark's jars cannot be listed.
    """
    folder = _folder()
    if re.search(r'["\\:]', str(folder)):
        raise OSError(f"{folder} has a character that Java's flag for the archive does not take")
    import pyspark

    executable = (java.path / "bin" / "java").resolve()
    with os.scandir(Path(os.environ.get("SPARK_HOME") or pyspark.__path__[0], "jars")) as entries:
        jars = sorted((jar.name, jar.stat().st_size, jar.stat().st_mtime_ns) for jar in entries)
    belongs_to = (
        (str(executable), executable.stat().st_mtime_ns, java.version),
        [os.environ.get(name, "") for name in _VARIABLES],
        options,
        jars,
    )
    key = hashlib.sha256(repr(belongs_to).encode()).hexdigest()[:32]
    return ClassArchive(folder, options, f"{major_version(java.version)}-{key}")


def _folder() -> Path:
    problem: OSError | None = None
    for cache in cache_folders():
        folder = cache / "classes"
        try:
            require_private(cache)
            require_private(folder)  # whoever could write there could run code in our JVM
        except OSError as error:
            problem = error
        else:
            return folder
    raise problem or FileNotFoundError("no folder for caches")


def _start_maker(options: str) -> None:
    """Start the process that makes the archive, as a grandchild: nobody has to wait for it, or to be told of its end."""
    command = [sys.executable, "-m", _MAKER, options]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            ["/bin/sh", "-c", 'nice -n 19 "$0" "$@" >/dev/null 2>&1 </dev/null &', *command],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            start_new_session=True,
            check=False,
            timeout=5,
        )
