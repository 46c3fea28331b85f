"""What a worker raises, of whatever class and with whatever text, comes to the driver with its reason."""

import builtins
import traceback
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs_here import JobsHere
from pyspark.errors import PySparkException
from score_nets import FAILURES, fails

from sparktorch_assets import errors
from sparktorch_assets.errors import ModelError, SparktorchError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.ml_predict import PredictPartition, spark_ml_predict
from sparktorch_assets.spark.score.dataframe import score_dataframe
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.spark.session.worker_python import explain_worker_failure
from sparktorch_assets.spark.worker_errors import find_marked, is_lost_worker, marked, own_error, reason_of
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature, SlotPolicy

SAYS = {
    "odd": (SparktorchError, "Odd: plain words"),
    "empty": (SparktorchError, "Odd: (no message)"),
    "lines": (SparktorchError, "Odd: one line\nand another: it\n  goes on"),
    "unicode": (
        SparktorchError,
        "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
    ),
    "more": (SparktorchError, "WantsMore: 7 at home"),
    "exit": (SparktorchError, "SystemExit: 3"),
    "panic": (SparktorchError, "Panic: called `unwrap()` on a `None` value"),
    "mark": (ValueError, 'a ] and <<sparktorch-assets {"type": "X"} sparktorch-assets>>'),
    "surrogate": (ValueError, "broken \udcff text"),
    "unprintable": (SparktorchError, "Unprintable: (its text cannot be shown: Unprintable.__str__ fails)"),
    "group": (SparktorchError, "ExceptionGroup: several (2 sub-exceptions)"),
    "quoted": (ValueError, "Caught it.\nOriginal Traceback (most recent call last):\n  File x\nKeyError: 'z'"),
    "disguised": (RuntimeError, "sparktorch_assets.errors.ModelError: not ours"),
    "reset": (ConnectionResetError, "Connection reset by peer"),
    "system": (FileNotFoundError, "[Errno 2] No such file or directory: 'gone'"),
    "key": (SparktorchError, "KeyError: 'column'"),
    "stop": (SparktorchError, "StopIteration: over"),
}
"""Failure -> what the driver raises, and says."""


def raised(kind):
    try:
        fails(None, None, kind)
    except BaseException as error:  # noqa: BLE001
        return error


def as_spark_shows(error):
    """A worker's exception in an error of Spark's."""
    shown = traceback.TracebackException(type(error), error, error.__traceback__, compact=True).format()
    text = "".join(shown)
    return (
        f"An exception was thrown from the Python worker:\n{text} SQLSTATE: 38000\n\n\nJVM stacktrace:\n"
        f"org.apache.spark.SparkException: Job aborted due to stage failure: Lost task 0.0 (TID 0): ExecutorLostFailure\n"
        f"\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:1097)\n"
        f"Caused by: java.io.EOFException\n"
    )


def test_every_failure_is_looked_at():
    assert FAILURES.keys() == SAYS.keys()


@pytest.mark.parametrize("kind", SAYS)
def test_a_marked_error_keeps_its_type_and_text(kind):
    """Its own type where that is Python's or ours and takes a text; the mark is ASCII, and survives texts that hold it."""
    mark = str(marked(raised(kind), "task 't' at ] work"))
    assert mark.isascii()
    error, trace = find_marked(f"Traceback (most recent call last):\nRuntimeError: {mark}\n\tat org.apache.spark")
    assert (type(error), str(error)) == (SAYS[kind][0], f"{SAYS[kind][1]} [task 't' at ] work]")
    assert "score_nets.py" in str(trace)


@pytest.mark.parametrize("kind", SAYS)
def test_an_error_without_a_mark_is_read_from_pythons_traceback(kind):
    """Spark carries it for `spark_ml_predict` and `score_dataframe`; what Spark writes around it is no reason, and no sign
    of a lost worker."""
    text = as_spark_shows(raised(kind))
    wanted = SAYS[kind][1] if SAYS[kind][0] is SparktorchError else f"{SAYS[kind][0].__name__}: {SAYS[kind][1]}"
    if kind == "unprintable":
        wanted = "Unprintable: <exception str() failed>"
    assert reason_of(RuntimeError(text)).startswith(wanted)
    assert not is_lost_worker(text)
    assert own_error(text) is None


def test_errors_of_this_library_keep_their_type_and_all_lines():
    error = errors.ModelError("the weights do not fit:\n  layer one\n  layer two")
    for cause in (None, ValueError("Traceback (most recent call last):\n  cause")):
        try:
            raise error from cause
        except errors.ModelError as caught:
            found = own_error(as_spark_shows(caught))
        assert (type(found), str(found)) == (errors.ModelError, str(error))


EXCEPTIONS = [kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, BaseException)]


@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_every_exception_of_python_can_be_carried(kind):
    """Whatever its constructor wants, and never as an exit of the driver."""
    groups = issubclass(kind, BaseExceptionGroup)
    error, _ = find_marked(str(marked(kind.__new__(kind, *(["all", [ValueError()]] if groups else [])), "work")))
    assert isinstance(error, Exception)
    assert not isinstance(error, StopIteration | StopAsyncIteration)
    assert "[work]" in str(error)


