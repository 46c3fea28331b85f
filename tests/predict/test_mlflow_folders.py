"""Folders with an `MLmodel`: the same numbers as from MLflow itself, with failures, batches and trust of our own."""

import json
import shutil
import sys

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pytest
import torch
import transformers
import yaml
from mlflow_world import POISON, infer_signature, network, no_warnings, save_doubling, save_pytorch, save_transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tiny_folders import (
    GOOD,
    NULL,
    POISONED,
    TEXTS,
    rows_of_texts,
    write_classifier,
    write_network,
    write_tokenizer,
)
from tiny_onnx import write_linear

import sparktorch_assets
from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import (
    ColumnsOutput,
    MlTask,
    ModelSpec,
    NumericFeature,
    RegressionOutput,
    TextFeature,
)
from sparktorch_assets.tasks.digest import model_digest

NAMED = f"""
import pandas as pd
NAMES = {{1.0: "small", 400.0: "large", -3.0: None, 0.0: ""}}
class Model:
    def predict(self, frame, params=None):
        if (frame["a"] == {POISON}).any():
            raise ValueError("poisoned")
        return pd.DataFrame({{"size": [NAMES[value] for value in frame["a"]], "square": frame["a"] ** 2}})
def _load_pyfunc(path):
    return Model()
"""
"""A model with a column of texts and one of numbers, which raises for a whole batch with the poison in it."""
UNNAMED = """
import numpy as np
class Model:
    def predict(self, frame, params=None):
        return np.where(frame["a"] < 100, "small", "large")
def _load_pyfunc(path):
    return Model()
"""
_DOUBLINGS = "".join(f"b{n + 1}: &b{n + 1} [*b{n}, *b{n}]\n" for n in range(30))
BOMB = f"b0: &b0 [x, x]\n{_DOUBLINGS}flavors: {{pytorch: {{model_data: *b30}}}}\n"
"""A list of a billion entries, in one kilobyte."""
NUMBERS = {"a": [0.5, -1.0, None, 3.0], "b": [1.0, 2.0, 3.0, 4.0]}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARKTORCH_MODEL_CACHE", str(tmp_path / "cache"))


def save_answering(folder, answers, outputs):
    """A pyfunc model of the column `a`, whose code is this text."""
    folder.mkdir()
    (folder / "answers.py").write_text(answers)
    inputs = [{"name": "a", "type": "double"}]
    content = {
        "flavors": {"python_function": {"loader_module": "answers", "code": ".", "env": {}}},
        "signature": {"inputs": json.dumps(inputs), "outputs": outputs and json.dumps(outputs), "params": None},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(content))
    sys.modules.pop("answers", None)


def mlflow_task(weights="m", features=(), **fields):
    trust = fields.pop("trust", {"trust_code": True})
    return MlTask(
        name="t",
        model=ModelSpec(weights=weights, format="mlflow", **trust),
        features=features,
        max_failed_share=1,
        **fields,
    )


def predict(root, task, columns, batch_size=None):
    batches = predict_map(0, [pa.record_batch(columns)], task, batch_size, model_loader=ModelLoader(root))
    return pa.Table.from_batches(batches).to_pylist()


def digest_of_model(root, task):
    loader, settled = ModelLoader(root).settled(task)
    return model_digest(settled, loader.models_root)


@pytest.mark.promise("M180")
def test_a_transformers_flavor_gives_what_its_own_folder_gives(tmp_path):
    write_classifier(tmp_path / "own")
    save_transformers(tmp_path / "m", tmp_path / "own")
    texts = [TextFeature(column="text")]
    own = MlTask(name="t", model=ModelSpec(weights="own"), features=texts)
    found = rows_of_texts(mlflow_task(features=texts, trust={}), tmp_path, TEXTS, 3)  # safetensors: no trust needed
    assert found == rows_of_texts(own, tmp_path, TEXTS, 3)
    assert [row["prediction_error"] is None for row in found] == [row in GOOD for row in range(len(TEXTS))]
    assert "Null" in found[NULL]["prediction_error"]
    assert "IndexError" in found[POISONED]["prediction_error"]


