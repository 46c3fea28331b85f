"""Spark's workers compute on a real GPU: in local mode, where they share it by leases; on a standalone cluster that assigns
it to them; and in a Dagster run. What is lost with a killed process or a failed kernel is computed again, or said."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cuda_nets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from deltalake import DeltaTable
from lone_files import lone_file

from sparktorch_assets import (
    DeviceError,
    MlTask,
    ModelLoader,
    ModelSpec,
    NumericFeature,
    SlotPolicy,
    score_table,
    spark_ml_predict,
    start_session,
    table_version,
)
from sparktorch_assets.spark.session.gpu.discovery import discovery_script
from sparktorch_assets.spark.session.slot_count import find_slots
from sparktorch_assets.tasks import BatchPolicy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    # Python 3.12 deprecates a fork in a process with threads, which CUDA has made once another test has computed.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

HERE = Path(__file__).parent
TESTS = HERE.parent
ROOT = TESTS.parent
MODELS_PER_GPU = 2
CUDA = SlotPolicy(device="cuda", models_per_gpu=MODELS_PER_GPU)
LABELS = ("x", "y", "z")


def gpus():
    return torch.cuda.device_count()


def slots():
    return MODELS_PER_GPU * gpus()


def master():
    """More cores than there are slots, so that a job has to have fewer tasks than cores."""
    return f"local[{2 * slots() + 2}]"


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    """A local session with default settings, whose workers have leases of their own: other tests of this process may still
    hold one of the host's."""
    if not torch.cuda.is_available():
        pytest.skip("these jobs compute on an NVIDIA GPU, and torch sees none here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("leases")))
        warehouse = str(tmp_path_factory.mktemp("warehouse"))
        session = start_session(
            master=master(),
            app_name="tests of GPUs",
            config={"spark.driver.memory": "1g", "spark.sql.warehouse.dir": warehouse},
        )
    session.sparkContext.addPyFile(cuda_nets.__file__)
    yield session
    session.stop()


class Lake:
    """A source folder, and tables that are scored from it."""

    def __init__(self, root):
        self.root, self.source, self.notes = root, root / "source", root / "notes"
        self.source.mkdir()
        self.notes.mkdir()

    def write(self, files, rows_per_file):
        """Files that each become a shard. With this seed and one GPU, a row's two best classes differ by 8e-5 or more, which
        is beyond the rounding of float32; so they do with the factors below."""
        rng = np.random.default_rng(16)
        for number in range(files):
            columns = {name: rng.normal(size=rows_per_file).astype("f4") for name in ("a", "b")}
            ids = np.arange(number * rows_per_file, (number + 1) * rows_per_file)
            pq.write_table(pa.table({"id": ids, **columns}), self.source / lone_file(f"s{number}"))

    def task(self, factory="noting", **arguments):
        return MlTask(
            name="numbers",
            input="source",
            model=ModelSpec(factory=f"cuda_nets:{factory}", arguments={"notes": str(self.notes), **arguments}),
            features=[NumericFeature(columns=["a", "b"])],
            labels=LABELS,
            batch=BatchPolicy(batch_size=100),
        )

    def score(self, spark, task, table="table", slots=CUDA):
        return score_table(
            spark, str(self.source), task, output_table=str(self.root / table),
            model_loader=ModelLoader(self.root / "models"), slots=slots,
        )  # fmt: skip

    def rows(self, table="table"):
        return DeltaTable(self.root / table).to_pyarrow_table().sort_by("id")

    def check(self, table="table"):
        """Every row once, with the class that the CPU gives and a confidence within 1e-5 of the CPU's."""
        found, given = self.rows(table), pq.read_table(self.source).sort_by("id")
        assert found["id"].to_pylist() == given["id"].to_pylist()
        assert found["prediction_error"].null_count == len(found)
        check_answers(found, given)

    def processes(self):
        """Process -> what it has noted of itself."""
        return {int(file.stem): json.loads(file.read_text()) for file in self.notes.glob("*.process")}

    def batches(self):
        """Device -> its batches, as (process, begin, end)."""
        found = defaultdict(list)
        for file in self.notes.glob("*.batches"):
            for line in file.read_text().splitlines():
                device, began, ended = line.split()
                found[device].append((int(file.stem), float(began), float(ended)))
        return found


def check_answers(found, given):
    layers = cuda_nets.Noting(".", 1).layers
    x_NF = torch.tensor(np.stack([given[name].to_numpy() for name in ("a", "b")], axis=1))
    with torch.inference_mode():
        confidence_N, class_N = layers(x_NF).softmax(1).max(1)
    assert found["predicted_class"].to_pylist() == [LABELS[place] for place in class_N.tolist()]
    np.testing.assert_allclose(found["confidence"].to_numpy(), confidence_N.numpy(), atol=1e-5, rtol=0)


def most_at_once(batches):
    """The largest number of processes that computed at the same moment."""
    steps = sorted(itertools.chain.from_iterable(((began, 1), (ended, -1)) for _, began, ended in batches))
    return max(itertools.accumulate(change for _, change in steps))


def devices():
    return {f"cuda:{gpu}" for gpu in range(gpus())}


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path)


