"""What `make run` and `make dev` do around Dagster: progress, the table, the exit status, the port."""

import io
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sparktorch_assets.errors import HostError, TableError
from sparktorch_assets.orchestration.assets.run.progress import progress_logger
from sparktorch_assets.orchestration.commands import dev, run
from sparktorch_assets.orchestration.commands.dagster_home import use_dagster_home
from sparktorch_assets.orchestration.commands.summary import failures, render, summary_table, together

ROOT = Path(__file__).parents[3]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def materialize(stream: io.StringIO) -> dg.ExecuteInProcessResult:
    @dg.asset(key=["predictions", "good"])
    def good(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        context.log.info("half way")
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": 1234567,
                "dagster/uri": str(Path.cwd() / "data/lake/predictions/good"),
                "failed_rows": 3,
                "rows_per_second": 98765.4,
                "class_shares": {"a": 0.5, "b": 0.3, "c": 0.15, "d": 0.05},
            }
        )

    @dg.asset
    def bad() -> None:
        raise TableError("the table is not there")

    definitions = dg.Definitions(assets=[good, bad], loggers={"progress": progress_logger(stream)})
    return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        raise_on_error=False, run_config={"loggers": {"progress": {"config": {}}}}
    )


def test_progress_names_the_asset_and_passes_its_messages_on():
    stream = io.StringIO()
    materialize(stream)
    text = stream.getvalue()
    assert "✓ predictions/good" in text
    assert "predictions/good            half way" in text
    assert "✗ bad" in text
    assert "STEP_OUTPUT" not in text
    assert "\r" not in text


def test_on_a_terminal_messages_replace_one_another():
    stream = Terminal()
    materialize(stream)
    written = stream.getvalue()
    assert written.count("\n") == 2, "only ends of assets stay"
    assert "\r" in written


def test_the_table_has_a_line_for_each_asset_that_was_materialized():
    result = materialize(io.StringIO())
    header, rule, line = summary_table([result]).splitlines()
    assert header.split() == ["asset", "rows", "failed", "predicted", "seconds", "rows/s", "table"]
    assert set(rule) == {"-"}
    for cell in (
        "predictions/good",
        "1,234,567",
        " 3 ",
        "a 50.0%, b 30.0%, c 15.0%",
        "98,765",
        "data/lake/predictions/good",
    ):
        assert cell in line
    assert "d 5.0%" not in line
    assert failures(result)["bad"].endswith("TableError: the table is not there")


def test_a_run_with_a_failed_check_is_not_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any):
    """It ends with 1 and names the check, its asset and what it found; a warning does not."""
    specs = [dg.AssetCheckSpec(name, asset="table") for name in ("no_row_lost", "fresh", "fine")]

    @dg.multi_asset(specs=[dg.AssetSpec("table")], check_specs=specs)
    def table() -> Any:
        yield dg.MaterializeResult(
            asset_key="table",
            check_results=[
                dg.AssetCheckResult(check_name="no_row_lost", passed=False, metadata={"rows in": 7, "predicted": 6}),
                dg.AssetCheckResult(check_name="fresh", passed=False, severity=dg.AssetCheckSeverity.WARN),
                dg.AssetCheckResult(check_name="fine", passed=True),
            ],
        )

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "load_definitions", lambda module: dg.Definitions(assets=[table]))
    assert run.main(["any"]) == 1
    shown = capsys.readouterr().out
    assert "FAILED CHECK table no_row_lost: rows in: 7, predicted: 6" in shown
    assert "0 failed, 1 checks failed" in shown
    assert "fresh" not in shown