@pytest.mark.promise("M180")
def test_a_transformers_flavor_gives_what_mlflow_gives(tmp_path):
    import mlflow.pyfunc

    write_classifier(tmp_path / "own")
    save_transformers(tmp_path / "m", tmp_path / "own")
    texts = [TEXTS[row] for row in GOOD if len(TEXTS[row].split()) < 10]  # the pipeline does not cut texts
    found = predict(tmp_path, mlflow_task(features=[TextFeature(column="text")]), {"text": texts}, 2)
    expected = mlflow.pyfunc.load_model(str(tmp_path / "m"), suppress_warnings=True).predict(
        pd.DataFrame({"text": texts})
    )
    assert [row["predicted_class"] for row in found] == list(expected["label"])
    np.testing.assert_allclose([row["confidence"] for row in found], expected["score"], atol=1e-6)


@pytest.mark.promise("M180")
def test_a_sentence_transformers_flavor_gives_the_vectors_of_encode(tmp_path):
    write_tokenizer(tmp_path / "network")
    write_network(tmp_path / "network", auto=transformers.AutoModel)
    transformer = Transformer(str(tmp_path / "network"))
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")]
    model = SentenceTransformer(modules=modules, device="cpu")
    with no_warnings():
        import mlflow.sentence_transformers

        mlflow.sentence_transformers.save_model(model, str(tmp_path / "m"), pip_requirements=[])
    found = predict(tmp_path, mlflow_task(features=[TextFeature(column="text")], trust={}), {"text": TEXTS}, 3)
    expected = model.encode([TEXTS[row] for row in GOOD], batch_size=1, convert_to_numpy=True)
    np.testing.assert_allclose([found[row]["embedding"] for row in GOOD], expected, atol=2e-6)


@pytest.mark.promise("M181")
@pytest.mark.parametrize("serialization", ["pickle", "pt2"])
def test_a_pytorch_flavor_is_a_network_of_ours(tmp_path, serialization):
    save_pytorch(tmp_path / "m", serialization_format=serialization)
    task = mlflow_task(features=[NumericFeature(columns=["a", "b"])], output=RegressionOutput())
    found = predict(tmp_path, task, NUMBERS)
    expected = network()(torch.tensor([[0.5, 1.0], [-1.0, 2.0], [0.0, 0.0], [3.0, 4.0]]))[:, 0].tolist()
    assert "Null" in found[2]["prediction_error"]
    for row in (0, 1, 3):
        assert found[row]["predicted_value"] == pytest.approx(expected[row], abs=1e-6)


@pytest.mark.promise("M181")
def test_a_pytorch_flavor_with_modules_of_its_own_is_loaded_by_mlflow(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "brought_along.py").write_text("SCALE = 3\n")
    save_pytorch(
        tmp_path / "m", serialization_format="pickle", code_paths=[str(tmp_path / "code" / "brought_along.py")]
    )
    task = mlflow_task(features=[NumericFeature(columns=["a", "b"])], output=RegressionOutput())
    found = predict(tmp_path, task, NUMBERS)
    assert found[0]["predicted_value"] == pytest.approx(network()(torch.tensor([[0.5, 1.0]])).item(), abs=1e-6)


@pytest.mark.promise("M182")
def test_any_other_flavor_gives_what_pyfunc_gives_and_a_row_that_raises_fails_alone(tmp_path):
    import mlflow.pyfunc

    save_doubling(tmp_path / "m")
    columns = {
        "id": [1, 2, 3, 4, 5, 6],
        "a": [1.5, None, POISON, -2.0, 1e300, 0.0],
        "b": ["x", "", "y", None, "long " * 100, "z"],
    }
    task = mlflow_task()
    found = predict(tmp_path, task, columns)
    assert ModelLoader(tmp_path).find_task(task).output == ColumnsOutput(
        columns={"product": "double", "longer": "long"}
    )
    reference = mlflow.pyfunc.load_model(str(tmp_path / "m"), suppress_warnings=True)
    for place, row in enumerate(found):
        frame = pd.DataFrame({"a": [columns["a"][place]], "b": [columns["b"][place]]}).astype({"a": "float64"})
        if columns["a"][place] == POISON:
            assert (row["product"], row["prediction_error"]) == (None, "forward: ValueError: poisoned")
            continue
        expected = reference.predict(frame).iloc[0]
        if np.isnan(expected["product"]):
            assert "no product" in row["prediction_error"]
        else:
            assert (row["product"], row["longer"]) == (expected["product"], expected["longer"])
            assert row["prediction_error"] is None
    assert "unasked" not in found[0]
    assert [row["id"] for row in found] == columns["id"]


