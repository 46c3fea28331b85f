"""The job that a new session runs in the background: it has a group of its own, and nobody notices it."""

import subprocess
import sys

import pytest

from sparktorch_assets.spark.session.startup.warm_up import GROUP, warm_up


def jobs(spark, group):
    return len(spark.sparkContext.statusTracker().getJobIdsForGroup(group))


@pytest.mark.promise("O241")
def test_it_is_one_job_in_a_group_of_its_own(spark, monkeypatch):
    monkeypatch.delenv("SPARKTORCH_WARM_UP", raising=False)
    own, others = jobs(spark, GROUP), jobs(spark, None)
    warm_up(spark).join(120)
    assert jobs(spark, GROUP) == own + 1
    assert jobs(spark, None) == others
    assert spark.sparkContext.getLocalProperty("spark.job.description") is None  # the user's thread is as it was


@pytest.mark.promise("O243")
def test_it_can_be_switched_off(spark, monkeypatch):
    monkeypatch.setenv("SPARKTORCH_WARM_UP", "off")
    assert warm_up(spark) is None


@pytest.mark.promise("O241")
def test_its_failure_is_nobodys_concern(monkeypatch):
    """A session that is gone raises whatever it likes in the background."""

    class Gone:
        @property
        def sparkContext(self):
            return self

        defaultParallelism = 2  # noqa: N815  (Spark's name)

        def setJobGroup(self, *given):
            raise ConnectionRefusedError("the JVM has ended")

    monkeypatch.delenv("SPARKTORCH_WARM_UP", raising=False)
    warm_up(Gone()).join(60)  # pytest would fail for an exception that a thread does not catch


STOPPED = """
from sparktorch_assets.spark.session.start import start_session
spark = start_session(master="local[2]")
{}
"""


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.promise("O241")
@pytest.mark.parametrize("end", ["spark.stop()", "pass"], ids=["stopped", "left running"])
def test_a_session_may_end_at_once(end):
    """Nothing is written about the job that did not finish, and the process does not wait for it."""
    done = subprocess.run(
        [sys.executable, "-c", STOPPED.format(end)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("WARNING: Using incubator")] == []
    assert done.stdout == ""
