"""One Spark session for the whole test run: a JVM start costs as much as a hundred small tests."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

# Else the first session would have an archive made in the background, on which later timings would depend.
os.environ.setdefault("SPARKTORCH_CLASS_ARCHIVE", "off")

# How long an example takes says something of the machine, nothing of the code.
settings.register_profile("default", deadline=None)
settings.load_profile("default")


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    from sparktorch_assets.spark.session.start import start_session

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARKTORCH_WARM_UP", "off")  # some tests count jobs
        session = _session(start_session, tmp_path_factory)
    yield session
    session.stop()


def _session(start_session, tmp_path_factory):
    return start_session(
        master="local[2]",
        app_name="tests",
        config={
            "spark.driver.memory": "1g",
            "spark.sql.shuffle.partitions": 2,
            "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
        },
    )


@pytest.fixture
def no_work_folder():
    """Spark's local cluster keeps its executors' logs under its own installation."""
    import pyspark

    work = Path(pyspark.__path__[0]) / "work"
    before = set(work.iterdir()) if work.exists() else None
    yield
    if before is None:
        shutil.rmtree(work, ignore_errors=True)
    else:
        for path in set(work.iterdir()) - before:
            shutil.rmtree(path, ignore_errors=True)


def pytest_collection_modifyitems(items):
    """Tests that share what is costly to make run in one process: those with the session, and those of a module."""
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.jvm)
            item.add_marker(pytest.mark.xdist_group("spark"))
        else:
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))
