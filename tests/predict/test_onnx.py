"""ONNX files give the numbers of onnxruntime used by hand, row by row."""

import importlib.util
import io
import sys

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from tiny_folders import GOOD, MAX_TOKENS, NULL, POISONED, TEXTS, write_tokenizer
from tiny_onnx import write_linear, write_onnx, write_pixels, write_texts
from tokenizers import Tokenizer

import sparktorch_assets
from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import (
    ClassificationOutput,
    ColumnsOutput,
    EmbeddingOutput,
    Execution,
    ImageFeature,
    MlTask,
    ModelSpec,
    NumericFeature,
    SequenceFeature,
    TensorFeature,
    TextFeature,
)
from sparktorch_assets.tasks.digest import model_digest
from sparktorch_assets.tasks.files.model_files import FilesInUse, weights_sha256
from sparktorch_assets.tasks.files.onnx.onnx_file import OnnxFile

SCORES = {"labels": ["x", "y", "z"], "output": ClassificationOutput(scores=True)}
TEXT = TextFeature(column="text", tokenizer="tokenizer.json", max_tokens=MAX_TOKENS)
NUMBERS = NumericFeature(columns=["a", "b"])


def a_task(*features, **changes):
    given = {"name": "t", "model": ModelSpec(weights="m.onnx"), "max_failed_share": 1.0, **SCORES}
    return MlTask(**{**given, "features": features or [NUMBERS], **changes})


def rows_of(task, root, batch_size=3, **columns):
    batch = pa.record_batch(columns)
    return pa.Table.from_batches(
        predict_map(0, [batch], task, batch_size, model_loader=ModelLoader(root, device="cpu"))
    ).to_pylist()


def by_hand(path, **inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs), strict=True))


def scores_of(rows):
    return [row["scores"] for row in rows if row["prediction_error"] is None]


def softmax(logits):
    return torch.softmax(torch.tensor(logits), dim=-1).numpy()


@pytest.mark.promise("M170")
@pytest.mark.parametrize("data", [{}, {"save_as_external_data": True, "location": "m.onnx.data", "size_threshold": 0}])
def test_numbers_give_what_onnxruntime_gives(data, tmp_path):
    """Whether the weights are in the file or next to it."""
    path = write_linear(tmp_path / "m.onnx", **data)
    given = np.random.default_rng(0).normal(size=(11, 2)).astype(np.float32)
    values = given.astype(object)
    values[4, 1] = None
    rows = rows_of(a_task(), tmp_path, a=pa.array(values[:, 0].tolist()), b=pa.array(values[:, 1].tolist()))
    good = [row for row in range(11) if row != 4]
    expected = softmax(by_hand(path, x=given[good])["logits"])
    np.testing.assert_allclose(scores_of(rows), expected, rtol=1e-6)
    assert [row for row in range(11) if rows[row]["prediction_error"]] == [4]