@pytest.mark.promise("M182")
@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([{"type": "double"}], RegressionOutput()),
        ([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1]}}], RegressionOutput()),
        ([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 1]}}], RegressionOutput()),
        ([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 7]}}], RegressionOutput(length=7)),
        (
            [
                {"name": "i", "type": "integer"},
                {"name": "b", "type": "boolean"},
                {"name": "f", "type": "float"},
                {"name": "l", "type": "array", "items": {"type": "long"}},
                {"name": "t", "type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2, 2]}},
            ],
            ColumnsOutput(
                columns={"i": "int", "b": "boolean", "f": "float", "l": "list<long>", "t": "list<list<double>>"}
            ),
        ),
        ([{"type": "string"}], ColumnsOutput(columns={"predicted_class": "string"})),
        (
            [{"name": "s", "type": "string"}, {"name": "l", "type": "array", "items": {"type": "string"}}],
            ColumnsOutput(columns={"s": "string", "l": "list<string>"}),
        ),
    ],
)
def test_the_output_is_that_of_the_signature(tmp_path, outputs, expected):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "MLmodel").write_text("flavors: {python_function: {loader_module: m}}")
    edited(tmp_path / "m", signature={"outputs": json.dumps(outputs)})
    assert ModelLoader(tmp_path).find_task(mlflow_task()).output == expected


@pytest.mark.promise("M182")
def test_a_column_of_texts_is_what_pyfunc_gives(tmp_path):
    import mlflow.pyfunc

    save_answering(tmp_path / "m", NAMED, [{"name": "size", "type": "string"}, {"name": "square", "type": "double"}])
    values = [1.0, 400.0, POISON, -3.0, 0.0]
    found = predict(tmp_path, mlflow_task(), {"a": values})
    reference = mlflow.pyfunc.load_model(str(tmp_path / "m"), suppress_warnings=True)
    for row, value in zip(found, values, strict=True):
        if value == POISON:
            assert (row["size"], row["prediction_error"]) == (None, "forward: ValueError: poisoned")
            continue
        expected = reference.predict(pd.DataFrame({"a": [value]})).iloc[0]
        if expected["size"] is None:
            assert row["prediction_error"] == "forward: NoValue: the model gave no size"
        else:
            assert (row["size"], row["square"]) == (expected["size"], expected["square"])
    assert [row["size"] for row in found] == ["small", "large", None, None, ""]


@pytest.mark.promise("M182")
def test_a_classifier_that_returns_names_alone_gives_a_column_of_them(tmp_path):
    unnamed = [{"type": "string"}]
    save_answering(tmp_path / "m", UNNAMED, unnamed)
    found = predict(tmp_path, mlflow_task(), {"a": [1.0, 400.0]})
    assert [(row["predicted_class"], row["prediction_error"]) for row in found] == [("small", None), ("large", None)]
    assert "confidence" not in found[0]
    with pytest.raises(ModelError, match="returns one text per row and no confidence.*drop the labels"):
        ModelLoader(tmp_path).settled(mlflow_task(labels=["small", "large"]))


