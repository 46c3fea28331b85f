"""How a task travels to Spark's workers, and what a process makes of it."""

import dataclasses
import pickle

import pyarrow as pa
import pytest
from pyspark import cloudpickle

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark import sealed_task
from sparktorch_assets.spark.score.job.worker import ScoreJob, bind
from sparktorch_assets.spark.sealed_task import SealedTask
from sparktorch_assets.tasks import CategoricalFeature, Hooks, MlTask, ModelSpec, SlotPolicy

TASK = MlTask(
    name="t",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    features=[CategoricalFeature(columns=["c"], vocabulary={"c": [f"entry {index}" for index in range(50_000)]})],
    labels=["0", "1"],
)


@pytest.fixture(autouse=True)
def nothing_opened(monkeypatch):
    """A process that has opened no task yet."""
    monkeypatch.setattr(sealed_task, "_opened", type(sealed_task._opened)())


def job(task, tmp_path):
    schema = pa.schema([("c", pa.string())])
    return ScoreJob(
        task=task, model_loader=ModelLoader(tmp_path), slots=SlotPolicy(device="cpu"), batch_size=None, concurrent_slots=1,
        output_table=str(tmp_path), read_schema=schema, schema=schema, files_digest="", code={}, packs=(b"1", b"2"),
    )  # fmt: skip


@pytest.mark.promise("M239")
def test_a_process_unpickles_a_task_once_for_all_its_spark_tasks(tmp_path):
    """So that what is found out about it is found once; the job itself is a new one each time."""
    sent = cloudpickle.dumps(bind(job(TASK, tmp_path)))
    one, other = (pickle.loads(sent).__closure__[0].cell_contents for _ in range(2))
    assert one is not other
    assert one.packs == other.packs == (b"1", b"2")
    assert one.task == TASK
    assert one.task is other.task
    assert len(sent) < len(pickle.dumps(TASK)) / 2, "entries that resemble each other are compressed"
    later = cloudpickle.dumps(job(dataclasses.replace(TASK, labels=["2", "3"]), tmp_path))
    assert pickle.loads(later).task.labels == ("2", "3")


@dataclasses.dataclass
class Settings:
    width: int = 1


@pytest.mark.parametrize(
    "task",
    [
        dataclasses.replace(TASK, hooks=Hooks(row_preprocessor=lambda row: row)),
        dataclasses.replace(TASK, model=dataclasses.replace(TASK.model, arguments={"a": Settings()})),
    ],
    ids=["function", "settings"],
)
def test_a_task_that_could_be_changed_is_not_shared(task):
    """Each Spark task gets a copy of a function's closure and of the user's own objects, as it did before."""
    sent = cloudpickle.dumps(SealedTask(task))
    one, other = (pickle.loads(sent).task for _ in range(2))
    assert one is not other
    assert one.features == other.features == TASK.features


def test_a_process_keeps_the_tasks_that_it_used_last():
    """A worker of a long session is not filled with vocabularies."""
    small = dataclasses.replace(TASK, features=[CategoricalFeature(columns=["c"], vocabulary={"c": ["a"]})])
    sent = [pickle.dumps(SealedTask(dataclasses.replace(small, name=f"t{number}"))) for number in range(20)]
    first = pickle.loads(sent[0]).task
    for one in sent:
        assert pickle.loads(sent[0]).task is first, "in use"
        pickle.loads(one)
    assert len(sealed_task._opened) == sealed_task._MOST_OPENED
