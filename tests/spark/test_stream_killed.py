"""A streaming query whose driver is killed goes on where it was."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

HERE = Path(__file__).parent

PROGRAM = """
import sys
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.ml_predict import spark_ml_predict
from sparktorch_assets.spark.session.start import start_session
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature

root = sys.argv[1]
task = MlTask(name="t", input="i", model=ModelSpec(factory="score_nets:linear"),
              features=[NumericFeature(columns=["a", "b"])], labels=["x", "y", "z"])
spark = start_session(master="local[2]", config={"spark.driver.memory": "1g"})
rows = spark.readStream.schema("id long, a double, b double").option("maxFilesPerTrigger", 1).parquet(f"{root}/source")
predicted = spark_ml_predict(spark, rows, task, model_loader=ModelLoader(root))
sink = predicted.writeStream.option("checkpointLocation", f"{root}/checkpoint").trigger(availableNow=True)
sink.start(f"{root}/predictions").awaitTermination()
print(spark.read.parquet(f"{root}/predictions").selectExpr("count(*)", "count(DISTINCT id)",
                                                           "count(predicted_class)").collect()[0][:])
"""


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.promise("T76")
def test_a_stream_that_is_killed_goes_on_where_it_was(tmp_path):
    """With a checkpoint, and into files: no row is lost, and none comes twice."""
    (tmp_path / "source").mkdir()
    for number in range(6):
        columns = {"id": range(number * 100, number * 100 + 100), "a": [1.0] * 100, "b": [2.0] * 100}
        pq.write_table(
            pa.table({name: list(values) for name, values in columns.items()}),
            tmp_path / "source" / f"{number}.parquet",
        )
    given = {
        "args": [sys.executable, "-c", PROGRAM, str(tmp_path)],
        "env": os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])},
        "stderr": subprocess.DEVNULL,
        "text": True,
    }
    commits = tmp_path / "checkpoint" / "commits"
    with subprocess.Popen(stdout=subprocess.DEVNULL, start_new_session=True, **given) as first:
        while first.poll() is None and len(list(commits.glob("[0-9]"))) < 2:
            time.sleep(0.02)
        assert first.poll() is None
        os.killpg(first.pid, signal.SIGKILL)
    done = len(list(commits.glob("[0-9]")))
    assert 2 <= done < 6
    second = subprocess.run(stdout=subprocess.PIPE, timeout=200, check=True, **given)
    assert second.stdout.splitlines()[-1] == "(600, 600, 600)"