def test_slots_follow_the_gpus_and_answers_are_those_of_the_cpu(spark, lake):
    """Two models per GPU make two slots of each, on a host with more cores: a DataFrame of eight partitions per slot is
    predicted in as many tasks as there are slots, with the classes of the CPU."""
    counted = find_slots(spark, CUDA)
    assert (counted.slots, counted.certainty, counted.crowded) == (slots(), "exact", True)
    assert find_slots(spark, SlotPolicy(device="cpu")).slots == 2 * slots() + 2
    frame = spark.range(0, 4000, 1, 8 * slots()).selectExpr(
        "id", "cast(id * 7867 % 4001 / 1000.0 - 2 as float) a", "cast(id * 104711 % 3989 / 1000.0 - 2 as float) b"
    )
    tables = {}
    for device in ("cuda", "cpu"):
        policy = SlotPolicy(device=device, models_per_gpu=MODELS_PER_GPU)
        predicted = spark_ml_predict(
            spark, frame, lake.task(), model_loader=ModelLoader(lake.root / "models"), slots=policy
        )
        if device == "cuda":
            assert predicted.rdd.getNumPartitions() == slots()
        tables[device] = pa.Table.from_pylist([row.asDict() for row in predicted.collect()]).sort_by("id")
        # The first pass computed on GPUs alone, and the second one on the CPU.
        assert set(lake.batches()) == (devices() if device == "cuda" else devices() | {"cpu"})
    on_gpu, on_cpu = tables["cuda"], tables["cpu"]
    assert on_gpu["id"].to_pylist() == on_cpu["id"].to_pylist() == list(range(4000))
    assert set(on_gpu["predicted_class"].to_pylist()) == set(LABELS)
    assert on_gpu["predicted_class"].to_pylist() == on_cpu["predicted_class"].to_pylist()
    np.testing.assert_allclose(on_gpu["confidence"].to_numpy(), on_cpu["confidence"].to_numpy(), atol=1e-5, rtol=0)
    check_answers(on_gpu, frame.toArrow().sort_by("id"))


def test_two_tables_at_once_share_the_gpu(spark, lake):
    """Two jobs have twice as many tasks as the GPU has leases: no more processes than these ever compute on it at once, but
    as many as that do. Both tables are exact, and then have nothing to do."""
    lake.write(files=3 * slots(), rows_per_file=500)
    task = lake.task(together=slots())
    names = ("one", "other")
    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(lambda name: lake.score(spark, task, name), names))
    for name, report in zip(names, reports, strict=True):
        lake.check(name)
        assert report.rows_table == report.rows_new == report.tally.predicted == 1500 * slots()
        assert report.slots == slots()
        assert set(report.tally.devices) <= devices()
        assert sum(report.tally.devices.values()) == 1500 * slots()
    found = lake.batches()
    assert set(found) == devices()
    for batches in found.values():
        assert most_at_once(batches) == MODELS_PER_GPU
    for name in names:
        again = lake.score(lambda: pytest.fail("a session was asked for"), task, name)
        assert (again.changed, again.version, again.shards_new, again.rows_new) == (False, 0, 0, 0)
    assert sum(map(len, lake.batches().values())) == sum(map(len, found.values()))