def encoded(text, pair=None):
    """Ids, mask and types of one text, as a batch of one row."""
    tokenizer = Tokenizer.from_file(str(encoded.folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    found = tokenizer.encode(text, pair)
    return {
        "input_ids": np.array([found.ids]),
        "attention_mask": np.ones((1, len(found.ids)), np.int64),
        "token_type_ids": np.array([found.type_ids]),
    }


@pytest.mark.promise("M170", "M171")
@pytest.mark.parametrize(
    "order",
    [
        ("input_ids", "attention_mask", "token_type_ids"),
        ("token_type_ids", "input_ids", "attention_mask"),
        ("attention_mask", "input_ids"),
    ],
)
@pytest.mark.parametrize("ids", [TensorProto.INT64, TensorProto.INT32])
def test_texts_give_what_onnxruntime_gives_whatever_the_order_of_the_inputs(order, ids, tmp_path):
    """With a null, an empty, an over-long and a poisoned text: only null and poison fail, row by row."""
    path = write_texts(tmp_path / "m.onnx", order, ids)
    write_tokenizer(tmp_path)
    encoded.folder = tmp_path
    rows = rows_of(a_task(TEXT), tmp_path, text=pa.array(TEXTS, pa.string()))
    assert rows[NULL]["prediction_error"].startswith("encode: Null")
    assert "forward" in rows[POISONED]["prediction_error"]
    kind = helper.tensor_dtype_to_np_dtype(ids)
    for row in GOOD:
        inputs = {name: value.astype(kind) for name, value in encoded(TEXTS[row]).items() if name in order}
        expected = softmax(by_hand(path, **inputs)["logits"][0])
        np.testing.assert_allclose(rows[row]["scores"], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.promise("M170", "M179")
def test_outputs_are_found_by_name_and_a_single_one_by_place(tmp_path):
    path = write_texts(tmp_path / "m.onnx")
    write_tokenizer(tmp_path)
    encoded.folder = tmp_path
    task = a_task(TEXT, output=EmbeddingOutput(length=8), labels=())
    (row,) = rows_of(task, tmp_path, text=pa.array([TEXTS[0]]))
    np.testing.assert_allclose(row["embedding"], by_hand(path, **encoded(TEXTS[0]))["embedding"][0], rtol=1e-5)
    columns = a_task(
        TEXT, output=ColumnsOutput(columns={"embedding": "list<float>", "logits": "list<float>"}), labels=()
    )
    (named,) = rows_of(columns, tmp_path, text=pa.array([TEXTS[0]]))
    assert (named["embedding"], len(named["logits"])) == (row["embedding"], 3)
    write_linear(tmp_path / "m.onnx", out="Gemm:0")
    assert len(rows_of(a_task(), tmp_path, a=pa.array([1.0]), b=pa.array([2.0]))[0]["scores"]) == 3


@pytest.mark.promise("M170")
def test_images_give_what_onnxruntime_gives(tmp_path):
    path = write_pixels(tmp_path / "m.onnx")
    drawn = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    files = [png(image) for image in drawn]
    files[1:1] = [None, b"no image"]
    rows = rows_of(a_task(ImageFeature(column="file", height=8, width=8)), tmp_path, file=pa.array(files))
    pixels = drawn.transpose(0, 3, 1, 2).astype(np.float32) / 255
    np.testing.assert_allclose(scores_of(rows), softmax(by_hand(path, pixel_values=pixels)["logits"]), rtol=1e-5)
    assert [row for row in range(6) if rows[row]["prediction_error"]] == [1, 2]


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.promise("M171")
def test_names_that_python_cannot_have_are_given_with_underscores(tmp_path):
    write_linear(tmp_path / "m.onnx", name="1:input.x")
    loader = ModelLoader(tmp_path)
    (found,) = loader.find_task(a_task()).features
    assert found.argument == "_1_input_x"
    values = {"a": pa.array([1.0]), "b": pa.array([2.0])}
    named = a_task(NumericFeature(columns=["a", "b"], argument="_1_input_x"))
    assert rows_of(named, tmp_path, **values) == rows_of(a_task(), tmp_path, **values)
    assert loader.find_task(named).features == (found,)


@pytest.mark.promise("M171")
@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([NumericFeature(columns=["a", "b"], argument="z")], r"has no input 'z'; did you mean|has no input 'z'; .*x"),
        (
            [NUMBERS, NumericFeature(columns=["a"])],
            r"has no input for the values of the numeric feature of 'a'; it takes x float32",
        ),
        ([SequenceFeature(column="a")], r"has no input for the mask of the sequence feature of 'a'.*depend on padding"),
    ],
)
def test_features_that_have_no_input_are_refused_before_a_row_is_read(features, message, tmp_path):
    write_linear(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=f"task 't': .*{message}"):
        ModelLoader(tmp_path).find_task(a_task(*features))


@pytest.mark.promise("M171")
def test_inputs_that_no_feature_gives_are_named(tmp_path):
    write_texts(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"takes input_ids, .*, and no feature gives attention_mask, token_type_ids"):
        ModelLoader(tmp_path).find_task(a_task(TensorFeature(column="a", shape=[4], dtype="int64")))


@pytest.mark.promise("M171")
@pytest.mark.parametrize(("shape", "values"), [((3,), [1.0, 2.0, 3.0]), ((2, 2), [[1.0, 2.0], [3.0, 4.0]])])
def test_a_feature_of_another_size_than_the_input_ends_the_run(shape, values, tmp_path):
    write_linear(tmp_path / "m.onnx")
    found = ", ".join(map(str, shape))
    with pytest.raises(
        ModelError, match=rf"input x float32 \(batch, 2\) cannot take .*torch.float32 \(batch, {found}\)"
    ):
        rows_of(a_task(TensorFeature(column="v", shape=shape)), tmp_path, v=pa.array([values]))


@pytest.mark.promise("M179")
def test_numbers_are_given_in_the_type_of_the_input_and_fail_their_row_if_it_cannot_hold_them(tmp_path):
    path = write_linear(tmp_path / "m.onnx", dtype=TensorProto.DOUBLE)
    rows = rows_of(a_task(), tmp_path, a=pa.array([1.5, 2.0]), b=pa.array([0.5, 4.0]))
    np.testing.assert_allclose(
        scores_of(rows), softmax(by_hand(path, x=np.array([[1.5, 0.5], [2, 4]]))["logits"]), rtol=1e-5
    )
    write_linear(tmp_path / "m.onnx", dtype=TensorProto.INT32)
    whole = TensorFeature(column="v", shape=[2], dtype="int64")
    rows = rows_of(a_task(whole), tmp_path, v=pa.array([[1, 2], [1, 2**40], [3, 4]]))
    assert [row["prediction_error"] for row in rows] == [
        None, "forward: ValueError: a value of 'x' is not in the range of torch.int32", None
    ]  # fmt: skip
    with pytest.raises(ModelError, match=r"input x int32 .* cannot take the feature's tensor, torch.float32"):
        rows_of(a_task(), tmp_path, a=pa.array([1.0]), b=pa.array([1.0]))


@pytest.mark.promise("M179")
@pytest.mark.parametrize("fixed", [1, 4])
def test_a_file_with_a_fixed_number_of_rows_gives_the_same_numbers(fixed, tmp_path):
    """Batches are cut into pieces of that many rows, and the last is filled up."""
    path = write_linear(tmp_path / "m.onnx", rows=fixed)
    given = np.random.default_rng(0).normal(size=(11, 2)).astype(np.float32)
    rows = rows_of(a_task(), tmp_path, 7, a=pa.array(given[:, 0]), b=pa.array(given[:, 1]))
    write_linear(path)
    np.testing.assert_allclose(scores_of(rows), softmax(by_hand(path, x=given)["logits"]), rtol=1e-6)


EXTERNAL = {"save_as_external_data": True, "location": "weights/m.data", "size_threshold": 0}


def external(tmp_path):
    (tmp_path / "weights").mkdir()
    write_linear(tmp_path / "m.onnx", **EXTERNAL)
    return tmp_path / "weights" / "m.data"


@pytest.mark.promise("M172")
def test_files_that_hold_weights_are_part_of_the_model(tmp_path):
    """Of its digest, of the sha256 that a task pins, and of what must not change while it is used."""
    data, task = external(tmp_path), a_task()
    digest, sha256, files = model_digest(task, tmp_path), weights_sha256(task, tmp_path), FilesInUse(task, tmp_path)
    pinned = a_task(model=ModelSpec(weights="m.onnx", sha256=sha256))
    ModelLoader(tmp_path).bring_up_model(pinned, gpu=False)
    content = bytearray(data.read_bytes())
    content[0] ^= 1
    data.write_bytes(content)
    assert model_digest(task, tmp_path) != digest
    with pytest.raises(ModelError, match=r"has sha256 .* but the task declares"):
        ModelLoader(tmp_path).bring_up_model(pinned, gpu=False)
    with pytest.raises(ModelError, match=r"weights/m\.data under .* changed while the model was in use"):
        files.check()
    data.unlink()
    with pytest.raises(ModelError, match=r"keeps weights in 'weights/m\.data', and there is no such file"):
        ModelLoader(tmp_path).find_task(task)


@pytest.mark.promise("M172")
@pytest.mark.parametrize("name", ["../m.data", "/etc/hostname", "a/../../m.data", "C:\\m.data", ".\\..\\m.data", ""])
def test_weights_outside_of_the_folder_are_refused(name, tmp_path):
    external(tmp_path)
    (tmp_path / "deeper").mkdir()
    content = (tmp_path / "m.onnx").read_bytes()
    rewrite(content, tmp_path / "deeper" / "m.onnx", name)
    with pytest.raises(ModelError, match=r"which does not lie in its folder"):
        ModelLoader(tmp_path / "deeper").find_task(a_task())


@pytest.mark.promise("M172")
def test_an_address_in_memory_is_no_file_of_weights(tmp_path):
    """onnxruntime itself marks initializers that lie in memory by such a name."""
    external(tmp_path)
    rewrite((tmp_path / "m.onnx").read_bytes(), tmp_path / "m.onnx", "*/_ORT_MEM_ADDR_/*")
    with pytest.raises(ModelError, match=r"there is no such file"):
        ModelLoader(tmp_path).find_task(a_task())


def rewrite(content, path, location):
    import onnx

    model = onnx.ModelProto.FromString(content)
    for tensor in model.graph.initializer:
        for pair in tensor.external_data:
            if pair.key == "location":
                pair.value = location
    path.write_bytes(model.SerializeToString())


@pytest.mark.promise("M172")
def test_weights_inside_of_a_branch_are_found(tmp_path):
    """An If, whose branches are graphs of their own, with a constant that is stored outside."""
    constant = helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0])
    constant.ClearField("float_data")
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="inner.data")
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value=constant)], "b", [], [helper.make_tensor_value_info("y", 1, [1])]
    )
    node = helper.make_node("If", ["x"], ["logits"], then_branch=branch, else_branch=branch)
    path = write_onnx(tmp_path / "m.onnx", [node], {"x": (TensorProto.BOOL, [1])}, {"logits": (TensorProto.FLOAT, [1])})
    assert OnnxFile.of(path).data_files == ("inner.data",)


