"""The archive of Spark's Java classes: it belongs to what it was made from, and a session starts without it as well."""

import atexit
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sparktorch_assets.spark.session.java import JavaHome
from sparktorch_assets.spark.session.startup import class_archive as archives
from sparktorch_assets.spark.session.startup.class_archive import class_archive, with_class_archive

OPTIONS = "spark.driver.extraJavaOptions"
SETTINGS = {OPTIONS: "-XX:+UseSerialGC", "spark.ui.enabled": "false"}


@pytest.fixture
def java(tmp_path, monkeypatch):
    """A Java, and a Spark with two jars, of which the archives are in a cache of their own."""
    executable = tmp_path / "jdk" / "bin" / "java"
    executable.parent.mkdir(parents=True)
    executable.touch()
    jars = tmp_path / "spark" / "jars"
    jars.mkdir(parents=True)
    for name in ("core.jar", "sql.jar"):
        (jars / name).write_text(name)
    monkeypatch.setenv("SPARK_HOME", str(tmp_path / "spark"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARKTORCH_CLASS_ARCHIVE")
    monkeypatch.setattr(atexit, "register", lambda *given: None)
    return JavaHome(path=tmp_path / "jdk", version="17.0.15", source="PATH")


def made(archive, content=b"classes"):
    archive.temporary.write_bytes(content)
    archive.keep(archive.temporary)


@pytest.mark.promise("O235")
@pytest.mark.parametrize("changed", ["java", "version", "jar", "flags", "variable"])
def test_an_archive_belongs_to_one_java_and_its_jars_and_flags(java, tmp_path, monkeypatch, changed):
    """If one of them changes, another archive is looked for."""
    archive = class_archive(java, "-XX:+UseSerialGC")
    made(archive)
    assert class_archive(java, "-XX:+UseSerialGC").find() == archive.find() != None  # noqa: E711
    options = "-XX:+UseSerialGC"
    if changed == "java":
        os.utime(java.path / "bin" / "java", (1, 1))
    elif changed == "version":
        java = JavaHome(path=java.path, version="17.0.16", source="PATH")
    elif changed == "jar":
        (tmp_path / "spark" / "jars" / "sql.jar").write_text("a newer one")
    elif changed == "flags":
        options = "-XX:+UseG1GC"
    else:
        monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1g")
    assert class_archive(java, options).find() is None


@pytest.mark.promise("O235")
def test_the_two_that_were_used_last_are_kept(java):
    kinds = [class_archive(java, f"-Xss{number}m") for number in range(4)]
    for age, archive in enumerate(kinds[:3]):
        made(archive)
        for path in archive.folder.glob(f"{archive.key}-*"):
            os.utime(path, (1000 + age, 1000 + age))
    assert kinds[0].find() is None
    kinds[1].find()  # which is a use of it
    made(kinds[3])
    assert [archive.find() is not None for archive in kinds] == [False, True, False, True]


@pytest.mark.promise("O235")
def test_an_archive_in_a_read_only_folder_is_used(java, monkeypatch):
    """The image of a container may hold it."""
    archive = class_archive(java, SETTINGS[OPTIONS])
    made(archive)

    def refuse(path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "utime", refuse)
    assert [archive.find()] == list(archive.folder.glob("*.jsa"))


@pytest.mark.promise("O236")
def test_a_damaged_archive_is_deleted_and_not_used(java):
    """Java would crash with it."""
    archive = class_archive(java, SETTINGS[OPTIONS])
    made(archive)
    settings, used = with_class_archive(SETTINGS, {}, java)
    assert used == archive.find()
    assert f'"-XX:SharedArchiveFile={used}" -Xshare:auto' in settings[OPTIONS]
    used.chmod(0o600)
    used.write_bytes(b"classe$")
    assert with_class_archive(SETTINGS, {}, java) == (SETTINGS, None)
    assert not used.exists()


@pytest.mark.promise("O236", "O243")
@pytest.mark.parametrize("reason", ["own options", "own class path", "running", "off", "folder", "no jars"])
def test_settings_stay_as_they_are_without_an_archive(java, tmp_path, monkeypatch, reason):
    made(class_archive(java, SETTINGS[OPTIONS]))
    given = {}
    if reason == "own options":
        given = {OPTIONS: "-XX:+UseSerialGC"}
    elif reason == "own class path":
        given = {"spark.driver.extraClassPath": "/opt/driver.jar"}
    elif reason == "running":
        java = None
    elif reason == "off":
        monkeypatch.setenv("SPARKTORCH_CLASS_ARCHIVE", "off")
    elif reason == "folder":
        (tmp_path / "cache" / "sparktorch_assets").chmod(0o777)  # where others could put an archive of theirs
        monkeypatch.setattr(archives, "cache_folders", lambda: [tmp_path / "cache" / "sparktorch_assets"])
    else:
        monkeypatch.setenv("SPARK_HOME", str(tmp_path / "nothing"))
    assert with_class_archive(SETTINGS, given, java) == (SETTINGS, None)


@pytest.mark.promise("O234")
def test_a_missing_archive_is_made_when_the_process_ends_and_a_failure_not_repeated_that_day(java, monkeypatch):
    registered = []
    monkeypatch.setattr(atexit, "register", lambda *given: registered.append(given))
    assert with_class_archive(SETTINGS, {}, java) == (SETTINGS, None)
    assert [options for _, options in registered] == [SETTINGS[OPTIONS]]
    archive = class_archive(java, SETTINGS[OPTIONS])
    killed = archive.folder / ".tmp-of-another-process-12"
    for left in (archive.temporary, killed):
        left.write_bytes(b"half of it")
    archive.give_up()
    assert not archive.temporary.exists()
    assert not killed.exists()
    with_class_archive(SETTINGS, {}, java)
    assert len(registered) == 1
    os.utime(archive.folder / f"{archive.key}.failed", (1, 1))
    with_class_archive(SETTINGS, {}, java)
    assert len(registered) == 2


@pytest.mark.promise("O234")
def test_it_is_made_by_a_process_of_the_lowest_priority_for_which_nobody_waits(tmp_path, monkeypatch):
    """With a maker that writes down its priority, its argument and who its parent is."""
    (tmp_path / "slow_maker.py").write_text(
        "import os, pathlib, sys, time\n"
        "time.sleep(1)\n"
        "text = f'{os.nice(0)} {os.getppid()} {sys.argv[1]}'\n"
        "pathlib.Path(__file__).with_name('part').write_text(text)\n"
        "pathlib.Path(__file__).with_name('part').rename(pathlib.Path(__file__).with_name('made'))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(archives, "_MAKER", "slow_maker")
    archives._start_maker('"-Dlog4j2.configurationFile=file:///a b" -Xss1m')
    assert not (tmp_path / "made").exists()
    until = time.monotonic() + 60
    while not (tmp_path / "made").exists() and time.monotonic() < until:
        time.sleep(0.1)
    nice, parent, options = (tmp_path / "made").read_text().split(maxsplit=2)
    assert (nice, options) == ("19", '"-Dlog4j2.configurationFile=file:///a b" -Xss1m')
    assert int(parent) != os.getpid()


PROGRAM = """
from pathlib import Path
from sparktorch_assets.spark.session.start import start_session
from pyspark import SparkContext
spark = start_session(master="local[2]", config={"spark.driver.memory": "1g"})
java = SparkContext._gateway.proc.pid
mapped = {line.split(maxsplit=5)[5].strip() for line in open(f"/proc/{java}/maps") if ".jsa" in line and "/classes/" in line}
rows = spark.range(100).selectExpr("sum(id)").first()[0]
print("mapped", *(Path(path).name for path in mapped), "rows", rows)
spark.stop()
"""


def run(arguments, environment, folder):
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cds" not in done.stdout  # Java's own messages about archives
    return done.stdout


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what a process has mapped is seen in /proc")
@pytest.mark.promise("O236", "O237")
def test_a_session_maps_the_archive_and_starts_without_one_that_makes_java_crash(tmp_path):
    root = str(Path(archives.__file__).parents[4])
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "SPARKTORCH_WARM_UP": "off", "PYTHONPATH": root}
    del environment["SPARKTORCH_CLASS_ARCHIVE"]
    run(["-m", archives._MAKER], {**environment, "SPARK_REMOTE": "sc://nowhere"}, tmp_path)
    (archive,) = (tmp_path / "sparktorch_assets" / "classes").glob("*.jsa")
    assert run(["-c", PROGRAM], environment, tmp_path) == f"mapped {archive.name} rows 4950\n"

    # Half an archive under the name that half an archive has: Java crashes, and is started again without it.
    archive.chmod(0o600)
    with archive.open("r+b") as file:
        file.truncate(archive.stat().st_size // 100)
    key = archive.name.rpartition("-")[0]
    half = archive.rename(archive.with_name(archives.ClassArchive(archive.parent, "", key).file_name(archive)))
    assert run(["-c", PROGRAM], environment, tmp_path).splitlines()[-1] == "mapped rows 4950"
    assert not half.exists()