def test_workers_are_forked_from_a_process_that_never_opened_the_gpu(spark, lake):
    """They are children of the daemon that imports torch for them, and compute on the GPU nevertheless."""
    lake.write(files=slots(), rows_per_file=200)
    report = lake.score(spark, lake.task())
    lake.check()
    assert set(report.tally.devices) <= devices()
    found = lake.processes()
    assert found
    for said in found.values():
        assert "sparktorch_assets.spark.worker_daemon" in said["parent"], why_no_daemon()
        assert said["parent_threads"] == 1
        assert not said["parent_gpus"]
        assert said["addresses"] == []


def why_no_daemon():
    """What the daemon says of this host."""
    program = "from sparktorch_assets.spark import worker_daemon; print(worker_daemon._import_for_workers())"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip() + done.stderr[-2000:]


def test_a_worker_that_is_killed_on_the_gpu_costs_no_row(spark, lake):
    """As the kernel's killer does when memory is short: the process ends with its lease and its memory of the GPU."""
    lake.write(files=2 * slots(), rows_per_file=300)
    marker = lake.root / "killed"
    report = lake.score(spark, lake.task("dies_once", marker=str(marker)))
    lake.check()
    assert report.rows_table == report.tally.predicted == 600 * slots()
    assert set(report.tally.devices) <= devices()
    killed = int(marker.read_text())
    computed = {process for batches in lake.batches().values() for process, _, _ in batches}
    assert killed in computed  # it had begun
    assert computed - {killed}


@pytest.mark.promise("O227")
def test_a_kernel_that_fails_ends_the_refresh_and_a_new_process_goes_on(spark, lake):
    """An index beyond the user's table of embeddings fails an assertion on the GPU, after which that process has lost
    CUDA. The refresh says so, and the table stays as it was; without that row, the same session refreshes it."""

    def write(name, *tokens):
        table = pa.table({"id": [f"{name}-{row}" for row in range(len(tokens))], "token": pa.array(tokens, pa.int64())})
        path = lake.source / lone_file(name)
        pq.write_table(table, path)
        return path

    task = MlTask(
        name="looks",
        input="source",
        model=ModelSpec(factory="cuda_nets:looks", arguments={"notes": str(lake.notes)}),
        features=[NumericFeature(columns=["token"])],
        labels=["even", "odd"],
        batch=BatchPolicy(batch_size=32),
    )
    write("first", *range(100))
    assert set(lake.score(spark, task).tally.devices) <= devices()
    before = lake.rows()
    bad = write("bad", *range(50), 100, *range(50, 100))
    with pytest.raises(DeviceError, match="the GPU failed: "):
        lake.score(spark, task)
    assert table_version(str(lake.root / "table")) == 0
    assert lake.rows() == before
    failed_at = time.time()
    lost = {int(file.stem) for file in lake.notes.glob("*.bad")}
    assert lost
    bad.unlink()
    write("better", *range(100))
    report = lake.score(spark, task)
    assert (report.version, report.rows_table, report.tally.failed) == (1, 200, 0)
    assert set(report.tally.devices) <= devices()
    assert lake.rows()["id"].to_pylist() == sorted(
        f"{name}-{row}" for name in ("better", "first") for row in range(100)
    )
    later = {process for batches in lake.batches().values() for process, began, _ in batches if began > failed_at}
    assert later
    assert not later & lost


