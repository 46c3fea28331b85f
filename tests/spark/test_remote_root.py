"""A models root at a URI: copied once per host and version, whatever else happens meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs_here import JobsHere
from onnx import TensorProto, helper
from pyarrow import fs
from tiny_folders import TEXTS, write_classifier
from tiny_onnx import write_linear, write_onnx

from sparktorch_assets.errors import AuditFailedError, HostError, ModelError
from sparktorch_assets.orchestration.assets.model import build_model_asset
from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.model.cache import forget_models
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.spark.ml_predict import PredictPartition
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.stores.cache import cache_folder, published
from sparktorch_assets.stores.remote_root import RemoteRoot
from sparktorch_assets.tasks import (
    AuditPolicy,
    ColumnsOutput,
    MlTask,
    ModelSpec,
    NumericFeature,
    SlotPolicy,
    TextFeature,
)
from sparktorch_assets.tasks.digest import files_digest, model_digest

TASK = MlTask(
    name="mood", model=ModelSpec(weights="mood/v1"), features=[TextFeature(column="text")], max_failed_share=1
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARKTORCH_MODEL_CACHE", str(tmp_path / "cache"))
    forget_models()
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def s3():
    """`upload(folder)` makes the objects of `<bucket>/models` those of a folder, and returns the URI."""
    from moto.server import ThreadedMotoServer

    given = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    store = fs.S3FileSystem(
        endpoint_override=f"{host}:{port}", scheme="http", region="us-east-1", allow_bucket_creation=True
    )
    uri = f"s3://bucket/models?scheme=http&endpoint_override={host}%3A{port}&region=us-east-1"

    def upload(folder):
        store.create_dir("bucket")
        store.delete_dir_contents("bucket", missing_dir_ok=True)
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                with store.open_output_stream(f"bucket/models/{file.relative_to(folder).as_posix()}") as sink:
                    sink.write(file.read_bytes())
        return uri

    yield upload
    server.stop()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


def rows(loader):
    return pa.Table.from_batches(
        predict_map(0, [pa.record_batch({"text": TEXTS})], TASK, model_loader=loader)
    ).to_pylist()


def digest(loader):
    settled_loader, settled = loader.settled(TASK)
    return model_digest(settled, settled_loader.models_root)


@pytest.mark.promise("M192")
def test_models_in_s3_are_those_of_the_folder_that_was_uploaded(s3, tmp_path):
    write_classifier(tmp_path / "models" / "mood" / "v1")
    uri = s3(tmp_path / "models")
    local, remote = ModelLoader(tmp_path / "models"), ModelLoader(uri)
    assert rows(remote) == rows(local)
    assert digest(remote) == digest(local)
    assert remote.find_task(TASK) == local.find_task(TASK)


@pytest.mark.promise("M193")
def test_an_object_is_copied_again_only_when_it_has_changed(s3, tmp_path, cache):
    folder = tmp_path / "models" / "mood" / "v1"
    write_classifier(folder)
    loader = ModelLoader(s3(tmp_path / "models"))
    first = digest(loader)
    (copied,) = cache.glob("copies/*/mood/v1/model.safetensors")
    made = copied.stat()
    assert digest(loader) == first
    assert copied.stat() == made
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": {"0": "x", "1": "y", "2": "zz"}}))
    (folder / "tokenizer_config.json").unlink()
    s3(tmp_path / "models")
    assert digest(loader) != first
    assert loader.find_task(TASK).labels == ("x", "y", "zz")
    assert not list(cache.glob("copies/*/mood/v1/tokenizer_config.json"))


@pytest.mark.promise("M233")
def test_the_weights_of_an_onnx_file_at_a_uri_come_along_and_change_with_it(s3, tmp_path):
    folder = tmp_path / "models" / "net"
    folder.mkdir(parents=True)

    def write(factor):
        weights = {"factor": np.array([factor, factor], dtype=np.float32)}
        nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
        shape = (TensorProto.FLOAT, ["batch", 2])
        beside = {"save_as_external_data": True, "size_threshold": 0, "location": "m.data"}
        (folder / "m.data").unlink(missing_ok=True)
        write_onnx(folder / "m.onnx", nodes, {"x": shape}, {"y": shape}, weights, **beside)

    task = MlTask(
        name="net",
        model=ModelSpec(weights="net/m.onnx"),
        features=[NumericFeature(columns=["a", "b"])],
        output=ColumnsOutput(columns={"y": "list<float>"}),
    )
    write(2)
    loader = ModelLoader(s3(tmp_path / "models"))
    batch = pa.record_batch({"a": [1.0], "b": [3.0]})
    (found,) = predict_map(0, [batch], task, model_loader=loader)
    assert found["y"].to_pylist() == [[2.0, 6.0]]
    local, settled = ModelLoader(tmp_path / "models").settled(task)
    remote, remotely = loader.settled(task)
    assert model_digest(remotely, remote.models_root) == model_digest(settled, local.models_root)
    write(5)  # m.onnx has the same bytes
    s3(tmp_path / "models")
    (found,) = predict_map(0, [batch], task, model_loader=loader)
    assert found["y"].to_pylist() == [[5.0, 15.0]]


def test_the_card_next_to_weights_at_a_uri_is_shown_until_it_is_deleted(s3, tmp_path):
    folder = tmp_path / "models" / "net"
    folder.mkdir(parents=True)
    write_linear(folder / "m.onnx")
    (folder / "card.json").write_text('{"held_out_accuracy": 0.9}')
    task = MlTask(
        name="net",
        model=ModelSpec(weights="net/m.onnx"),
        features=[NumericFeature(columns=["a", "b"])],
        labels=["x", "y", "z"],
    )
    resources = {
        "model_loader": ModelLoaderResource(models_root=s3(tmp_path / "models")),
        "lake": LakeResource(root=str(tmp_path / "lake")),
    }
    asset = build_model_asset(task)

    def shown():
        made = dg.materialize([asset], resources=resources).asset_materializations_for_node("models__net")
        return {name: value.value for name, value in made[0].metadata.items()}

    found = shown()
    assert found["card_held_out_accuracy"] == 0.9
    (folder / "card.json").unlink()
    s3(tmp_path / "models")
    later = shown()
    assert "card_held_out_accuracy" not in later
    assert later["model_digest"] == found["model_digest"]


@pytest.mark.promise("M193")
def test_canaries_at_a_uri_are_those_that_lie_there_now(s3, tmp_path):
    """They are no part of the model, whose digest stays."""
    folder = tmp_path / "models" / "mood"
    write_classifier(folder / "v1")
    task = replace(TASK, audit=AuditPolicy(canaries="mood/canaries.parquet"))
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "in.parquet")

    def score(answers):
        pq.write_table(pa.table({"text": TEXTS, "predicted_class": answers}), folder / "canaries.parquet")
        loader = ModelLoader(s3(tmp_path / "models"))
        options = {"output_table": str(tmp_path / "out"), "model_loader": loader, "slots": SlotPolicy(device="cpu")}
        return score_table(JobsHere(), str(tmp_path / "in.parquet"), task, **options)

    with pytest.raises(AuditFailedError, match=f"the model answers {len(TEXTS)} of {len(TEXTS)} canaries otherwise"):
        score(["none"] * len(TEXTS))
    right = [row["predicted_class"] for row in rows(ModelLoader(tmp_path / "models"))]
    report = score(right)
    assert report.model_digest == digest(ModelLoader(tmp_path / "models"))
    assert report.tally.predicted + report.tally.failed == len(TEXTS)


def test_what_is_not_there_is_the_error_of_a_local_folder(s3, tmp_path):
    write_classifier(tmp_path / "models" / "mood" / "v2")
    with pytest.raises(ModelError, match="there is no folder .*mood/v1"):
        ModelLoader(s3(tmp_path / "models")).settled(TASK)


def test_a_store_that_does_not_answer_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ModelError, match="cannot be (opened|copied).*(Check the address|pyarrow.fs knows)"):
        ModelLoader("nonsense://bucket/models").settled(TASK)


@pytest.mark.promise("M194")
def test_a_worker_uses_the_planned_content_or_none(tmp_path, monkeypatch):
    """The job is made on a host that has a copy, and runs on hosts that have an older one, none, or a later one."""
    source = tmp_path / "models" / "mood" / "v1"
    write_classifier(source)
    (tmp_path / "rows").mkdir()
    pq.write_table(pa.table({"text": [text for text in TEXTS if text is not None]}), tmp_path / "rows" / "a.parquet")
    monkeypatch.setattr("sparktorch_assets.stores.remote_root.is_uri", lambda root: True)  # a local folder as the store
    monkeypatch.setattr("sparktorch_assets.stores.model_store.is_uri", lambda root: True)
    loader = ModelLoader(f"file://{tmp_path}/models")
    hosts = {name: str(tmp_path / name) for name in ("driver", "older", "new")}

    def on(host):
        monkeypatch.setenv("SPARKTORCH_MODEL_CACHE", hosts[host])
        forget_models()

    class OnAnotherHost(JobsHere):
        def __init__(self, host, before=lambda: None):
            super().__init__()
            self._host, self._before = host, before

        def range(self, *given):
            on(self._host)
            self._before()
            return super().range(*given)

    def score(session, out):
        on("driver")
        return score_table(session, str(tmp_path / "rows"), TASK, output_table=str(tmp_path / out), model_loader=loader)

    on("older")
    rows(loader)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"id2label": {"0": "a", "1": "b", "2": "c"}}))
    for number, host in enumerate(("new", "older")):
        assert score(OnAnotherHost(host), f"out{number}").run_tally.predicted > 0

    def change():
        (source / "config.json").write_text(json.dumps(config | {"id2label": {"0": "d", "1": "e", "2": "f"}}))

    hosts["new"] = str(tmp_path / "newest")
    with pytest.raises(ModelError, match="are not those that this run was planned with"):
        score(OnAnotherHost("new", before=change), "out")


@pytest.mark.promise("M194")
def test_a_partition_of_a_dataframe_is_predicted_with_the_drivers_content_or_none(tmp_path, monkeypatch):
    source = tmp_path / "models" / "mood" / "v1"
    write_classifier(source)
    monkeypatch.setattr("sparktorch_assets.stores.remote_root.is_uri", lambda root: True)  # a local folder as the store
    monkeypatch.setattr("sparktorch_assets.stores.model_store.is_uri", lambda root: True)
    loader = ModelLoader(f"file://{tmp_path}/models")
    batch = pa.record_batch({"text": TEXTS})

    def on(host):
        monkeypatch.setenv("SPARKTORCH_MODEL_CACHE", str(tmp_path / host))
        forget_models()

    on("worker")
    rows(loader)  # leaves a copy that will be older than the driver's
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"id2label": {"0": "a", "1": "b", "2": "c"}}))
    on("driver")
    driver, task = loader.settled(TASK)
    worker = PredictPartition(
        task=task,
        loader=driver,
        policy=SlotPolicy(device="cpu"),
        columns=["text"],
        schema=output_schema(task, batch.schema),
        batch_size=None,
        concurrent_slots=1,
        code={},
        planned_files=files_digest(task, driver.models_root),
    )
    on("worker")
    (found,) = worker(iter([batch]))
    assert set(found["predicted_class"].to_pylist()) <= {"a", "b", "c", None}
    (source / "config.json").write_text(json.dumps(config))
    on("a worker without a copy")
    with pytest.raises(ModelError, match="are not those that this run was planned with"):
        list(worker(iter([batch])))


PROGRAM = """
import sys
from pathlib import Path
from sparktorch_assets.stores.remote_root import RemoteRoot

