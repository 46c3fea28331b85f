"""Weights files: every format gives the same answers, and a file that does not fit, is altered or could run code is
refused with the way out."""

import os

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file, save_model

from sparktorch_assets.errors import DeviceError, ModelError, TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature
from sparktorch_assets.tasks.files.model_files import file_sha256

LINEAR = {"architecture": "torch.nn:Linear", "arguments": {"in_features": 2, "out_features": 3}}


class RunsCode:
    """A pickle of this runs a command when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def make(**model):
    return MlTask(
        name="t",
        input="i",
        model=ModelSpec(**model),
        features=[NumericFeature(columns=["a", "b"])],
        labels=["x", "y", "z"],
    )


@pytest.fixture
def net():
    torch.manual_seed(0)
    return torch.nn.Linear(2, 3)


@pytest.fixture
def files(tmp_path, net):
    """The same network in every format."""
    save_file(net.state_dict(), tmp_path / "m.safetensors")
    torch.save(net.state_dict(), tmp_path / "m.pth")
    torch.save(net.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state_dict": net.state_dict()}, tmp_path / "checkpoint.pt")
    torch.save(net, tmp_path / "full.pth")
    batch = torch.export.Dim("batch")
    torch.export.save(torch.export.export(net, (torch.zeros(2, 2),), dynamic_shapes=({0: batch},)), tmp_path / "m.pt2")
    return tmp_path


class KeepsPairs(torch.nn.Module):
    """Holds its parameters in a list as well."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = torch.nn.Parameter(torch.randn(2, 3)), torch.nn.Parameter(torch.randn(3))
        self.layers = [(self.weight, self.bias)]

    def forward(self, x):
        for weight, bias in self.layers:
            x = x @ weight + bias
        return x


class KeepsViews(torch.nn.Module):
    """Holds views of a parameter and of a buffer as well."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 3)
        self.register_buffer("shift", torch.randn(4))
        self.transposed, self.head = self.linear.weight.detach().T, self.shift[:3]

    def forward(self, x):
        return x @ self.transposed + self.head


class TiesWeights(torch.nn.Module):
    """Two names for one parameter."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.first(x) - 2 * self.second(x)


class ReadsTransposed(torch.nn.Linear):
    """Its files hold the weight transposed, and squared shapes do not tell."""

    def __init__(self):
        super().__init__(2, 2)

    def _load_from_state_dict(self, state_dict, prefix, *rest):
        super()._load_from_state_dict(state_dict | {f"{prefix}weight": state_dict[f"{prefix}weight"].T}, prefix, *rest)


class OnMeta(torch.nn.Linear):
    """Is given its memory by the file."""

    def __init__(self):
        super().__init__(2, 3, device="meta")


def quantized(weight):
    return torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore")  # torch's own, of sparse and quantized tensors
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (torch.Tensor.to_sparse, "weight: a torch.sparse_coo tensor, where plain numbers are needed"),
        (torch.Tensor.to_sparse_csr, "weight: a torch.sparse_csr tensor"),
        (lambda weight: weight.to("meta"), "weight: a meta tensor"),
        (quantized, "weight: a quantized tensor"),
        (lambda weight: weight.to(torch.complex64), "weight: torch.complex64 would lose its values"),
    ],
    ids=["sparse", "csr", "meta", "quantized", "complex"],
)
def test_tensors_that_hold_no_plain_numbers_are_refused(change, message, tmp_path, net):
    """They have the right name and shape, and would fail in the first forward pass or lose what they mean."""
    state = dict(net.state_dict())
    torch.save(state | {"weight": change(state["weight"])}, tmp_path / "m.pth")
    with pytest.raises(ModelError, match=message):
        ModelLoader(tmp_path).bring_up_model(make(weights="m.pth", **LINEAR), gpu=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int8])
def test_weights_of_another_dtype_become_the_architectures(dtype, tmp_path):
    """Where that loses no value: a checkpoint of half the precision, or of whole numbers."""
    whole = {"weight": torch.tensor([[1, 2], [3, 4], [5, 6]]).to(dtype), "bias": torch.zeros(3, dtype=dtype)}
    torch.save(whole, tmp_path / "m.pth")
    module = ModelLoader(tmp_path).load_module(make(weights="m.pth", **LINEAR), torch.device("cpu"))
    assert module.weight.dtype == torch.float32
    assert module.weight.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_a_file_may_hold_tied_weights_once(tmp_path):
    """As safetensors' own save_model writes it."""
    source = TiesWeights()
    save_model(source, str(tmp_path / "m.safetensors"))
    assert len(load_file(tmp_path / "m.safetensors")) == 3
    model = make(weights="m.safetensors", architecture="test_formats:TiesWeights")
    loaded = ModelLoader(tmp_path).load_module(model, torch.device("cpu"))
    x = torch.randn(5, 2)
    assert torch.equal(loaded(x), source(x))
    assert loaded.first.weight is loaded.second.weight


class Normed(torch.nn.Module):
    """Its weight's norm and direction are parameters of their own."""

    def __init__(self, *, older=False):
        super().__init__()
        normed = torch.nn.utils.weight_norm if older else torch.nn.utils.parametrizations.weight_norm
        self.linear = normed(torch.nn.Linear(2, 3))

    def forward(self, x):
        return self.linear(x)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
