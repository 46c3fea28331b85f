"""A run that is told to stop: the Spark job ends, the session stays usable, what was finished stays, and nothing is committed."""

import signal
import threading
import time
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from lone_files import lone_file

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.inputs.materialize import materialize_input
from sparktorch_assets.spark.score.dataframe import score_dataframe
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.spark.session.stoppable import run_stoppable
from sparktorch_assets.tasks import BatchPolicy, InputTable, MlTask, ModelSpec, NumericFeature, SlotPolicy

PATIENCE_S = 20
"""Far less than any of the jobs below would take by itself."""
TASK = MlTask(
    name="slow",
    input="table",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "HangsOnValue", "value": 777.0}),
    features=[NumericFeature(columns=["x"])],
    labels=["0", "1"],
    batch=BatchPolicy(batch_size=16),
)


class Stopped(BaseException):
    """What Dagster's handler of SIGTERM raises is no Exception either."""


@contextmanager
def stopped_when(is_under_way, number=signal.SIGTERM):
    """Signals this process once `is_under_way()`; the handler raises in the main thread, as Dagster's does."""

    def stop(_number, _frame):
        raise Stopped

    def watch():
        until = time.monotonic() + 120
        while not is_under_way() and time.monotonic() < until:
            time.sleep(0.05)
        sent.append(time.monotonic())
        signal.pthread_kill(threading.main_thread().ident, number)

    sent = []
    before = signal.signal(number, stop)
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        with pytest.raises(Stopped):
            yield
        assert time.monotonic() - sent[0] < PATIENCE_S
    finally:
        thread.join()
        signal.signal(number, before)


def is_at_work(spark):
    return lambda: bool(spark.sparkContext.statusTracker().getActiveJobsIds())


def check_idle_and_usable(spark):
    """No job goes on, and answers are still those of their questions."""
    until = time.monotonic() + 10
    while is_at_work(spark)() and time.monotonic() < until:  # Spark tells of the end of a job a moment after it
        time.sleep(0.1)
    assert not is_at_work(spark)()
    for rows in (3, 5, 7):
        assert spark.range(rows).count() == rows
    assert spark.sparkContext.defaultParallelism == 2


def write_shards(folder, *, hanging):
    """Eight files of 40 rows; the last holds a value on which the network hangs for an hour."""
    folder.mkdir()
    for number in range(8):
        values = [float(row) for row in range(40)]
        if hanging and number == 7:
            values[20] = 777.0
        pq.write_table(pa.table({"n": [number] * 40, "x": values}), folder / lone_file(str(number)))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_scoring_stops_and_keeps_finished_parts(spark, tmp_path, number):
    """The next run takes them up."""
    write_shards(tmp_path / "in", hanging=True)
    out = tmp_path / "out"
    options = {
        "output_table": str(out),
        "model_loader": ModelLoader(tmp_path),
        "slots": SlotPolicy(device="cpu", workers=1),
    }
    with stopped_when(lambda: len(list(out.glob("part-*.parquet"))) >= 3, number):
        score_table(spark, str(tmp_path / "in"), TASK, **options)
    check_idle_and_usable(spark)
    assert not (out / "_delta_log").exists()
    finished = {path.name for path in out.glob("part-*.parquet")}
    (tmp_path / "in" / lone_file("7")).unlink()
    report = score_table(spark, str(tmp_path / "in"), TASK, **options)
    assert report.shards_resumed == len(finished) >= 3
    assert DeltaTable(str(out)).to_pyarrow_table().num_rows == 7 * 40


def test_scoring_a_dataframe_stops(spark, tmp_path):
    write_shards(tmp_path / "in", hanging=True)
    rows = spark.read.parquet(str(tmp_path / "in"))
    options = {
        "output_table": str(tmp_path / "out"),
        "model_loader": ModelLoader(tmp_path),
        "slots": SlotPolicy(device="cpu"),
    }
    with stopped_when(is_at_work(spark)):
        score_dataframe(spark, rows, TASK, **options)
    check_idle_and_usable(spark)
    assert not (tmp_path / "out" / "_delta_log").exists()
    (
        tmp_path / "in" / lone_file("7")
    ).unlink()  # a task that is cancelled may still write into the staging folder for a moment
    score_dataframe(spark, spark.read.parquet(str(tmp_path / "in")), TASK, **options)
    assert DeltaTable(str(tmp_path / "out")).to_pyarrow_table().num_rows == 7 * 40


@pytest.mark.slow
def test_reading_an_input_stops(spark, tmp_path, monkeypatch):
    """In the midst of writing the rows."""
    (tmp_path / "data").mkdir()
    for number in range(400):
        (tmp_path / "data" / f"{number}.csv").write_text("n,x\n" + "1,2.5\n" * 2000)
    table = InputTable(
        name="table",
        source=["data/*.csv"],
        format="csv",
        columns={"n": "long", "x": "double"},
        options={"header": True},
    )
    options = {"project_root": tmp_path, "table_uri": str(tmp_path / "table"), "run_id": "run"}

    def is_writing():
        return is_at_work(spark)() and any((tmp_path / "table").rglob("*.parquet"))

    with stopped_when(is_writing):
        materialize_input(spark, table, **options)
    check_idle_and_usable(spark)
    assert not (tmp_path / "table" / "_delta_log").exists()
    assert materialize_input(spark, table, **options).rows == 400 * 2000


def test_errors_and_results_come_through(spark):
    """An action's own error is not an interruption."""
    assert run_stoppable(spark, lambda: spark.range(4).count()) == 4
    with pytest.raises(ZeroDivisionError):
        run_stoppable(spark, lambda: 1 / 0)


def test_jobs_keep_the_local_properties_of_their_caller(spark):
    """A pool or a description that the user set counts for our jobs, too."""
    spark.sparkContext.setLocalProperty("spark.job.description", "mine")
    try:
        found = run_stoppable(spark, lambda: spark.sparkContext.getLocalProperty("spark.job.description"))
    finally:
        spark.sparkContext.setLocalProperty("spark.job.description", None)
    assert found == "mine"