@pytest.mark.promise("M182")
@pytest.mark.parametrize(
    ("answers", "fields", "message"),
    [
        (
            "NAMED",
            {"output": ColumnsOutput(columns={"width": "string"})},
            "returns the columns size, square, and the task wants width, so width would be empty; declare `output:",
        ),
        (
            "NAMED",
            {"output": ColumnsOutput(columns={"size": "string", "width": "double"})},
            "the task wants size, width, so width would be empty",
        ),
        (
            "UNNAMED",
            {"labels": ["small", "large"]},
            r"one column without a name \(ndarray\).*confidence would be empty",
        ),
    ],
)
def test_a_model_that_returns_other_names_than_declared_is_an_error_that_lists_them(tmp_path, answers, fields, message):
    save_answering(tmp_path / "m", globals()[answers], None)
    with pytest.raises(ModelError, match=message):
        predict(tmp_path, mlflow_task(**fields), {"a": [1.0]})


@pytest.mark.promise("M230")
@pytest.mark.parametrize("beside", [False, True])
def test_an_onnx_flavor_is_a_network_of_ours_and_gives_what_pyfunc_gives(tmp_path, beside):
    import mlflow.pyfunc

    write_linear(tmp_path / "linear.onnx")
    signature = infer_signature(np.ones((2, 2), dtype=np.float32), {"logits": np.ones((2, 3), dtype=np.float32)})
    with no_warnings():
        import mlflow.onnx

        mlflow.onnx.save_model(
            onnx.load(tmp_path / "linear.onnx"),
            str(tmp_path / "m"),
            save_as_external_data=beside,
            size_threshold=0,
            location="model.onnx.data",
            signature=signature,
            pip_requirements=[],
        )
    assert len(list((tmp_path / "m").glob("*.onnx*"))) > 1 or not beside
    features = [NumericFeature(columns=["a", "b"])]
    task = mlflow_task(features=features, trust={})  # a graph of operators: no trust needed
    found = predict(tmp_path, task, NUMBERS)
    reference = mlflow.pyfunc.load_model(str(tmp_path / "m"), suppress_warnings=True)
    for row, (a, b) in enumerate(zip(NUMBERS["a"], NUMBERS["b"], strict=True)):
        if a is None:
            assert "Null" in found[row]["prediction_error"]
            continue
        expected = reference.predict(np.array([[a, b]], dtype=np.float32))["logits"][0]
        np.testing.assert_allclose(found[row]["logits"], expected, atol=1e-6)
    before = digest_of_model(tmp_path, task)
    edited(tmp_path / "m", utc_time_created="2020-01-01")
    assert digest_of_model(tmp_path, task) == before
    data = tmp_path / "m" / ("model.onnx.data" if beside else "model.onnx")
    content = bytearray(data.read_bytes())
    content[-1 if beside else len(content) // 2] ^= 1
    data.write_bytes(content)
    assert digest_of_model(tmp_path, task) != before


@pytest.mark.promise("M182")
def test_rows_that_lack_a_column_of_the_signature_are_an_error_that_names_it(tmp_path):
    save_doubling(tmp_path / "m")
    with pytest.raises(ModelError, match="names the input 'b', which the rows do not have; they have a"):
        predict(tmp_path, mlflow_task(), {"a": [1.0]})


@pytest.mark.promise("M183")
@pytest.mark.parametrize(
    ("save", "task"),
    [
        (save_doubling, mlflow_task(trust={})),
        (
            save_pytorch,
            mlflow_task(features=[NumericFeature(columns=["a", "b"])], output=RegressionOutput(), trust={}),
        ),
    ],
)
def test_a_flavor_that_can_run_code_is_opened_only_if_the_task_trusts_it(tmp_path, save, task):
    save(tmp_path / "m")
    with pytest.raises(ModelError, match="is not opened.*trust_code: true") as refused:
        predict(tmp_path, task, NUMBERS | {"b": ["x"] * 4} if save is save_doubling else NUMBERS)
    pin = str(refused.value).split("`sha256: ")[1][:64]
    pinned = mlflow_task(features=task.features, output=task.output, trust={"sha256": pin})
    assert predict(tmp_path, pinned, NUMBERS | {"b": ["x"] * 4} if save is save_doubling else NUMBERS)
    with pytest.raises(ModelError, match="has sha256"):
        predict(tmp_path, mlflow_task(features=task.features, output=task.output, trust={"sha256": "0" * 64}), NUMBERS)


@pytest.mark.promise("M184")
def test_the_digest_covers_what_is_opened_and_nothing_else(tmp_path):
    save_pytorch(tmp_path / "m", serialization_format="pickle")
    task = mlflow_task(features=[NumericFeature(columns=["a", "b"])], output=RegressionOutput())
    before = digest_of_model(tmp_path, task)
    shutil.move(tmp_path / "m", tmp_path / "renamed")
    content = yaml.safe_load((tmp_path / "renamed" / "MLmodel").read_text())
    (tmp_path / "renamed" / "MLmodel").write_text(yaml.safe_dump(content | {"utc_time_created": "2020-01-01"}))
    renamed = mlflow_task("renamed", features=task.features, output=task.output)
    assert digest_of_model(tmp_path, renamed) == before
    shutil.rmtree(tmp_path / "renamed")
    save_pytorch(tmp_path / "renamed", seed=4, serialization_format="pickle")
    assert digest_of_model(tmp_path, renamed) != before


def test_other_files_of_the_task_are_found_beside_the_model(tmp_path):
    write_classifier(tmp_path / "own")
    save_transformers(tmp_path / "m", tmp_path / "own")
    (tmp_path / "words").mkdir()
    shutil.copy(tmp_path / "own" / "tokenizer.json", tmp_path / "words" / "tokenizer.json")
    task = mlflow_task(features=[TextFeature(column="text", tokenizer="words/tokenizer.json", max_tokens=12)])
    plain = mlflow_task(features=[TextFeature(column="text")])
    assert predict(tmp_path, task, {"text": TEXTS}) == predict(tmp_path, plain, {"text": TEXTS})


def test_a_file_in_a_folder_that_the_task_names_too_is_left_alone_and_one_outside_is_refused(tmp_path):
    write_classifier(tmp_path / "own")
    save_transformers(tmp_path / "m", tmp_path / "own")
    before = sorted(tmp_path.rglob("*"))
    features = [TextFeature(column="text", tokenizer="own/tokenizer.json", max_tokens=12)]
    model = ModelSpec(weights="m", format="mlflow", files=["own", "own/not there yet.json"], trust_code=True)
    loader, settled = ModelLoader(tmp_path).settled(MlTask(name="t", model=model, features=features))
    assert (loader.models_root / "own" / "tokenizer.json").samefile(tmp_path / "own" / "tokenizer.json")
    assert settled.model.files == model.files
    assert [path for path in sorted(tmp_path.rglob("*")) if "cache" not in path.parts] == before
    absolute = [TextFeature(column="text", tokenizer=str(tmp_path / "own" / "tokenizer.json"), max_tokens=12)]
    assert len(predict(tmp_path, mlflow_task(features=absolute), {"text": TEXTS})) == len(TEXTS)
    outside = [TextFeature(column="text", tokenizer="../tokenizer.json", max_tokens=12)]
    with pytest.raises(ModelError, match="tokenizer.json lies outside of the models root.*absolute path"):
        ModelLoader(tmp_path).settled(mlflow_task(features=outside))


def edited(folder, **changes):
    content = yaml.safe_load((folder / "MLmodel").read_text())
    (folder / "MLmodel").write_text(yaml.safe_dump(content | changes))


@pytest.mark.promise("M185")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: (m / "MLmodel").unlink(), "there is no file .*MLmodel; name the folder that MLflow has saved"),
        (lambda m: (m / "MLmodel").write_text("a: [b"), "is not YAML"),
        (lambda m: (m / "MLmodel").write_text("a: 2020-99-99"), r"is not YAML \(month must be"),
        (lambda m: (m / "MLmodel").write_bytes(b"\xff\xfe\x00"), "is not YAML"),
        (lambda m: (m / "MLmodel").write_text("x" * (17 << 20)), "has more than 16,777,216 bytes"),
        (lambda m: (m / "MLmodel").write_text(BOMB), "names a list where the path of a file should be"),
        (lambda m: (m / "MLmodel").write_text("- 1"), "holds no names and values"),
        (lambda m: edited(m, flavors={}), "has only the flavors , none of which can be opened"),
        (lambda m: edited(m, flavors={"transformers": {"task": "x"}}), "refers to weights that are elsewhere"),
        (
            lambda m: edited(m, flavors={"pytorch": {"model_data": "../../x"}}),
            "names '../../x', which lies outside of the folder",
        ),
        (lambda m: edited(m, flavors={"pytorch": {"model_data": "gone"}}), "holds neither model.pth nor model.pt2"),
        (lambda m: edited(m, signature=None), "does not say what it predicts.*declare the task's labels or its output"),
        (
            lambda m: edited(m, signature={"inputs": None, "outputs": json.dumps([{"type": "binary", "name": "s"}])}),
            "does not say what it predicts",
        ),
        (lambda m: edited(m, signature={"outputs": "[]"}), "does not say what it predicts"),
        (lambda m: edited(m, signature={"outputs": "{"}), "its MLmodel is none of MLflow's; log the model again"),
        (lambda m: edited(m, signature={"outputs": '[{"type": "array", "items": 1}]'}), "is none of MLflow's"),
    ],
)
def test_what_cannot_be_opened_is_an_error_that_names_the_way_out(tmp_path, change, message):
    save_doubling(tmp_path / "m")
    change(tmp_path / "m")
    with pytest.raises(ModelError, match=message):
        ModelLoader(tmp_path).settled(mlflow_task())