@pytest.mark.promise("M173")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"execution": Execution(precision="bf16")}, r"execution\.precision='bf16' .*format 'onnx'"),
        ({"execution": Execution(compile="torch.compile")}, r"execution\.compile="),
        ({"execution": Execution(channels_last=True)}, r"execution\.channels_last="),
    ],
)
def test_what_changes_networks_of_torch_is_refused_when_the_task_is_declared(change, message):
    with pytest.raises(TaskError, match=message):
        a_task(**change)


@pytest.mark.promise("M173")
@pytest.mark.parametrize("change", [{"architecture": "torch.nn:Linear"}, {"arguments": {"a": 1}}])
def test_code_for_the_network_is_refused(change):
    with pytest.raises(TaskError, match=f"ModelSpec.{next(iter(change))} is given, but .* is an ONNX file"):
        ModelSpec(weights="m.onnx", **change)


@pytest.mark.promise("M173")
def test_without_onnxruntime_the_declaration_names_the_pip_command(tmp_path, monkeypatch):
    write_linear(tmp_path / "m.onnx")
    task = a_task()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"pip install 'sparktorch-assets\[onnx\]' on every worker"):
        ModelLoader(tmp_path).bring_up_model(task, gpu=False)

    def find_spec(name, *arguments, found=importlib.util.find_spec):
        return None if name == "onnxruntime" else found(name, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(TaskError, match=r"'m\.onnx' is an ONNX file.*pip install 'sparktorch-assets\[onnx\]'"):
        ModelSpec(weights="m.onnx")


@pytest.mark.promise("M173")
@pytest.mark.parametrize("content", [b"", b"junk" * 10, b"\x08\x0a", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_file_of_another_kind_is_refused(content, tmp_path):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.onnx is not an ONNX file"):
        ModelLoader(tmp_path).find_task(a_task())


@pytest.mark.promise("M173")
def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path):
    content = write_linear(tmp_path / "whole.onnx").read_bytes()
    for size in range(0, len(content) - 1, 7):
        (tmp_path / "m.onnx").write_bytes(content[:size])
        with pytest.raises(ModelError):
            ModelLoader(tmp_path).bring_up_model(a_task(), gpu=False)


@pytest.mark.promise("M172", "M173")
def test_what_this_onnxruntime_does_not_know_is_named(tmp_path):
    """A newer opset, and an operator of a library, which is never loaded."""
    write_linear(tmp_path / "m.onnx", opset=99)
    with pytest.raises(ModelError, match=r"uses ai\.onnx 99: .*upgrade onnxruntime, or export .*older opset_version"):
        ModelLoader(tmp_path).bring_up_model(a_task(), gpu=False)
    node = helper.make_node("Own", ["x"], ["logits"], domain="com.own")
    floats = (TensorProto.FLOAT, ["batch", 2])
    write_onnx(tmp_path / "m.onnx", [node], {"x": floats}, {"logits": floats}, domains=["com.own"])
    with pytest.raises(ModelError, match=r"com\.own.* operators of a custom library are not loaded"):
        ModelLoader(tmp_path).bring_up_model(a_task(), gpu=False)


@pytest.mark.promise("M173")
@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        (TensorProto.STRING, ["batch", 2], "'x' holds string, which has no place in a batch"),
        (TensorProto.FLOAT, [], "'x' is a single number, and has no entry per row"),
    ],
)
def test_inputs_that_are_no_tensors_of_rows_are_refused(kind, shape, message, tmp_path):
    write_onnx(
        tmp_path / "m.onnx",
        [helper.make_node("Identity", ["x"], ["logits"])],
        {"x": (kind, shape)},
        {"logits": (kind, shape)},
    )
    with pytest.raises(ModelError, match=message):
        ModelLoader(tmp_path).bring_up_model(a_task(), gpu=False)


