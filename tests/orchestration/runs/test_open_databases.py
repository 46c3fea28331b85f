"""During `make run`, Dagster's SQLite files stay open, and hold everything afterwards."""

import dagster as dg
import pytest

from sparktorch_assets.orchestration.commands.open_databases import open_databases


@dg.asset
def numbers() -> None:
    """Nothing."""


def logs(folder):
    return {path.name for path in folder.rglob("*.db-wal")}


@pytest.mark.promise("O242")
def test_the_write_ahead_logs_stay_until_the_end_and_nothing_is_lost(tmp_path, monkeypatch):
    """Without it, Dagster's own connections move the logs into the files and delete them, at each event."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        run = dg.materialize([numbers], instance=instance).run_id
        assert logs(tmp_path) == set()
    with open_databases(), dg.DagsterInstance.get() as instance:
        second = dg.materialize([numbers], instance=instance).run_id
        assert {"index.db-wal", f"{second}.db-wal"} <= logs(tmp_path)
        with dg.DagsterInstance.get() as other:  # such as a web server
            assert other.get_latest_materialization_event(numbers.key).run_id == second
    assert logs(tmp_path) == set()
    with dg.DagsterInstance.get() as instance:
        assert {one.run_id for one in instance.get_runs()} == {run, second}
        assert all(one.status is dg.DagsterRunStatus.SUCCESS for one in instance.get_runs())
        assert instance.get_latest_materialization_event(numbers.key).run_id == second
        dg.materialize([numbers], instance=instance)
        assert logs(tmp_path) == set()  # after the block, everything is as before
