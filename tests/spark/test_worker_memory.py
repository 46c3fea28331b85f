"""Python workers with too little memory: the error names the setting, whatever failed first."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from sparktorch_assets.errors import HostError
from sparktorch_assets.spark.session.worker_memory import explain_memory, load_torch, memory_hint

WAY_OUT = r"spark\.executor\.pyspark\.memory limits it to 400m .*Raise it, or leave it out"


@pytest.mark.parametrize(
    "reason",
    [
        "ImportError: libtorch_cpu.so: failed to map segment from shared object",
        "MemoryError: (no message)",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate",
        "ArrowMemoryError: malloc of size 67108864 failed",
        "OSError: [Errno 12] Cannot allocate memory",
        "RuntimeError: can't start new thread",
    ],
)
def test_failures_for_lack_of_memory_are_known(reason):
    """Where the setting is there; without it, they are what they are. With fake sessions."""
    assert explain_memory(SimpleNamespace(conf={}), reason) is None
    error = explain_memory(SimpleNamespace(conf={"spark.executor.pyspark.memory": "400m"}), reason)
    with pytest.raises(HostError, match=WAY_OUT) as caught:
        raise error
    assert reason in str(caught.value)


def test_other_failures_are_not_blamed_on_memory():
    bounded = SimpleNamespace(conf={"spark.executor.pyspark.memory": "400m"})
    assert explain_memory(bounded, "ValueError: shapes do not fit") is None


def test_a_worker_says_so_itself(monkeypatch):
    """`spark_ml_predict` has no other place to say it. Without a bound nothing is loaded."""
    monkeypatch.setitem(sys.modules, "sparktorch_assets.predict.model.torch_model", None)  # an import of it fails
    load_torch()
    monkeypatch.setenv("PYSPARK_EXECUTOR_MEMORY_MB", "400")
    with pytest.raises(HostError, match=r"spark\.executor\.pyspark\.memory limits it to 400 MiB per worker .*Raise it"):
        load_torch()


def test_workers_that_die_may_do_so_for_lack_of_memory():
    assert memory_hint(SimpleNamespace(conf={})) == ""
    bounded = SimpleNamespace(conf={"spark.executor.pyspark.memory": "400m"})
    assert memory_hint(bounded) == " (spark.executor.pyspark.memory=400m limits their memory)"


REAL = """
import sys
import pyarrow as pa, pyarrow.parquet as pq
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.ml_predict import spark_ml_predict
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.spark.score.dataframe import score_dataframe
from sparktorch_assets.spark.session.start import start_session
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature, SlotPolicy
root = sys.argv[1]
pq.write_table(pa.table({"x": [1.0, 2.0]}), f"{root}/in.parquet")
spark = start_session(master="local[1]", config={"spark.driver.memory": "1g", "spark.executor.pyspark.memory": "400m"})
data = spark.createDataFrame([(1.0,)], "x double")
task = MlTask(name="t", input="i", features=[NumericFeature(columns=["x"])], labels=["0", "1"],
              model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}))
options = {"model_loader": ModelLoader(root), "slots": SlotPolicy(device="cpu")}
for verb in (
    lambda: score_table(spark, f"{root}/in.parquet", task, output_table=f"{root}/a", **options),
    lambda: score_dataframe(spark, data, task, output_table=f"{root}/b", **options),
    lambda: spark_ml_predict(spark, data, task, **options).collect(),
):
    try:
        verb()
    except Exception as error:
        print("RAISED", type(error).__name__, "spark.executor.pyspark.memory limits it to 400" in str(error))
spark.stop()
"""


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(280)
def test_a_real_session_whose_workers_may_use_400_mib(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", REAL, str(tmp_path)],
        env={key: value for key, value in os.environ.items() if key != "SPARK_REMOTE"},
        capture_output=True,
        text=True,
        timeout=270,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("RAISED")]
    wanted = ["RAISED HostError True", "RAISED HostError True", "RAISED PythonException True"]
    assert said == wanted, done.stdout + done.stderr[-4000:]
