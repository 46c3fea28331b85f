"""Where the time went, and the one setting that would help: typical runs, each with the advice that is true for it."""

from dataclasses import replace

import pytest

from sparktorch_assets.orchestration.resources import ModelLoaderResource, SparkSessionResource
from sparktorch_assets.spark.score.report.report import ScoreReport
from sparktorch_assets.spark.score.report.scoring import Scoring
from sparktorch_assets.spark.score.report.time_spent import time_spent
from sparktorch_assets.tasks import Execution, Hooks, MlTask, ModelSpec, NumericFeature

TASK = MlTask(
    name="t",
    model=ModelSpec(weights="m.safetensors", architecture="a:B"),
    features=[NumericFeature(columns=["x"])],
    labels=["0", "1"],
    keep_columns=["id"],
)


def report(workers, *, session=0.1, score=20.0, devices=("cpu",), slots=4, balance=1.1, rows=100) -> ScoreReport:
    seconds = {"plan": 0.5, "session": session, "score": score, "commit": 0.4, "total": session + score + 0.9}
    return ScoreReport(
        task="t", table="/t", version=1, changed=True, shards_new=1, shards_unchanged=0, shards_removed=0,
        shards_resumed=0, rows_in=rows, rows_table=rows, rows_new=rows, seconds=seconds, slots=slots, balance=balance,
        scoring=Scoring(
            rows=rows, seconds=seconds, worker_seconds=workers, devices=devices, slots=slots, balance=balance, at=1.0
        ),
        model_digest="d", data_version="v",
    )  # fmt: skip


ENCODE = {"load": 1.0, "read": 4.0, "encode": 61.0, "forward": 22.0, "decode": 3.0, "write": 9.0}
FORWARD = {"load": 1.0, "read": 2.0, "encode": 10.0, "forward": 80.0, "decode": 2.0, "write": 5.0}
READ = {"read": 70.0, "encode": 10.0, "forward": 10.0, "write": 10.0}
WRITE = {"read": 10.0, "encode": 10.0, "forward": 20.0, "write": 60.0}
HOOKS = {"preprocessor": 40.0, "postprocessor": 30.0, "forward": 30.0}
EVEN = {"read": 20.0, "encode": 30.0, "forward": 30.0, "write": 20.0}
GPU = ("cuda:0",)
ALL_KEPT = replace(TASK, keep_columns=None)
ROW_HOOK = replace(TASK, hooks=Hooks(row_preprocessor="a:b"))
BATCH_HOOK = replace(TASK, hooks=Hooks(batch_preprocessor="a:b"))
HALF = replace(TASK, execution=Execution(precision="bf16"))

PROFILES = {
    "encode bound": (TASK, report(ENCODE), "more cores in the Spark session"),
    "encode bound before a GPU": (TASK, report(ENCODE, devices=GPU), "`models_per_gpu`"),
    "forward bound": (TASK, report(FORWARD), "more cores"),
    "forward bound on a GPU": (TASK, report(FORWARD, devices=GPU), "`execution: {precision: bf16}`"),
    "forward bound on a GPU with bf16": (HALF, report(FORWARD, devices=GPU), None),
    "read bound": (ALL_KEPT, report(READ), "`keep_columns`"),
    "read bound with few columns": (TASK, report(READ), None),
    "write bound": (ALL_KEPT, report(WRITE), "`keep_columns`"),
    "row hooks": (ROW_HOOK, report(HOOKS), "a batch hook"),
    "batch hooks": (BATCH_HOOK, report(HOOKS), "more cores"),
    "load": (TASK, report({"load": 9.0, "forward": 1.0}), "loads the model once"),
    "nothing stands out": (TASK, report(EVEN), None),
    "the session's start": (TASK, report(ENCODE, session=30.0), "assets that are refreshed in one run share it"),
    "uneven": (TASK, report(ENCODE, balance=2.4), "2.4 times as long as the average"),
    "too short to matter": (TASK, report(ENCODE, score=0.3), None),
    "a DataFrame": (TASK, report({}), None),
}


@pytest.mark.promise("O97")
@pytest.mark.parametrize("name", PROFILES)
def test_a_typical_run_gets_the_advice_that_is_true_for_it(name):
    task, run, advice = PROFILES[name]
    said = time_spent(task, run)
    assert said is not None
    if advice is None:
        assert said.count(". ") == 0, said
    else:
        assert advice in said.partition(". ")[2]


@pytest.mark.promise("O97")
def test_the_sentence_gives_seconds_and_the_largest_shares():
    said = time_spent(TASK, report(ENCODE))
    assert said.startswith(
        "21.0 s: 20.0 s scoring, 0.1 s waiting for the Spark session, 0.9 s planning and commit; in the workers 61% "
        "encoding, 22% the model, 9% writing. "
    )
    assert "the GPU's slots waited 72% of the time" in time_spent(TASK, report(ENCODE, devices=GPU))


def test_a_run_that_scored_nothing_has_nothing_to_say():
    assert time_spent(TASK, replace(report(ENCODE), rows_new=0)) is None
    assert time_spent(TASK, replace(report(ENCODE), scoring=None)) is None


def test_the_settings_that_are_named_exist():
    assert {"models_per_gpu"} <= ModelLoaderResource.model_fields.keys()
    assert {"master"} <= SparkSessionResource.model_fields.keys()
    Execution(precision="bf16")