def test_names_that_a_module_still_understands_are_taken(tmp_path):
    """As by a plain load_state_dict: PyTorch's parametrizations read what its older weight_norm saved."""
    source = Normed(older=True)
    torch.save(source.state_dict(), tmp_path / "m.pth")
    assert "linear.weight_g" in source.state_dict()
    loaded = ModelLoader(tmp_path).load_module(
        make(weights="m.pth", architecture="test_formats:Normed"), torch.device("cpu")
    )
    x = torch.randn(5, 2)
    assert torch.allclose(loaded(x), source(x), atol=1e-6)


def test_a_lazy_network_takes_its_shapes_from_the_file(tmp_path, net):
    torch.save(net.state_dict(), tmp_path / "m.pth")
    model = make(weights="m.pth", architecture="torch.nn:LazyLinear", arguments={"out_features": 3})
    loaded = ModelLoader(tmp_path).load_module(model, torch.device("cpu"))
    x = torch.randn(5, 2)
    assert torch.equal(loaded(x), net(x))


@pytest.mark.parametrize("network", [KeepsPairs, KeepsViews, TiesWeights, ReadsTransposed, OnMeta])
@pytest.mark.parametrize("name", ["m.safetensors", "m.pth"])
def test_weights_reach_all_that_a_network_keeps_of_its_parameters(network, name, tmp_path):
    """As with a plain load_state_dict: a parameter that was replaced would leave lists and views with random numbers."""
    torch.manual_seed(0)
    source = network().to_empty(device="cpu")
    state = {key: torch.randn(tensor.shape) for key, tensor in source.state_dict().items()}
    plain = network().to_empty(device="cpu") if network is OnMeta else network()
    plain.load_state_dict(state)
    torch.save(state, tmp_path / "m.pth")
    save_file(state, tmp_path / "m.safetensors")
    model = make(weights=name, architecture=f"test_formats:{network.__name__}")
    loaded = ModelLoader(tmp_path).load_module(model, torch.device("cpu"))
    x = torch.randn(5, 2)
    assert torch.equal(loaded(x), plain(x))
    assert not any(tensor.requires_grad for tensor in loaded.parameters())


@pytest.mark.promise("M1", "M2")
@pytest.mark.parametrize(
    "model",
    [
        {"weights": "m.safetensors", **LINEAR},
        {"weights": "m.pth", **LINEAR},
        {"weights": "old.pth", **LINEAR},
        {"weights": "checkpoint.pt", **LINEAR},
        {"weights": "m.pt2", "trust_code": True},
        {"weights": "full.pth", "format": "pickle", "trust_code": True},
    ],
    ids=lambda model: model["weights"],
)
def test_every_format_gives_the_networks_own_answers(model, files, net):
    """predict, predict_batch and a plain torch call agree row by row."""
    brought_up = ModelLoader(files).bring_up_model(make(**model), gpu=False, batch_size=2)
    x = torch.tensor([[1.0, 2.0], [-3.0, 0.5], [0.0, 0.0]])
    scores = torch.softmax(net(x), dim=1)
    rows = list(brought_up.predict([{"a": float(a), "b": float(b)} for a, b in x]))
    assert [row["predicted_class"] for row in rows] == ["xyz"[i] for i in scores.argmax(dim=1)]
    assert [row["confidence"] for row in rows] == pytest.approx(scores.max(dim=1).values.tolist(), abs=1e-6)
    batch = pa.record_batch({"a": pa.array(x[:, 0].numpy()), "b": pa.array(x[:, 1].numpy())})
    assert brought_up.predict_batch(batch).column("predicted_class").to_pylist() == [r["predicted_class"] for r in rows]


@pytest.mark.promise("M2")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_torchscript_gives_the_networks_own_answers(files, net):
    """TorchScript files work without their source."""
    torch.jit.script(net).save(str(files / "m.ts"))
    (row,) = (
        ModelLoader(files)
        .bring_up_model(make(weights="m.ts", trust_code=True), gpu=False)
        .predict([{"a": 1.0, "b": 2.0}])
    )
    assert row["predicted_class"] == "xyz"[int(net(torch.tensor([[1.0, 2.0]])).argmax())]


@pytest.mark.promise("M2")
@pytest.mark.parametrize(
    "layer", [torch.nn.Dropout(0.5), torch.nn.AlphaDropout(0.5), torch.nn.BatchNorm1d(3), torch.nn.RReLU()]
)
def test_a_program_that_was_exported_in_training_mode_is_refused(layer, tmp_path, net):
    """Nothing can switch its dropout off any more."""
    model = torch.nn.Sequential(net, layer)
    for mode in (True, False):
        program = torch.export.export(model.train(mode), (torch.randn(4, 2),))
        torch.export.save(program, tmp_path / f"{mode}.pt2")
    loader = ModelLoader(tmp_path)
    with pytest.raises(ModelError, match=r"exported in training mode \(aten\..*call model.eval\(\)"):
        loader.bring_up_model(make(weights="True.pt2", trust_code=True), gpu=False)
    loader.bring_up_model(make(weights="False.pt2", trust_code=True), gpu=False)


