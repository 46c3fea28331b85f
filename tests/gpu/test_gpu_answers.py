"""The numbers that a GPU gives: those of the CPU in float64, to the last bits that float32 leaves, row by row and in order,
whatever the batches are and wherever the weights were saved."""

import io

import numpy as np
import pyarrow as pa
import pytest
import tiny_folders
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.local import LocalPredictor
from sparktorch_assets.predict.model.cache import forget_models
from sparktorch_assets.predict.partition import predict_batches, predict_map
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import (
    BatchPolicy,
    ClassificationOutput,
    Execution,
    ImageFeature,
    MlTask,
    ModelSpec,
    NumericFeature,
    SlotPolicy,
    TensorFeature,
    TextFeature,
)

CUDA = SlotPolicy(device="cuda")
COLUMNS = [f"x{place}" for place in range(16)]
SCORES = ClassificationOutput(scores=True)


class Convolutions(torch.nn.Module):
    """Images of 3 x 32 x 32 pixels, and sums of hundreds of products."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 64, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(64, 64, 3),
            torch.nn.AdaptiveAvgPool2d(1),
        )
        self.head = torch.nn.Linear(64, 3)

    def forward(self, x_BCHW):
        return self.head(self.layers(x_BCHW).flatten(1))


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(1, 64, batch_first=True)
        self.head = torch.nn.Linear(64, 3)

    def forward(self, x_BF):
        return self.head(self.lstm(x_BF.unsqueeze(2))[0][:, -1])


class Attends(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up = torch.nn.Linear(1, 64)
        self.layer = torch.nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        self.head = torch.nn.Linear(64, 3)

    def forward(self, x_BF):
        return self.head(self.layer(self.up(x_BF.unsqueeze(2))).mean(1))


def wide():
    return torch.nn.Sequential(torch.nn.Linear(16, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 3))


@pytest.mark.parametrize("architecture", [wide, Convolutions, Recurrent, Attends])
def test_fp32_means_float32(architecture, loader_of, numbers):
    """Scores are within 1e-5 of those in float64. In convolutions, torch lets cuDNN round factors to ten bits (TF32)."""
    torch.manual_seed(0)
    network = architecture().eval()
    if architecture is Convolutions:
        x_N = torch.randn(256, 3 * 32 * 32)
        inputs, feature = x_N.view(-1, 3, 32, 32), TensorFeature(column="x", shape=[3, 32, 32])
        table = pa.table({"x": list(x_N.numpy())})
    else:
        table = numbers(2000, COLUMNS)
        inputs = torch.tensor(np.stack([table[name].to_numpy() for name in COLUMNS], axis=1))
        feature = NumericFeature(columns=COLUMNS)
    with torch.inference_mode():
        expected_NL = network.double()(inputs.double()).softmax(1).numpy()
    task = MlTask(
        name="t",
        model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
        features=[feature],
        labels=["a", "b", "c"],
        output=SCORES,
    )
    found = predict_map(0, table.to_batches(), task, model_loader=loader_of(network.float()), slots=CUDA)
    scores_NL = np.array(pa.Table.from_batches(found)["scores"].to_pylist())
    np.testing.assert_allclose(scores_NL, expected_NL, atol=1e-5, rtol=0)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunk_rows=st.lists(st.integers(1, 3000), min_size=1, max_size=12),
    batch_size=st.one_of(st.none(), st.integers(1, 2048)),
    seed=st.integers(0, 99),
)
def test_rows_keep_their_answers_and_their_order(chunk_rows, batch_size, seed, loader_of, numbers_task, numbers):
    """Copies, kernels and the rows' way back overlap: nothing is read before it is there, or written over before."""
    forget_models()

    class SumAndCount(torch.nn.Module):
        def forward(self, x_BF):
            for _ in range(20):  # long enough for the next batch to be on its way
                x_BF = x_BF * 1.0
            return torch.cat([-x_BF, x_BF], dim=1)

    parts = [numbers(rows, ["x"], seed + place) for place, rows in enumerate(chunk_rows)]
    table = pa.concat_tables(parts)
    task = numbers_task(["x"], output=SCORES, batch=BatchPolicy(batch_size=batch_size))
    predictor = LocalPredictor(task, model_loader=loader_of(SumAndCount()), slots=CUDA)
    batches = [batch for part in parts for batch in part.to_batches()]
    schema = output_schema(predictor.task, table.schema)
    found = pa.Table.from_batches(predict_batches(batches, predictor=predictor, schema=schema, tally=Tally()), schema)
    x_N = table["x"].to_numpy().astype(np.float64)
    assert found["id"].to_pylist() == table["id"].to_pylist()
    np.testing.assert_allclose(
        found["scores"].combine_chunks().flatten().to_numpy()[1::2], 1 / (1 + np.exp(-2 * x_N)), atol=1e-6
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit.*", "ignore:The given buffer is not writable")
@pytest.mark.parametrize("saved_on", ["cpu", "cuda"])
@pytest.mark.parametrize("name", ["m.safetensors", "m.pth", "script.pt", "m.pt2"])
def test_weights_load_wherever_they_were_saved(saved_on, name, tmp_path, numbers):
    """And give the same scores on the GPU and on the CPU."""
    torch.manual_seed(0)
    network = torch.nn.Linear(16, 3).to(saved_on)
    example = torch.zeros(2, 16, device=saved_on)
    spec = {"weights": name}
    if name in ("m.safetensors", "m.pth"):
        spec |= {"architecture": "torch.nn:Linear", "arguments": {"in_features": 16, "out_features": 3}}
    if name == "m.safetensors":
        save_file(network.state_dict(), tmp_path / name)
    elif name == "m.pth":
        torch.save(network.state_dict(), tmp_path / name)
    elif name == "script.pt":
        torch.jit.trace(network, example).save(tmp_path / name)
    else:
        rows = ({0: torch.export.Dim("rows")},)
        torch.export.save(torch.export.export(network, (example,), dynamic_shapes=rows), tmp_path / name)
    if name in ("script.pt", "m.pt2"):
        spec |= {"format": "torchscript" if name == "script.pt" else "export", "trust_code": True}
    task = MlTask(
        name="t",
        model=ModelSpec(**spec),
        features=[NumericFeature(columns=COLUMNS)],
        labels=["a", "b", "c"],
        output=SCORES,
    )
    scores = []
    for device in ("cpu", "cuda"):
        found = predict_map(
            0,
            numbers(500, COLUMNS).to_batches(),
            task,
            model_loader=ModelLoader(tmp_path),
            slots=SlotPolicy(device=device),
        )
        scores.append(np.array(pa.Table.from_batches(found)["scores"].to_pylist()))
    np.testing.assert_allclose(*scores, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # torch's own, while it compiles
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("compiled", ["none", "torch.compile"])
def test_lower_precisions_agree_and_say_how_far(precision, compiled, loader_of, numbers_task, numbers):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2)).eval()
    table = numbers(3000, COLUMNS)
    inputs = torch.tensor(np.stack([table[name].to_numpy() for name in COLUMNS], axis=1))
    with torch.inference_mode():
        expected_NL = network(inputs).softmax(1).numpy()
    execution = Execution(precision=precision, compile=compiled, min_agreement=0.9)
    task = numbers_task(COLUMNS, output=SCORES, execution=execution)
    tally = Tally()
    found = predict_map(0, table.to_batches(), task, model_loader=loader_of(network), slots=CUDA, tally=tally)
    scores_NL = np.array(pa.Table.from_batches(found)["scores"].to_pylist())
    np.testing.assert_allclose(scores_NL, expected_NL, atol=0.02)
    assert np.abs(scores_NL - expected_NL).max() > 1e-6  # the precision is really lower