@pytest.mark.promise("M232")
def test_describe_model_says_how_an_mlflow_folder_is_opened(tmp_path, capsys):
    def described(name):
        sparktorch_assets.describe_model(tmp_path / name)
        return capsys.readouterr().out

    save_answering(tmp_path / "m", NAMED, [{"name": "size", "type": "string"}])
    assert described("m").splitlines()[:4] == [
        f"{tmp_path / 'm'}: MLflow model",
        "  flavors     python_function",
        "  opened      by mlflow.pyfunc",
        "  inputs      a double",
    ]
    assert "size: string}" in described("m")
    assert "it needs trust_code or sha256" in described("m")
    edited(tmp_path / "m", flavors={"onnx": {"data": "model.onnx"}}, signature=None)
    assert "opened      as format onnx\n  inputs      not known" in described("m")
    assert "output      not known: declare labels or output" in described("m")
    assert "trust" not in described("m")
    write_classifier(tmp_path / "own")
    save_transformers(tmp_path / "t", tmp_path / "own")
    found = described("t")
    assert "opened      as format huggingface" in found
    assert "  labels      negative, neutral, positive" in found
    (tmp_path / "t" / "MLmodel").write_text("[")
    with pytest.raises(ModelError, match="its MLmodel is not YAML"):
        described("t")


