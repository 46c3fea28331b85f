"""Which model objects a process shares and how many it keeps."""

import dataclasses
import importlib
import sys

import pyarrow as pa
import pytest
import torch

from sparktorch_assets.errors import HostError, ModelError, TaskError
from sparktorch_assets.predict import loader as loader_module
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.local import LocalPredictor
from sparktorch_assets.predict.model import cache as model_cache
from sparktorch_assets.predict.partition import predict_batches, predict_map
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.tasks import (
    BatchPolicy,
    ClassificationOutput,
    Hooks,
    MlTask,
    ModelSpec,
    NumericFeature,
    RowFilter,
    TextFeature,
    TokenClassificationOutput,
)

TASK = MlTask(
    name="t",
    input="table",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    features=[NumericFeature(columns=["x"])],
    labels=["0", "1"],
)


class Named(ModelLoader):
    """A loader with state."""

    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.scale = 1


@pytest.fixture
def brought_up(monkeypatch):
    """The tasks for which a model was brought up."""
    found = []
    real = ModelLoader.bring_up_model

    def bring_up_model(self, task, *given):
        found.append(task)
        return real(self, task, *given)

    monkeypatch.setattr(loader_module.ModelLoader, "bring_up_model", bring_up_model)
    return found


@pytest.mark.parametrize("kind", [ModelLoader, Named])
def test_partitions_hooks_columns_and_batches_share_one_model(kind, tmp_path, brought_up):
    """Twelve partitions of a table bring the model up once, whatever else of the task differs."""
    rows = pa.record_batch({"x": [1.0, -1.0], "month": [1, 2]})
    for month in range(12):
        task = dataclasses.replace(TASK, where=[RowFilter(column="month", value=month)], keep_columns=["x"])
        if month % 2:
            task = dataclasses.replace(task, hooks=Hooks(row_preprocessor=lambda row: row))
        if month % 3:
            task = dataclasses.replace(task, batch=BatchPolicy(batch_size=month))
        predictor = LocalPredictor(task, model_loader=kind(tmp_path))
        found = list(predict_batches([rows], predictor=predictor, schema=output_schema(task, rows.schema)))
        assert sum(batch.num_rows for batch in found) == (month in (1, 2))
    assert len(brought_up) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ["1", "0"]},
        {"features": [NumericFeature(columns=["y"])]},
        {"features": [NumericFeature(columns=["x"], fill=0.0)]},
        {"model": ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "RevealsBatch"})},
    ],
)
def test_what_makes_another_model_object_is_in_the_key(change, tmp_path):
    loader = ModelLoader(tmp_path)
    assert loader.cache_key(dataclasses.replace(TASK, **change)) != loader.cache_key(TASK)


def test_another_kind_of_output_gets_encoders_and_a_network_of_its_own(tmp_path):
    """What is kept of a text for its spans is not kept for a class, which was declared first here."""
    features = [TextFeature(column="t")]
    model, labels = ModelSpec(factory="span_nets:tagger"), ["O", "B-A", "I-A", "B-B"]
    task = dataclasses.replace(TASK, model=model, features=features, labels=labels, output=TokenClassificationOutput())
    loader = ModelLoader(tmp_path)
    with pytest.raises(ModelError, match="logits"):
        list(
            predict_map(0, [{"t": "ab"}], dataclasses.replace(task, output=ClassificationOutput()), model_loader=loader)
        )
    (row,) = predict_map(0, [{"t": "ab"}], task, model_loader=loader)
    assert all(span["text"] == "ab"[span["start"] : span["end"]] for span in row["spans"])
    assert row["spans"]


def test_a_subclass_may_choose_by_the_tasks_name_and_its_own_state(tmp_path):
    one, two = Named(tmp_path), Named(tmp_path)
    assert one.cache_key(TASK) == two.cache_key(TASK) != ModelLoader(tmp_path).cache_key(TASK)
    assert one.cache_key(TASK) != one.cache_key(dataclasses.replace(TASK, name="other"))
    two.scale = 2
    assert one.cache_key(TASK) != two.cache_key(TASK)


@pytest.mark.parametrize(
    "give",
    [
        lambda network: {"network": network},
        lambda network: {"networks": [network, network]},
        lambda network: {"state": network.state_dict()},
        lambda network: {"inner": {"deeper": [network]}},
        lambda network: {"array": network.weight.detach().numpy()},
    ],
)
def test_a_users_model_object_weighs_what_can_be_found_in_it(give):
    """Objects with `predict(rows)` hold their networks somewhere; the cache's limit counts them."""
    model_cache.forget_models()
    brought_up = []

    class Users:
        pass

    def bring_up():
        model = Users()
        model.__dict__ |= give(torch.nn.Linear(100, 100, bias=False))  # 40,000 bytes
        brought_up.append(model)
        return model

    for key in ("a", "b", "a"):
        model_cache.cached_model(key, bring_up, max_bytes=100_000)
    assert len(brought_up) == 2
    for key in ("c", "a", "b"):  # "c" makes 120,000 bytes: "b" goes
        model_cache.cached_model(key, bring_up, max_bytes=100_000)
    assert len(brought_up) == 4


