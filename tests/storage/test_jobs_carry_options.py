"""Every function that Spark's workers run begins by using the storage options of its job."""

from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "sparktorch_assets"
WORKERS_SIDE = {"spark/score/job/run.py": "spark/score/job/worker.py"}
"""A module that starts a job whose function is in another one."""

OPEN_NO_FILE = {"spark/session/startup/archive_maker.py", "spark/session/startup/warm_up.py"}


def test_each_job_takes_its_options_along():
    jobs = [path for path in PACKAGE.rglob("*.py") if ".mapInArrow(" in path.read_text()]
    assert {path.relative_to(PACKAGE).as_posix() for path in jobs} >= set(WORKERS_SIDE)
    for name in {path.relative_to(PACKAGE).as_posix() for path in jobs} - OPEN_NO_FILE:
        code = (PACKAGE / WORKERS_SIDE.get(name, name)).read_text()
        assert "storage_scopes" in code, f"{name}: the job has no field or attribute with storage_scopes()"
        assert "storage.use()" in code, f"{name}: the worker does not use the job's storage options"