def test_no_message_of_a_run_steers_the_terminal():
    """What exceptions and logs say may come from rows: escapes, bells and marks of direction are left out."""
    steering = "before\x1b[2J\x07\x9b31m\u202eafter"

    @dg.asset
    def noisy(context: dg.AssetExecutionContext) -> None:
        context.log.warning(steering)
        raise TableError(f"first line\n{steering}")

    stream = io.StringIO()
    job = dg.Definitions(
        assets=[noisy], loggers={"progress": progress_logger(stream)}
    ).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(raise_on_error=False, run_config={"loggers": {"progress": {"config": {}}}})
    for shown in (stream.getvalue(), failures(result)["noisy"]):
        assert re.search(r"before \[2J  31m after", shown)
        assert all(character.isprintable() or character == "\n" for character in shown)
    assert "first line\n" in failures(result)["noisy"]


def test_columns_are_as_wide_as_their_widest_cell():
    row = ("a", "1", "", "x", "", "", "t")
    lines = render([row, ("abc", "100", "", "x", "", "", "t")]).splitlines()
    assert [line.index("x") for line in (lines[0], lines[2])] == [lines[0].index("x")] * 2


def test_a_failed_asset_makes_the_command_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "one_bad_asset.py").write_text(
        "import dagster as dg\n\n@dg.asset\ndef bad():\n    raise ValueError('no such luck')\n\n"
        "defs = dg.Definitions(assets=[bad])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert run.main(["one_bad_asset"]) == 1
    assert "FAILED bad: ValueError: no such luck" in capsys.readouterr().out
    assert (tmp_path / ".dagster" / "dagster.yaml").is_file()


def test_a_module_without_definitions_is_named(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(SystemExit, match="json holds 0 Dagster Definitions"):
        run.load_definitions("json")


def test_the_home_is_the_projects_unless_set_and_settings_are_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    settings = use_dagster_home(tmp_path) / "dagster.yaml"
    assert settings == tmp_path / ".dagster" / "dagster.yaml"
    assert "enabled: false" in settings.read_text()
    settings.write_text("telemetry:\n  enabled: true\n")
    assert use_dagster_home(tmp_path) == settings.parent
    assert "true" in settings.read_text()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "mine"))
    assert use_dagster_home(tmp_path) == tmp_path / "mine"


@pytest.mark.promise("O43")
def test_the_homes_console_shows_no_events_and_its_storage_shows_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    use_dagster_home(tmp_path)

    @dg.asset
    def talking(context: dg.AssetExecutionContext) -> None:
        context.log.info("half way")

    with dg.DagsterInstance.get() as instance:
        result = dg.materialize([talking], instance=instance)
        stored = {entry.dagster_event_type for entry in instance.all_logs(result.run_id)}
    console = capfd.readouterr().err
    assert "half way" in console
    assert "STEP_" not in console
    assert {dg.DagsterEventType.STEP_START, dg.DagsterEventType.ASSET_MATERIALIZATION} <= stored


def test_a_taken_port_is_told_with_the_way_out():
    with socket.socket() as taken:
        taken.bind((dev.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(HostError, match=f"port {port} on 127.0.0.1 is taken.*make dev PORT={port + 1}"):
            dev.require_free_port(port)
        command = [sys.executable, "-m", "sparktorch_assets.orchestration.commands.dev", "--port", str(port)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env={**os.environ}
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: port {port}")
    dev.require_free_port(port)


def test_partitions_of_an_asset_are_counted_together():
    """Shares and means are those of all predicted rows, whatever the size of a partition."""
    partitions = [
        {"dagster/row_count": 44, "dagster/partition_row_count": 32, "failed_rows": 2, "class_shares": {"a": 1.0}},
        {
            "dagster/row_count": 44,
            "dagster/partition_row_count": 12,
            "failed_rows": 2,
            "class_shares": {"a": 0.5, "b": 0.5},
        },
        {"dagster/row_count": 44, "dagster/partition_row_count": 0, "failed_rows": 0, "class_shares": {}},
    ]
    found = together(partitions)
    assert (found["dagster/row_count"], found["failed_rows"]) == (44, 4)
    assert found["class_shares"] == pytest.approx({"a": 35 / 40, "b": 5 / 40})


def test_what_is_true_of_a_whole_input_is_not_added_up():
    read = {"dagster/row_count": 6, "rejected_rows": 1}
    assert together([read, read]) == read