def test_a_class_of_the_users_is_not_taken_for_one_of_python_with_its_name():
    """`except TimeoutError` would catch what it does not know."""
    own = type("TimeoutError", (Exception,), {"__module__": "mine"})
    error, _ = find_marked(str(marked(own("late"), "work")))
    assert (type(error), str(error)) == (SparktorchError, "TimeoutError: late [work]")


def test_lost_workers_are_known():
    assert is_lost_worker("org.apache.spark.SparkException: Python worker exited unexpectedly (crashed)")
    assert reason_of(RuntimeError("\n  Job aborted\n at x")) == "Job aborted"
    assert reason_of(RuntimeError()) == "RuntimeError"


def test_what_py4j_writes_before_a_java_exception_is_no_reason():
    text = (
        "An error occurred while calling o73.collectToPython.\n: org.apache.spark.SparkException: Job aborted\n\tat x"
    )
    assert reason_of(RuntimeError(text)) == "org.apache.spark.SparkException: Job aborted"


@pytest.mark.promise("O205")
def test_a_python_that_is_not_on_the_workers_hosts_is_named():
    """Spark shows it in the middle of a stack trace, after four attempts."""
    text = 'An error occurred while calling o1.collect.\n: x: java.io.IOException: Cannot run program "/opt/no/python": error=2'
    found = explain_worker_failure(RuntimeError(text))
    assert isinstance(found, errors.HostError)
    assert "Spark's workers cannot run '/opt/no/python'" in str(found)
    assert "PYSPARK_PYTHON" in str(found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["odd", "lines", "unicode", "exit", "mark"])
def test_errors_reach_the_driver_of_a_real_session(spark, tmp_path, kind):
    """In all three verbs; with `spark_ml_predict` it is Spark's own error, which holds the reason."""
    spark.sparkContext.addPyFile(str(Path(__file__).with_name("score_nets.py")))
    pq.write_table(pa.table({"x": [1.0, 2.0]}), tmp_path / "in.parquet")
    task = MlTask(
        name="t",
        input="i",
        model=ModelSpec(factory="score_nets:fails", arguments={"kind": kind}),
        features=[NumericFeature(columns=["x"])],
        labels=["0", "1"],
    )
    options = {"model_loader": ModelLoader(tmp_path), "slots": SlotPolicy(device="cpu")}
    kept, message = SAYS[kind]
    with pytest.raises(kept) as caught:
        score_table(spark, str(tmp_path / "in.parquet"), task, output_table=str(tmp_path / "a"), **options)
    assert str(caught.value) == f"{message} [task 't', bringing the model up]"

    data = spark.createDataFrame([(1.0,)], "x double")
    reason = message if kept is SparktorchError else f"{kept.__name__}: {message}"
    with pytest.raises(SparktorchError) as caught:
        score_dataframe(spark, data, task, output_table=str(tmp_path / "b"), **options)
    assert str(caught.value) == f"task 't': the Spark job failed: {reason}. Nothing was committed"

    with pytest.raises(PySparkException) as caught:
        spark_ml_predict(spark, data, task, **options).collect()
    assert reason in str(caught.value)


def test_what_a_worker_raises_can_be_sent(tmp_path, monkeypatch):
    """pyspark encodes the whole traceback, causes included; where that fails, the job hangs for ever. Without a JVM."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "in.parquet")
    task = MlTask(
        name="t",
        input="i",
        model=ModelSpec(factory="score_nets:fails", arguments={"kind": "surrogate"}),
        features=[NumericFeature(columns=["x"])],
        labels=["0", "1"],
    )
    with pytest.raises(ValueError, match="broken \udcff text") as caught:
        score_table(
            JobsHere(),
            str(tmp_path / "in.parquet"),
            task,
            output_table=str(tmp_path / "out"),
            model_loader=ModelLoader(tmp_path),
        )
    sent = caught.value.__context__
    assert "<<sparktorch-assets" in str(sent)
    assert "<<sparktorch-assets" in "".join(traceback.format_exception(sent)).encode().decode()


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ValueError("broken \udcff text"), SparktorchError, r"ValueError: broken \\udcff text"),
        (ModelError("broken \udcff text"), ModelError, r"broken \\udcff text"),
        (ValueError("fine"), ValueError, "fine"),
    ],
)
def test_what_a_lazy_verbs_worker_raises_can_be_sent(error, kind, text, tmp_path):
    """Without a JVM; what is raised is what Spark's worker formats and encodes."""

    class Fails(ModelLoader):
        def load_module(self, _task, _device):
            raise error

    worker = PredictPartition(
        task=MlTask(
            name="t",
            input="i",
            model=ModelSpec(factory="score_nets:linear"),
            features=[NumericFeature(columns=["x"])],
            labels=["0", "1"],
        ),
        loader=Fails(tmp_path),
        policy=SlotPolicy(slots=1),
        columns=["x"],
        schema=pa.schema([("x", pa.float64())]),
        batch_size=None,
        concurrent_slots=1,
        code={},
    )
    with pytest.raises(kind, match=text) as caught:
        list(worker(iter([pa.record_batch({"c0": [1.0]})])))
    assert "".join(traceback.format_exception(caught.value)).encode()
