"""What a slot takes of a worker, how Spark is told, and which sessions can be told."""

import logging
from types import SimpleNamespace

import pytest

from sparktorch_assets.errors import HostError
from sparktorch_assets.spark.session import start
from sparktorch_assets.spark.session.gpu.settings import gpu_settings
from sparktorch_assets.spark.session.gpu.worker_share import WorkerShare, share_profile, takes_profiles
from sparktorch_assets.spark.session.slot_count import find_slots
from sparktorch_assets.tasks import SlotPolicy

GPUS = "spark.executor.resource.gpu.amount"


@pytest.mark.promise("O225")
@pytest.mark.parametrize(
    ("share", "tasks", "amounts"),
    [
        ({"slots": 4, "gpus": 2, "cores": 8}, None, (2, 0.5)),
        ({"slots": 4, "gpus": 2, "cores": 6}, None, (1, 0.5)),
        ({"slots": 6, "gpus": 2, "cores": None}, None, (None, 0.333333)),
        ({"slots": 4, "gpus": 2, "cores": 8}, 2, (2, 1.0)),  # one per GPU, not two on the first
        ({"slots": 4, "gpus": 2, "cores": 8}, 3, (2, 0.5)),
        ({"slots": 2, "gpus": 2, "cores": 2}, 100, (1, 1.0)),
        ({"slots": 1, "gpus": 2, "cores": 1}, None, (1, 1.0)),
        (
            {"slots": 4, "gpus": 0, "cores": 16},
            None,
            (4, 0.0),
        ),  # Spark does not know of the GPUs: cores bound the tasks
    ],
)
def test_amounts(share, tasks, amounts):
    """Cores and GPUs are divided among the slots; three models take less than a third each, or Spark would run two."""
    assert WorkerShare(**share).amounts(tasks) == amounts
    gpu = amounts[1]
    if gpu:
        assert int(1 / gpu) * share["gpus"] >= min(share["slots"], tasks or share["slots"])


def session(**conf):
    """A session as far as its settings go."""
    return SimpleNamespace(conf={"spark.executor.cores": "8", "spark.cores.max": "16", **conf})


@pytest.mark.promise("O225")
@pytest.mark.parametrize(
    ("conf", "policy", "share"),
    [
        ({"spark.master": "spark://m:7077", GPUS: "2"}, {}, WorkerShare(slots=4, gpus=2, cores=8)),
        ({"spark.master": "spark://m:7077", GPUS: "2"}, {"models_per_gpu": 3}, WorkerShare(slots=6, gpus=2, cores=8)),
        ({"spark.master": "spark://m:7077"}, {"gpus_per_worker": 1}, WorkerShare(slots=2, gpus=0, cores=8)),
        ({"spark.master": "spark://m:7077", GPUS: "2"}, {"device": "cpu"}, None),
        ({"spark.master": "spark://m:7077"}, {}, None),
        ({"spark.master": "spark://m:7077", GPUS: "2", "spark.task.resource.gpu.amount": "0.5"}, {}, None),
        ({"spark.master": "local[8]"}, {"gpus_per_worker": 2}, None),
        ({"spark.master": "yarn", GPUS: "1", "spark.executor.instances": "3"}, {}, WorkerShare(slots=2, gpus=1, cores=8)),
    ],
)  # fmt: skip
def test_which_jobs_ask_for_a_share(conf, policy, share):
    """Those on GPUs, unless the session's own amounts say how many tasks share one."""
    assert find_slots(session(**conf), SlotPolicy(**policy)).share == share


@pytest.mark.promise("O228")
def test_local_mode_gives_a_gpu_no_more_tasks_than_slots():
    """Its tasks cannot be told how many cores they take, so there are no more of them."""
    found = find_slots(session(**{"spark.master": "local[16]"}), SlotPolicy(gpus_per_worker=1))
    assert (found.slots, found.crowded) == (2, True)
    assert not find_slots(session(**{"spark.master": "local[2]"}), SlotPolicy(gpus_per_worker=1)).crowded
    assert not find_slots(session(**{"spark.master": "local[16]"}), SlotPolicy(device="cpu")).crowded


@pytest.mark.promise("O229")
def test_what_a_session_cannot_do_is_said_by_name(caplog):
    """Fewer cores than models, and a manager without profiles."""
    with caplog.at_level(logging.WARNING):
        find_slots(session(**{"spark.master": "spark://m:7077", "spark.executor.cores": "1", GPUS: "2"}), SlotPolicy())
        assert "fewer than the 2 models on each of its 2 GPUs" in caplog.text
        assert "some GPUs stay idle. Give a worker cores for 4 tasks" in caplog.text
        found = find_slots(
            session(**{"spark.master": "other:1", "spark.executor.instances": "2", GPUS: "2"}), SlotPolicy()
        )
    assert found.share is None
    assert "spark.master=other:1 has no resource profiles for jobs" in caplog.text
    assert [takes_profiles(master) for master in ("local[2]", "other:1")] == [False, False]


def test_nothing_is_asked_of_spark_where_nothing_is_shared():
    assert share_profile(session(), None) is None
    assert share_profile(session(), WorkerShare(slots=2, gpus=0, cores=None)) is None


@pytest.mark.promise("O221")
@pytest.mark.parametrize(
    ("master", "more"),
    [
        ("spark://host:7077", set()),
        ("yarn", set()),
        ("k8s://https://host", {"spark.executor.resource.gpu.vendor"}),
        (
            "local-cluster[2,4,1024]",
            {"spark.worker.resource.gpu.amount", "spark.worker.resource.gpu.discoveryScript"},
        ),
    ],
)
def test_settings_of_a_session_with_gpus(master, more):
    """Executors get GPUs, tasks none of their own accord; a failed task goes elsewhere."""
    found = gpu_settings(master, 2)
    assert found[GPUS] == "2"
    assert found["spark.executor.resource.gpu.discoveryScript"].endswith("discover-gpus.sh")
    assert found["spark.excludeOnFailure.enabled"] == "true"
    assert "spark.task.resource.gpu.amount" not in found
    usual = {GPUS, "spark.executor.resource.gpu.discoveryScript", "spark.excludeOnFailure.enabled"}
    assert found.keys() - usual == more


@pytest.mark.promise("O229")
def test_sessions_that_schedule_no_gpus_refuse_them(monkeypatch):
    """In local mode, Spark would wait for ever; a Connect server has settings of its own."""
    monkeypatch.setattr(start, "prepare_java", lambda: pytest.fail("looked for Java"))
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    for master in ("local[2]", "local"):
        with pytest.raises(HostError, match=r"gpus_per_worker=2 with master='local.*schedules no GPUs in local mode"):
            start.start_session(master=master, gpus_per_worker=2)
    with pytest.raises(
        HostError, match=r"the server's own settings.*Start it with spark.executor.resource.gpu.amount=2"
    ):
        start.start_session(remote="sc://host", gpus_per_worker=2)
    with pytest.raises(HostError, match="gpus_per_worker=0 must be above 0"):
        gpu_settings("yarn", 0)