def test_the_number_of_models_has_a_bound_where_nothing_can_be_measured():
    model_cache.forget_models()
    brought_up = []
    for key in (*range(model_cache.MAX_MODELS + 1), 0):
        model_cache.cached_model(key, lambda key=key: brought_up.append(key) or object())
    assert brought_up == [*range(model_cache.MAX_MODELS + 1), 0]


@dataclasses.dataclass
class Option:
    """A value in a loader's state."""

    value: object


@pytest.mark.parametrize(
    ("one", "two"),
    [(1, 2), (1, 1.0), (1, True), ("1", 1), (None, 0), (b"a", "a"), ([1], (1,)), ({"a": 1}, {"a": 2}), ({1, 2}, {1, 3}), (Option(1), Option(2))],
)  # fmt: skip
def test_a_loaders_state_counts(one, two, tmp_path):
    """Values of every plain type, and their types."""

    def digest(value):
        loader = Named(tmp_path)
        loader.scale = value
        return loader.digest(TASK)

    assert digest(one) != digest(two)
    assert digest(one) == digest(one)
    assert digest({"x": one, "y": two}) == digest({"y": two, "x": one})


def test_places_and_devices_do_not_count(tmp_path):
    one = Named(tmp_path / "one", tasks=[TASK], device="cpu")
    two = Named(tmp_path / "two")
    one.scale, two.scale = tmp_path / "one" / "x.bin", tmp_path / "two" / "x.bin"
    assert one.digest(TASK) == two.digest(TASK)
    assert ModelLoader(tmp_path, device="cpu").digest(TASK) == ModelLoader().digest(TASK) == ""


def cyclic():
    found = []
    found.append(found)
    return found


@pytest.mark.parametrize("value", [lambda: 1, object(), torch.nn.Linear(1, 1), [{"a": object()}], cyclic()])
def test_state_that_cannot_be_compared_is_refused_by_name(value, tmp_path):
    loader = Named(tmp_path)
    loader.scale = value
    with pytest.raises(TaskError, match="model_loader: Named.*__getstate__"):
        loader.digest(TASK)
    assert loader.cache_key(TASK) is None  # it works, and shares nothing


def test_state_that_a_class_leaves_out_does_not_count(tmp_path):
    class Client(Named):
        def __getstate__(self):
            return {"scale": self.scale}

    Client.__qualname__ = "Client"
    one, two = Client(tmp_path), Client(tmp_path)
    one.client, two.client = object(), object()
    assert one.digest(TASK) == two.digest(TASK)
    two.scale = 3
    assert one.digest(TASK) != two.digest(TASK)


def test_a_class_without_a_name_is_refused_where_tables_are_kept(tmp_path):
    class Local(ModelLoader):
        pass

    with pytest.raises(TaskError, match="defined in a function, a script or a notebook"):
        Local(tmp_path).digest(TASK)
    assert "t:code_version" in Local(tmp_path).code(TASK)  # spark_ml_predict keeps nothing


def test_a_class_that_was_edited_after_it_was_imported_is_refused_on_the_driver(tmp_path, monkeypatch):
    """The digest would be the new file's, and what runs the old class."""
    monkeypatch.syspath_prepend(tmp_path)
    text = "from sparktorch_assets.predict.loader import ModelLoader\nclass Own(ModelLoader):\n    version = {}\n"
    (tmp_path / "own_loader.py").write_text(text.format(1))
    own = importlib.import_module("own_loader").Own(tmp_path)
    assert "own_loader" in own.code(TASK)
    (tmp_path / "own_loader.py").write_text(text.format(22))
    with pytest.raises(HostError, match="another version of module 'own_loader'"):
        own.code(TASK)
    del sys.modules["own_loader"]


def test_a_model_of_code_that_was_edited_after_its_import_is_not_kept(tmp_path, monkeypatch):
    """It would be found again once the module is reloaded, when its files and what is imported agree."""
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "reloaded_network.py"

    def write(factor):
        source.write_text(
            f"import torch\n"
            f"class Net(torch.nn.Module):\n"
            f"    def forward(self, x): return torch.cat([x * {factor}, -x], dim=1)\n"
            f"def build(path, device): return Net()\n"
        )

    def predict():
        task = dataclasses.replace(TASK, model=ModelSpec(factory="reloaded_network:build"))
        predictor = LocalPredictor(task, model_loader=ModelLoader(tmp_path))
        rows = pa.record_batch({"x": [1.0]})
        (found,) = predict_batches([rows], predictor=predictor, schema=output_schema(task, rows.schema))
        return found["predicted_class"].to_pylist()

    write("1.0")
    assert predict() == ["0"]
    write("-2.0")
    assert predict() == ["0"]  # what is imported is what runs
    module = sys.modules["reloaded_network"]
    importlib.reload(module)
    assert predict() == ["1"]
    del sys.modules["reloaded_network"]