@pytest.mark.promise("M185")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weights": "models:/name"}, "is no address of an MLflow model; write models:/name@alias"),
        ({"weights": "models:/name/Production"}, "Stages, such as Production, are no longer part of MLflow"),
        ({"weights": "runs:/0123"}, "is no address of an MLflow model"),
        ({"weights": "models:/name/3", "format": "pickle"}, "what is there says its own format; drop format='pickle'"),
        ({"weights": "models:/name/3", "factory": "a:b"}, "says its own format; drop factory"),
        ({"weights": "models:/name/3", "arguments": {"a": 1}}, "says itself how it is loaded; drop arguments"),
    ],
)
def test_a_declaration_that_fits_no_mlflow_model_is_refused(fields, message):
    with pytest.raises(TaskError, match=message):
        ModelSpec(**fields)


@pytest.mark.parametrize(
    "address", ["models:/name@champion", "models:/name/3", "models:/name/latest", "models:/m-0f", "runs:/0f/model/a"]
)
def test_an_address_of_mlflow_is_known_by_its_form(address):
    assert ModelSpec(weights=address).format == "mlflow"


@pytest.mark.promise("M185")
def test_without_mlflow_a_declaration_names_the_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TaskError, match=r"pip install 'sparktorch-assets\[mlflow\]'"):
        ModelSpec(weights="models:/name/3")
