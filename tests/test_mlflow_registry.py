"""Models of an MLflow registry: a real tracking server, with its registry in SQLite, on loopback."""

import pickle
import shutil
import socket
import time

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from deltalake import DeltaTable
from mlflow_world import (
    Registry,
    free_port,
    mlflow,
    network,
    no_warnings,
    save_doubling,
    save_pytorch,
    save_transformers,
    tracking_server,
)
from tiny_folders import TEXTS, write_classifier

import sparktorch_assets
from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.orchestration.assets.factory import build_prediction_definitions
from sparktorch_assets.orchestration.assets.model import build_model_asset
from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.model.cache import forget_models
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.stores.mlflow_server import ModelVersion
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature, RegressionOutput, TextFeature
from sparktorch_assets.tasks.digest import model_digest

ROWS = {"a": [0.5, -1.0, 3.0], "b": [1.0, 2.0, 4.0]}


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    with tracking_server(folder) as address:
        yield Registry(address)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARKTORCH_MODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    forget_models()
    return tmp_path / "cache"


def network_task(address, **model):
    trust = {"trust_code": True} | model
    return MlTask(
        name="risk",
        input="rows",
        model=ModelSpec(weights=address, **trust),
        features=[NumericFeature(columns=["a", "b"])],
        output=RegressionOutput(),
    )


def loader_of(registry, tmp_path, **given):
    return ModelLoader(tmp_path, tracking_uri=registry.address, **given)


def predict(loader, task, columns=ROWS):
    return pa.Table.from_batches(predict_map(0, [pa.record_batch(columns)], task, model_loader=loader)).to_pylist()


def digest(loader, task):
    settled_loader, settled = loader.settled(task)
    return model_digest(settled, settled_loader.models_root)


@pytest.mark.slow
@pytest.mark.promise("M186", "M187")
def test_every_form_of_address_gives_the_model_and_a_moved_alias_the_other(registry, tmp_path):
    save_pytorch(tmp_path / "one", serialization_format="pickle")
    save_pytorch(tmp_path / "two", seed=4, serialization_format="pickle")
    first, run = registry.register("risk", tmp_path / "one", alias="champion")
    loader = loader_of(registry, tmp_path)
    addresses = ["models:/risk@champion", f"models:/risk/{first}", "models:/risk/latest", f"runs:/{run}/model"]
    local = MlTask(
        name="risk",
        model=ModelSpec(weights="one", format="mlflow", trust_code=True),
        features=[NumericFeature(columns=["a", "b"])],
        output=RegressionOutput(),
    )
    expected = predict(loader, local)
    assert all(predict(loader, network_task(address)) == expected for address in addresses)
    before = {digest(loader, network_task(address)) for address in addresses}
    assert before == {digest(loader, local)}
    registry.register("risk", tmp_path / "one", alias="champion")  # another version, equal content
    assert digest(loader, network_task("models:/risk@champion")) in before
    registry.register("risk", tmp_path / "two", alias="champion")
    assert digest(loader, network_task("models:/risk@champion")) not in before
    assert predict(loader, network_task("models:/risk@champion")) != expected
    assert predict(loader, network_task(f"models:/risk/{first}")) == expected


@pytest.mark.slow
@pytest.mark.promise("M186")
def test_a_model_that_log_model_has_registered_is_the_same_by_each_of_its_addresses(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.address)
    with no_warnings(), mlflow.start_run() as run:
        logged = mlflow.pytorch.log_model(
            network(), name="model", registered_model_name="logged", pip_requirements=[], serialization_format="pickle"
        )
    loader = ModelLoader(tmp_path)
    addresses = ["models:/logged/1", logged.model_uri, f"models:/{logged.model_id}", f"runs:/{run.info.run_id}/model"]
    found = {address: digest(loader, network_task(address)) for address in addresses}
    assert len(set(found.values())) == 1, found
    expected = network()(torch.tensor(list(zip(*ROWS.values(), strict=True))))[:, 0].tolist()
    values = [row["predicted_value"] for row in predict(loader, network_task("models:/logged/1"))]
    assert values == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
@pytest.mark.promise("M232")
def test_describe_model_names_the_version_that_an_address_means(registry, tmp_path, capsys):
    save_pytorch(tmp_path / "one", serialization_format="pickle")
    version, run = registry.register("described", tmp_path / "one", alias="live")
    sparktorch_assets.describe_model("models:/described@live", tracking_uri=registry.address)
    lines = capsys.readouterr().out.splitlines()
    assert {"mlflow_address: models:/described@live", f"mlflow_version: {version}", f"mlflow_run_id: {run}"} <= set(
        lines
    )
    assert "  opened      as format pickle" in lines
    with pytest.raises(ModelError, match="has no such alias or version"):
        sparktorch_assets.describe_model("models:/described@gone", tracking_uri=registry.address)
    with pytest.raises(TaskError, match="is no address of an MLflow model"):
        sparktorch_assets.describe_model("models:/described/Production", tracking_uri=registry.address)