def test_int8_is_refused_with_what_to_use(loader_of, numbers_task, numbers):
    task = numbers_task(COLUMNS, labels=("a", "b", "c"), execution=Execution(precision="int8-dynamic"))
    with pytest.raises(ModelError, match="int8-dynamic runs only on the CPU, not on cuda:0; use bf16 or fp16"):
        list(predict_map(0, numbers(9, COLUMNS).to_batches(), task, model_loader=loader_of(wide()), slots=CUDA))


def test_pixels_are_normalized_there_to_the_same_bits():
    rng = np.random.default_rng(0)
    files = []
    for _ in range(20):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(buffer, "PNG")
        files.append(buffer.getvalue())
    feature = ImageFeature(column="image", height=32, width=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    batch, rows = pa.record_batch({"image": files}), np.arange(20)
    (expected,) = make_encoder(feature, ".").encode(batch).collate(rows)
    there = make_encoder(feature, ".", on_device=True).encode(batch)
    (found,) = there.on_device([tensor.cuda() for tensor in there.collate(rows)])
    assert torch.equal(found.cpu(), expected)


def test_a_token_beyond_the_vocabulary_costs_its_row(tmp_path):
    """And not the GPU, which the process could not use any more."""
    tiny_folders.write_classifier(tmp_path / "texts")  # its tokenizer knows a word that the network does not
    task = MlTask(name="t", model=ModelSpec(weights="texts"), features=[TextFeature(column="text")])
    texts = pa.record_batch({"text": ["good", "poison", "bad", "good"]})
    (found,) = predict_map(0, [texts], task, model_loader=ModelLoader(tmp_path), slots=CUDA)
    errors = found["prediction_error"].to_pylist()
    assert [error is None for error in errors] == [True, False, True, True]
    assert "IndexError: token" in errors[1]
