"""What Spark leaves behind is taken away."""

import shutil
from pathlib import Path

import pyspark
import pytest


@pytest.fixture
def no_work_folder():
    """Spark's local cluster keeps its executors' logs under its own installation."""
    work = Path(pyspark.__file__).parent / "work"
    before = set(work.iterdir()) if work.exists() else None
    yield
    if before is None:
        shutil.rmtree(work, ignore_errors=True)
    else:
        for path in set(work.iterdir()) - before:
            shutil.rmtree(path, ignore_errors=True)