@pytest.mark.slow
@pytest.mark.promise("M188")
def test_a_worker_fetches_the_version_that_the_driver_resolved(registry, tmp_path, monkeypatch):
    save_doubling(tmp_path / "one")
    save_doubling(tmp_path / "two", factor=3.0)
    registry.register("doubling", tmp_path / "one", alias="live")
    rows = {"a": [1.0, 2.0], "b": ["x", None]}
    task = MlTask(
        name="t", model=ModelSpec(weights="models:/doubling@live", trust_code=True), features=(), max_failed_share=1
    )
    driver, settled = loader_of(registry, tmp_path).settled(task)
    assert {column.name for column in settled.output_columns} == {"product", "longer", "prediction_error"}
    registry.register("doubling", tmp_path / "two", alias="live")
    monkeypatch.setenv("SPARKTORCH_MODEL_CACHE", str(tmp_path / "another host"))
    sent_loader, sent = pickle.loads(pickle.dumps((driver, settled)))
    assert [row["product"] for row in predict(sent_loader, sent, rows)] == [2.0, 4.0]
    worker, _ = sent_loader.settled(sent)
    assert worker.models_root.is_relative_to(tmp_path / "another host")
    assert model_digest(sent, worker.models_root) == model_digest(settled, driver.models_root)
    assert [row["product"] for row in predict(loader_of(registry, tmp_path), task, rows)] == [3.0, 6.0]


@pytest.mark.slow
@pytest.mark.promise("M189")
def test_what_the_registry_does_not_have_is_an_error_that_lists_what_it_has(registry, tmp_path):
    save_doubling(tmp_path / "one")
    first, _ = registry.register("listed", tmp_path / "one", alias="champion")
    loader = loader_of(registry, tmp_path)

    def refused(address, match):
        with pytest.raises(ModelError, match=match):
            loader.settled(network_task(address))

    has = rf"models:/listed.*Its aliases: @champion \(version {first}\); its versions: {first}. Name one of them"
    refused("models:/listed@challenger", has)
    refused("models:/listed/99", has)
    refused("models:/lsted@champion", "has no model 'lsted'; did you mean 'listed'")
    refused("runs:/0123456789abcdef0123456789abcdef/model", "Check that the MLflow server runs")
    registry.client.create_registered_model("empty")
    refused("models:/empty/latest", "Its aliases: none; its versions: none")


@pytest.mark.promise("M190")
def test_without_a_server_a_model_is_an_error_that_names_the_setting(tmp_path):
    with pytest.raises(ModelError, match="it is not known which server has it; set MLFLOW_TRACKING_URI"):
        ModelLoader(tmp_path).settled(network_task("models:/risk@champion"))


@pytest.mark.slow
@pytest.mark.promise("M190")
@pytest.mark.parametrize("listening", [False, True], ids=["refuses", "never answers"])
def test_a_registry_that_does_not_answer_is_an_error_within_seconds(tmp_path, monkeypatch, listening):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", free_port()))
        if listening:
            silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hunter2@127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(ModelError, match="Check that the MLflow server runs") as found:
            ModelLoader(tmp_path).settled(network_task("models:/risk@champion"))
        assert time.monotonic() - started < 60
    assert "hunter2" not in str(found.value)
    assert "http://***@127.0.0.1" in str(found.value)


@pytest.mark.promise("O50")
def test_a_password_in_a_declared_address_is_refused_and_one_of_the_environment_is_not_shown(tmp_path):
    for declare in (
        lambda: ModelLoader(tmp_path, tracking_uri="https://me:hunter2@host"),
        lambda: ModelLoaderResource(tracking_uri="https://me:hunter2@host").build([]),
        lambda: ModelLoader("s3://key:hunter2@bucket/models"),
    ):
        with pytest.raises(TaskError, match=r"\*\*\*@.*contains a password") as found:
            declare()
        assert "hunter2" not in str(found.value)
    version = ModelVersion(
        tracking_uri="https://me:hunter2@host/ml",
        registry_uri="https://me:hunter2@host/ml",
        address="models:/a b@x",
        download_uri="mlflow-artifacts:/1",
        name="a b",
        version="3",
        run_id="0f",
        aliases=("x", "y"),
    )
    assert "hunter2" not in str(dict(version.shown))
    assert version.shown["mlflow_ui"] == "https://host/ml/#/models/a%20b/versions/3"
    assert version.shown["mlflow_run_ui"] == "https://host/ml/#/runs/0f"