def test_a_dagster_run_says_on_which_gpu_it_computed(spark, lake):
    """The assets that the package builds, from Parquet files to predictions, in this process."""
    import dagster as dg

    from sparktorch_assets import (
        InputTable,
        LakeResource,
        ModelLoaderResource,
        SparkSessionResource,
        build_input_asset,
        build_prediction_assets,
    )

    lake.write(files=slots(), rows_per_file=300)
    table = InputTable(
        name="source",
        source=str(lake.source / "*.parquet"),
        format="parquet",
        columns={"id": "long", "a": "float", "b": "float"},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [build_input_asset(table), *build_prediction_assets([lake.task()])],
            instance=instance,
            resources={
                "spark": SparkSessionResource(master=master()),
                "model_loader": ModelLoaderResource(
                    project_root=str(lake.root), models_root="models", device="cuda", models_per_gpu=MODELS_PER_GPU
                ),
                "lake": LakeResource(project_root=str(lake.root), root="lake"),
            },
        )
    assert done.success
    assert all(check.passed for check in done.get_asset_check_evaluations())
    (made,) = (
        event for event in done.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["predictions", "numbers"])
    )  # fmt: skip
    metadata = made.materialization.metadata
    named = metadata["device"].value.split(", ")
    assert named
    assert set(named) <= devices()
    assert metadata["slots"].value == slots()
    assert metadata["dagster/row_count"].value == 300 * slots()
    lake.check("lake/predictions/numbers")


@pytest.fixture(scope="module")
def cluster_run(tmp_path_factory):
    """The folder that a program has scored tables in, on a standalone master with one worker that has this host's GPUs, and
    what it said."""
    if not torch.cuda.is_available():
        pytest.skip("this cluster assigns NVIDIA GPUs, and torch sees none here")
    from hosts import Host
    from standalone import standalone

    class ThisHost(Host):
        """Programs know where packages, Java and GPUs are as this process does."""

        def _environment(self, env: Mapping[str, str]) -> dict[str, str]:
            kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
            return kept | {"PYTHONPATH": python_path, "SPARK_LOCAL_IP": "127.0.0.1"} | env

    folder = tmp_path_factory.mktemp("standalone")
    places = [ROOT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    python_path = os.pathsep.join(map(str, places))
    lake = Lake(folder)
    lake.write(files=4 * slots(), rows_per_file=300)
    (folder / "shared").mkdir()
    (folder / "leases").mkdir()
    host = ThisHost("here", "127.0.0.1", shared=folder / "shared", logs=folder)
    environment = {
        "SPARK_WORKER_OPTS": f"-Dspark.worker.resource.gpu.amount={gpus()} "
        f"-Dspark.worker.resource.gpu.discoveryScript={discovery_script()}",
        "PYSPARK_PYTHON": sys.executable,
        "TMPDIR": str(folder / "leases"),
    }
    worker = ThisHost("worker", "127.0.0.1", shared=folder / "shared", logs=folder)
    with standalone([host, worker], folder, cores=4 * gpus(), **environment) as cluster:
        command = [sys.executable, HERE / "cuda_run.py", cluster.url, folder, str(gpus())]
        done = host.run(command, timeout=150, PYTHONPATH=os.pathsep.join([python_path, str(HERE)]))
        assert done.returncode == 0, done.stderr + cluster.said()
        yield lake, json.loads(done.stdout)


@pytest.mark.cluster
@pytest.mark.jvm
@pytest.mark.parametrize("way", ["job", "session"])
def test_a_cluster_assigns_its_gpus_and_tasks_use_them(cluster_run, way):
    """Spark finds them with the discovery script, and gives a task a share: as the job asks for it, or as the session's own
    `spark.task.resource.gpu.amount` says. The task takes the GPU with that address, and no lease."""
    lake, said = cluster_run
    rows = 1200 * slots()
    assert said[way]["slots"] == slots()
    assert said[way]["rows"] == rows
    assert set(said[way]["devices"]) == devices()
    assert sum(said[way]["devices"].values()) == rows
    lake.check(way)
    lake.notes = lake.root / f"{way}.notes"
    addresses = [noted["addresses"] for noted in lake.processes().values()]
    assert addresses
    assert all(len(assigned) == 1 for assigned in addresses)
    for batches in lake.batches().values():
        assert most_at_once(batches) <= MODELS_PER_GPU
    assert not list((lake.root / "leases").glob("sparktorch-gpu-*/gpu-*"))