root = RemoteRoot(sys.argv[1], Path(sys.argv[2]))
if "--stuck" in sys.argv:
    import shutil, time

    def stuck(source, sink, *rest):
        sink.write(source.read(1000))
        sink.flush()
        print("in the middle", flush=True)
        time.sleep(600)

    shutil.copyfileobj = stuck
else:
    sys.stdin.read()  # all begin at once
root.fetch(["m"], again=True)
print(sum(file.stat().st_size for file in (root.path / "m").iterdir()))
"""


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )


@pytest.mark.slow
@pytest.mark.promise("M195")
def test_eight_processes_that_fetch_at_once_and_one_that_is_killed_leave_one_whole_copy(tmp_path, cache):
    source = tmp_path / "models" / "m"
    source.mkdir(parents=True)
    for number in range(3):
        (source / f"{number}.bin").write_bytes(os.urandom(2_000_000))
    cache.mkdir(mode=0o700)
    uri = f"file://{tmp_path}/models"
    killed = start(uri, cache, "--stuck")
    assert killed.stdout.readline() == "in the middle\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert list(cache.glob("copies/*/.tmp-*"))
    processes = [start(uri, cache) for _ in range(8)]
    time.sleep(0.5)
    for process in processes:
        process.stdin.close()
    assert [process.stdout.read() for process in processes] == ["6000000\n"] * 8
    assert [process.wait() for process in processes] == [0] * 8
    copy = RemoteRoot(uri, cache).path
    assert not list(copy.glob(".tmp-*"))
    for file in source.iterdir():
        assert (copy / "m" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.promise("M195")
@pytest.mark.parametrize("before", [False, True], ids=["the first copy", "a newer version"])
def test_a_folder_of_which_some_files_are_copied_is_not_taken_for_whole(tmp_path, cache, monkeypatch, before):
    """A worker does not ask whether its files have changed, but it does not load a half of them, either."""
    folder = tmp_path / "models" / "mood"
    folder.mkdir(parents=True)
    monkeypatch.setattr(
        "sparktorch_assets.stores.remote_root.open_file_system", lambda _: (fs.LocalFileSystem(), str(folder.parent))
    )
    root = RemoteRoot("test://models", cache_folder())

    def write(version):
        for name in "abc":
            (folder / name).write_text(f"{name} {version}")

    def here():
        return sorted(path.read_text() for path in (root.path / "mood").iterdir())

    if before:
        write("old")
        root.fetch(["mood"], again=True)
        assert here() == ["a old", "b old", "c old"]
    write("new version")
    copy, copied = RemoteRoot._copy, []

    def killed_at_the_second(self, *arguments):
        copied.append(arguments)
        if len(copied) == 2:
            raise KeyboardInterrupt
        return copy(self, *arguments)

    monkeypatch.setattr(RemoteRoot, "_copy", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        root.fetch(["mood"], again=True)
    assert "a new version" in here() or "b new version" in here() or "c new version" in here()
    root.fetch(["mood"], again=False)
    assert here() == ["a new version", "b new version", "c new version"]


def test_a_copy_that_fails_leaves_nothing_and_one_that_nobody_uses_goes(tmp_path):
    def fails(folder):
        (folder / "half").touch()
        raise ModelError("no")

    with pytest.raises(ModelError, match="no"):
        published(tmp_path / "kind", "a", fails)
    assert list((tmp_path / "kind").iterdir()) == []
    made = []
    published(tmp_path / "kind", "a", lambda folder: made.append("a"))
    published(tmp_path / "kind", "a", lambda folder: made.append("again"))
    assert made == ["a"]
    os.utime(tmp_path / "kind" / "a", (0, 0))
    published(tmp_path / "kind", "b", lambda folder: made.append("b"))
    assert [folder.name for folder in (tmp_path / "kind").iterdir()] == ["b"]


@pytest.mark.promise("M195")
def test_a_cache_that_others_can_write_to_is_refused(tmp_path, monkeypatch):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    monkeypatch.setenv("SPARKTORCH_MODEL_CACHE", str(tmp_path / "open"))
    with pytest.raises(HostError, match="other users can write into.*Set SPARKTORCH_MODEL_CACHE"):
        cache_folder()


@pytest.mark.promise("M195")
def test_the_cache_is_where_the_host_says_else_where_the_loader_does_else_the_users(tmp_path, monkeypatch):
    assert cache_folder("/elsewhere") == tmp_path / "cache"
    monkeypatch.delenv("SPARKTORCH_MODEL_CACHE")
    assert cache_folder(str(tmp_path / "declared")) == tmp_path / "declared"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "sparktorch_assets" / "models"