@pytest.mark.promise("M191")
def test_loading_a_code_location_asks_no_registry_if_the_task_declares_its_output(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    declared = build_prediction_definitions([network_task("models:/risk@champion")], tmp_path)
    assert len(list(declared.assets or ())) == 2
    texts = [TextFeature(column="text")]
    labelled = MlTask(name="mood", input="t", model=ModelSpec(weights="models:/m@a"), features=texts, labels=["a", "b"])
    build_prediction_definitions([labelled], tmp_path)


@pytest.mark.slow
@pytest.mark.promise("M191")
def test_labels_are_those_of_the_registered_version_if_the_task_declares_none(registry, tmp_path, monkeypatch):
    write_classifier(tmp_path / "own")
    save_transformers(tmp_path / "mood", tmp_path / "own")
    registry.register("mood", tmp_path / "mood", alias="champion")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.address)
    task = MlTask(
        name="mood", input="t", model=ModelSpec(weights="models:/mood@champion"), features=[TextFeature(column="text")]
    )
    *_, prediction = build_prediction_definitions([task], tmp_path).assets or ()
    (spec,) = prediction.specs
    assert spec.metadata["labels"].text == "negative, neutral, positive"
    own = MlTask(name="mood", input="t", model=ModelSpec(weights="own"), features=task.features)
    texts = {"text": [text for text in TEXTS if text]}
    assert predict(ModelLoader(tmp_path), task, texts) == predict(ModelLoader(tmp_path), own, texts)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TaskError, match="a server does not always answer, declare output, labels"):
        build_prediction_definitions([task], tmp_path)


@pytest.mark.slow
@pytest.mark.promise("O51", "O52")
def test_the_model_asset_shows_the_version_and_follows_the_alias(registry, tmp_path):
    for name, seed in (("one", 3), ("two", 4)):
        save_pytorch(tmp_path / name, seed=seed, serialization_format="pickle")
    number, run = registry.register("shown", tmp_path / "one", alias="champion")
    resources = {
        "model_loader": ModelLoaderResource(project_root=str(tmp_path), tracking_uri=registry.address),
        "lake": LakeResource(project_root=str(tmp_path)),
    }
    asset = build_model_asset(network_task("models:/shown@champion"))

    def materialized():
        (event,) = dg.materialize([asset], resources=resources).asset_materializations_for_node("models__risk")
        return event.tags["dagster/data_version"], {name: value.value for name, value in event.metadata.items()}

    version, shown = materialized()
    assert shown["mlflow_address"] == "models:/shown@champion"
    assert (shown["mlflow_model"], shown["mlflow_version"], shown["mlflow_run_id"]) == ("shown", number, run)
    assert shown["mlflow_aliases"] == "champion"
    assert shown["mlflow_tracking_uri"] == registry.address
    assert shown["mlflow_ui"] == f"{registry.address}/#/models/shown/versions/{number}"
    assert shown["mlflow_run_ui"] == f"{registry.address}/#/runs/{run}"
    assert shown["parameters"] == 17
    later, _ = registry.register("shown", tmp_path / "one", alias="champion")
    same, shown = materialized()
    assert (same, shown["mlflow_version"]) == (version, later)
    registry.register("shown", tmp_path / "two", alias="champion")
    assert materialized()[0] != version


@pytest.mark.slow
@pytest.mark.promise("M187", "M188")
def test_a_table_is_scored_again_when_the_alias_means_other_content(spark, registry, tmp_path):
    for name, seed in (("one", 3), ("two", 4)):
        save_pytorch(tmp_path / name, seed=seed, serialization_format="pickle")
    registry.register("table", tmp_path / "one", alias="champion")
    (tmp_path / "rows").mkdir()
    pq.write_table(pa.table(ROWS), tmp_path / "rows" / "a.parquet")
    loader, out = loader_of(registry, tmp_path, cache=tmp_path / "cache"), str(tmp_path / "out")
    task = network_task("models:/table@champion")

    def score():
        return score_table(spark, str(tmp_path / "rows"), task, output_table=out, model_loader=loader)

    def values():
        return sorted(DeltaTable(out).to_pyarrow_table()["predicted_value"].to_pylist())

    assert score().run_tally.predicted == 3
    first = values()
    assert not score().changed
    registry.register("table", tmp_path / "one", alias="champion")
    assert not score().changed
    registry.register("table", tmp_path / "two", alias="champion")
    shutil.rmtree(tmp_path / "cache")
    assert score().run_tally.predicted == 3
    assert values() != first
    assert values() == sorted(row["predicted_value"] for row in predict(loader, task))