def test_full_pickle_is_refused_and_its_code_does_not_run(tmp_path):
    """A state-dict task never runs code from its weights file."""
    torch.save(RunsCode(tmp_path / "ran"), tmp_path / "m.pth")
    with pytest.raises(ModelError, match=r"Save model.state_dict\(\) instead"):
        ModelLoader(tmp_path).bring_up_model(make(weights="m.pth", **LINEAR), gpu=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"weights": "n.safetensors", **LINEAR}, "there is no file .*n.safetensors.*m.safetensors"),
        (
            {
                "weights": "m.safetensors",
                "architecture": "torch.nn:Linear",
                "arguments": {"in_features": 5, "out_features": 3},
            },
            r"weight: file \(3, 2\), architecture \(3, 5\)",
        ),
        (
            {
                "weights": "m.safetensors",
                "architecture": "torch.nn:LayerNorm",
                "arguments": {"normalized_shape": 2, "bias": False},
            },
            "unexpected bias",
        ),
        (
            {"weights": "m.safetensors", "architecture": "torch.nn:Linear", "arguments": {"inputs": 2}},
            "does not take ModelSpec.arguments",
        ),
        ({"weights": "junk.safetensors", **LINEAR}, "is not a safetensors file"),
        ({"weights": "extra.pth", **LINEAR}, "'_extra_state' is a dict. Leave it out"),
        ({"weights": "script.pth", **LINEAR}, "is a TorchScript program, not a state dict; set format: torchscript"),
        ({"weights": "junk.pth", **LINEAR}, "junk.pth"),
        ({"weights": "junk.pt2", "trust_code": True}, "cannot be read as a torch.export program"),
        ({"weights": "junk.ts", "trust_code": True}, "cannot be read as TorchScript"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_weights_that_cannot_be_used_say_why(model, message, files):
    """Missing, foreign and misfitting files name the file, what was found and what was due."""
    torch.save({"weight": torch.zeros(3, 2), "_extra_state": {"seen": 7}}, files / "extra.pth")
    torch.jit.script(torch.nn.Linear(2, 3)).save(str(files / "script.pth"))
    for suffix in ("safetensors", "pth", "pt2", "ts"):
        (files / f"junk.{suffix}").write_bytes(b"\x20" + b"junk" * 10)
    with pytest.raises(ModelError, match=message):
        ModelLoader(files).bring_up_model(make(**model), gpu=False)


@pytest.mark.promise("M4")
@pytest.mark.parametrize(
    ("holds", "name", "message"),
    [
        ("m.safetensors", "renamed.pt", r"is a safetensors file, although its name .* rename it to \.safetensors"),
        ("m.pth", "renamed.safetensors", r"is a file of torch\.save, although its name .* rename it to \.pth"),
    ],
)
def test_a_renamed_file_is_told_for_what_it_is(holds, name, message, files):
    (files / holds).rename(files / name)
    with pytest.raises(ModelError, match=message):
        ModelLoader(files).bring_up_model(make(weights=name, **LINEAR), gpu=False)


def test_wrong_sha256_is_refused(files):
    """Altered weights are not brought up; unaltered ones are."""
    good = file_sha256(files / "m.safetensors")
    ModelLoader(files).bring_up_model(make(weights="m.safetensors", sha256=good, **LINEAR), gpu=False)
    with pytest.raises(ModelError, match="has sha256 .* but the task declares"):
        ModelLoader(files).bring_up_model(make(weights="m.pth", sha256=good, **LINEAR), gpu=False)


def test_unknown_architecture_suggests_the_nearest(files):
    """A misspelt class is answered with the nearest name in its module."""
    with pytest.raises(TaskError, match="did you mean 'Linear'"):
        ModelLoader(files).bring_up_model(make(weights="m.safetensors", architecture="torch.nn:Linaer"), gpu=False)


@pytest.mark.promise("M63")
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a host without a GPU")
def test_a_gpu_that_is_not_there_is_an_error_unless_auto(files):
    """`cuda` insists, `auto` falls back to the CPU."""
    task = make(weights="m.safetensors", **LINEAR)
    with pytest.raises(DeviceError, match="torch sees 0 GPUs here"):
        ModelLoader(files, device="cuda").bring_up_model(task)
    assert ModelLoader(files).bring_up_model(task).device.type == "cpu"


def test_description_counts_parameters(files):
    """The model asset's metadata come from the file itself."""
    found = ModelLoader(files).describe(make(weights="m.safetensors", **LINEAR))
    assert (found.parameters, found.digest) == (9, file_sha256(files / "m.safetensors"))


def test_float16_weights_run_in_the_architectures_precision(files, net):
    """A file in half precision fills a float32 network."""
    save_file({k: v.half() for k, v in net.state_dict().items()}, files / "half.safetensors")
    brought_up = ModelLoader(files).bring_up_model(make(weights="half.safetensors", **LINEAR), gpu=False)
    assert next(brought_up.module.parameters()).dtype == torch.float32