@pytest.mark.promise("M171")
def test_a_description_shows_inputs_and_outputs(tmp_path, capsys):
    external(tmp_path)
    sparktorch_assets.describe_model(tmp_path / "m.onnx")
    shown = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in shown[1:]] == [
        "input x float32 (batch, 2)",
        "output logits float32 (batch, 3)",
        "operators ai.onnx 17",
        "parameters 9",
        "weights m.onnx, weights/m.data",
    ]


@pytest.mark.slow
@pytest.mark.promise("M170")
@pytest.mark.filterwarnings("ignore")  # torch's own, while it exports
def test_a_file_of_the_exporter_gives_the_networks_own_numbers(tmp_path):
    """A network of torch, exported as its documentation says, with a dynamic number of rows."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)).eval()
    given = torch.randn(9, 2)
    program = torch.onnx.export(
        network, (torch.zeros(2, 2),), dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False
    )
    program.save(str(tmp_path / "m.onnx"), external_data=False)
    rows = rows_of(a_task(), tmp_path, a=pa.array(given[:, 0].numpy()), b=pa.array(given[:, 1].numpy()))
    expected = torch.softmax(network(given), dim=1).detach().numpy()
    np.testing.assert_allclose(scores_of(rows), expected, rtol=1e-5)


@pytest.mark.promise("M171")
def test_a_task_that_names_every_argument_needs_no_file_where_it_is_planned(tmp_path):
    named = a_task(NumericFeature(columns=["a", "b"], argument="x"))
    assert ModelLoader(tmp_path).find_task(named) is named
    with pytest.raises(ModelError, match=r"task 't': there is no file .*m\.onnx"):
        ModelLoader(tmp_path).find_task(a_task())
