"""Model files that attack: none of them runs code unless the task trusts it, and each attack is shown to work then.

Every attack leaves a trace on the disk. A test that only looked for an error would pass where the code ran first.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.model.formats.weights import load_module
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.spark.score.table import plan_table
from sparktorch_assets.tasks import CustomFeature, MlTask, ModelSpec, NumericFeature, SlotPolicy
from sparktorch_assets.tasks.digest import model_digest
from sparktorch_assets.tasks.files.model_files import file_sha256

LINEAR = {"architecture": "torch.nn:Linear", "arguments": {"in_features": 2, "out_features": 3}}

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own, of deprecated formats


class RunsCode:
    """A pickle of this makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def opens_as_pickle(weights, _device):
    """A factory as users write them."""
    return torch.load(weights, weights_only=False)


def opens_by_argument(_weights, _device, file=None):
    """A factory that finds its file by itself, by name or under the models root."""
    return torch.load(MODELS[0] / (file or "m.bin"), weights_only=False)


def builds_by_argument(file=None):
    """An architecture that does the same."""
    return opens_by_argument(None, None, file)


class EncodesByArgument:
    """An encoder that opens a file by name."""

    def __init__(self, file):
        torch.load(MODELS[0] / file, weights_only=False)

    def __call__(self, batch):
        return torch.zeros(batch.num_rows, 2)


MODELS = []
"""The models root of the running test."""


def task_of(spec, *features):
    features = features or [NumericFeature(columns=["a", "b"])]
    return MlTask(name="t", input="i", model=spec, features=features, labels=list("xyz"))


def rewritten(source, target, change):
    """A copy of a zip in which `change(name, content)` replaces contents."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))


def exported(path):
    batch = torch.export.Dim("batch")
    program = torch.export.export(torch.nn.Linear(2, 3), (torch.zeros(2, 2),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)


def pickled_inputs(path, trace):
    """A torch.export program whose sample inputs are a pickle: torch reads it without `weights_only` when that fails."""
    exported(path.with_suffix(".plain"))
    torch.save(RunsCode(trace), path.with_suffix(".inputs"))
    inputs = path.with_suffix(".inputs").read_bytes()
    rewritten(path.with_suffix(".plain"), path, lambda name, old: inputs if "sample_inputs" in name else old)


def symbolic_expression(path, trace):
    """A torch.export program with an expression that sympy evaluates as Python."""
    exported(path.with_suffix(".plain"))
    attack = f"__import__('os').mkdir({str(trace)!r})"

    def change(name, old):
        if not name.endswith("models/model.json"):
            return old

        def poisoned(value):
            if isinstance(value, dict):
                return {key: attack if key == "expr_str" else poisoned(item) for key, item in value.items()}
            return [poisoned(item) for item in value] if isinstance(value, list) else value

        return json.dumps(poisoned(json.loads(old)))

    rewritten(path.with_suffix(".plain"), path, change)


class _WritesWhenLoaded(torch.nn.Module):
    path: str
    written: torch.Tensor

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.written = torch.zeros(1)

    def forward(self, x):
        return x

    @torch.jit.export
    def __getstate__(self):
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.path = state[0]
        self.training = state[1]
        self.written = torch.from_file(self.path, True, 5).copy_(torch.ones(5))  # kept, or the compiler drops it


def script_with_setstate(path, trace):
    """A TorchScript program that writes to a file as it is loaded."""
    torch.jit.script(_WritesWhenLoaded(str(trace))).save(str(path))


def full_pickle(path, trace):
    """A pickle that makes a folder."""
    torch.save(RunsCode(trace), path)


ATTACKS = {
    "pickled inputs": (pickled_inputs, "m.pt2", {}),
    "symbolic expression": (symbolic_expression, "m.pt2", {}),
    "TorchScript": (script_with_setstate, "m.ts", {}),
    "pickle": (full_pickle, "m.pkl", {"format": "pickle"}),
    "factory": (full_pickle, "m.bin", {"factory": "test_trust:opens_as_pickle"}),
}


@pytest.fixture(params=ATTACKS, ids=lambda name: name.replace(" ", "_"))
def attack(request, tmp_path, monkeypatch):
    """A model file that attacks, the trace that it leaves, and the spec that opens it but for trust."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    build, name, model = ATTACKS[request.param]
    build(tmp_path / name, tmp_path / "trace")
    shutil.rmtree(tmp_path / "trace", ignore_errors=True)
    (tmp_path / "trace").unlink(missing_ok=True)
    return tmp_path, tmp_path / "trace", ModelSpec(weights=name, **model)


WAYS_IN = {
    "predict_map": lambda root, task: list(
        predict_map(0, [{"a": 1.0, "b": 2.0}], task, model_loader=ModelLoader(root), slots=SlotPolicy(device="cpu"))
    ),
    "describe": lambda root, task: ModelLoader(root).describe(task),
    "bring_up_model": lambda root, task: ModelLoader(root).bring_up_model(task, gpu=False),
    "digest": lambda root, task: model_digest(task, root),
    "plan": lambda root, task: plan_table(
        str(root / "in.parquet"), task, output_table=str(root / "out"), model_loader=ModelLoader(root)
    ),
}


@pytest.mark.promise("M6", "M9")
@pytest.mark.parametrize("way", WAYS_IN)
def test_no_way_in_runs_code_that_is_not_trusted(attack, way):
    """Planning, describing and bringing up refuse a program before any of it is interpreted, and the message holds both
    lines that would open it."""
    root, trace, spec = attack
    pq.write_table(pa.table({"a": [1.0], "b": [2.0]}), root / "in.parquet")
    with pytest.raises(ModelError, match=rf"sha256: {file_sha256(root / spec.weights)}.*trust_code: true"):
        WAYS_IN[way](root, task_of(spec))
    assert not trace.exists()


FACTORY = {"factory": "test_trust:opens_by_argument"}
HANDED = {
    "files": ModelSpec(**FACTORY, files=["m.bin"]),
    "a folder in files": ModelSpec(**FACTORY, arguments={"file": "folder/m.bin"}, files=["folder"]),
    "arguments": ModelSpec(**FACTORY, arguments={"file": "m.bin"}),
    "beside pinned weights": ModelSpec(**FACTORY, arguments={"file": "m.bin"}, weights="good.pth", sha256="0" * 64),
    "architecture": ModelSpec(
        weights="good.pth", architecture="test_trust:builds_by_argument", arguments={"file": "m.bin"}
    ),
    "encoder": ModelSpec(weights="good.pth", **LINEAR),
}


@pytest.fixture(params=HANDED)
def handed(request, tmp_path, monkeypatch):
    """A file that attacks, in the hands of code that the task names, and the task without trust."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setattr(sys.modules[__name__], "MODELS", [tmp_path])
    monkeypatch.setitem(sys.modules, "test_trust", sys.modules[__name__])
    full_pickle(tmp_path / "m.bin", tmp_path / "trace")
    (tmp_path / "folder").mkdir()
    full_pickle(tmp_path / "folder" / "m.bin", tmp_path / "trace")
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "good.pth")
    spec = HANDED[request.param]
    if spec.sha256 is not None:
        spec = dataclasses.replace(spec, sha256=file_sha256(tmp_path / "good.pth"))
    encoder = CustomFeature(columns=["a"], encoder="test_trust:EncodesByArgument", arguments={"file": "m.bin"})
    return tmp_path, tmp_path / "trace", task_of(spec, *([encoder] if request.param == "encoder" else []))


@pytest.mark.promise("M6", "M10")
@pytest.mark.parametrize("way", WAYS_IN)
def test_code_that_is_given_a_file_needs_trust_for_it(handed, way):
    """By `files` or by name in `arguments`: most formats that a factory, an architecture or an encoder may choose run code,
    and a digest of the weights says nothing of further files."""
    root, trace, task = handed
    pq.write_table(pa.table({"a": [1.0], "b": [2.0]}), root / "in.parquet")
    with pytest.raises(ModelError, match=r"would be given to the code that the task names.*`trust_code: true`"):
        WAYS_IN[way](root, task)
    assert not trace.exists()


@pytest.mark.promise("M6", "M11")
@pytest.mark.parametrize("spelling", ["root by a link", "target of a link", "//", "bytes"])
def test_a_file_needs_trust_however_it_is_spelled(spelling, tmp_path, monkeypatch):
    """It counts in the model's digest as well."""
    monkeypatch.setitem(sys.modules, "test_trust", sys.modules[__name__])
    (tmp_path / "models").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "models")
    file = tmp_path / "models" / "m.bin"
    file.write_bytes(b"1")
    root, text = {
        "root by a link": (tmp_path / "link", str(file)),
        "target of a link": (tmp_path / "models", str(tmp_path / "link" / "m.bin")),
        "//": (tmp_path / "models", f"/{file}"),
        "bytes": (tmp_path / "models", b"m.bin"),
    }[spelling]
    task = task_of(ModelSpec(**FACTORY, arguments={"file": text}))
    with pytest.raises(ModelError, match="would be given to the code that the task names"):
        ModelLoader(root).bring_up_model(task, gpu=False)
    trusted = dataclasses.replace(task, model=dataclasses.replace(task.model, trust_code=True))
    before = model_digest(trusted, root)
    file.write_bytes(b"2")
    assert model_digest(trusted, root) != before


@pytest.mark.promise("M8")
def test_trust_opens_what_code_is_given(handed):
    """The same files run their code then: the test above is of files that attack."""
    root, trace, task = handed
    trusted = dataclasses.replace(task, model=dataclasses.replace(task.model, trust_code=True))
    with contextlib.suppress(Exception):  # most of them hold no model
        WAYS_IN["predict_map"](root, trusted)
    assert trace.exists()


def exchanged_before(load, path):
    """`load`, with the file at `path` exchanged just before."""

    def exchange_and_load(*args, **kwargs):
        other = path.with_suffix(".other")
        shutil.copy(path, other)
        other.replace(path)
        return load(*args, **kwargs)

    return exchange_and_load


@pytest.mark.promise("M7")
@pytest.mark.parametrize("verb", ["describe", "bring_up_model"])
@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "not pinned"])
@pytest.mark.parametrize(
    ("name", "module", "function"),
    [("m.safetensors", safetensors.torch, "load_file"), ("m.pth", torch, "load"), ("m.bin", torch, "load")],
    ids=["safetensors", "state dict", "factory"],
)
def test_weights_exchanged_between_hashing_and_loading_give_no_model(
    name, module, function, pinned, verb, tmp_path, monkeypatch
):
    """Whether they are pinned or not: what was loaded may be either file."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    path, state = tmp_path / name, torch.nn.Linear(2, 3).state_dict()
    if name == "m.bin":
        torch.save(torch.nn.Linear(2, 3), path)
        spec = ModelSpec(weights=name, factory="test_trust:opens_as_pickle", trust_code=True)
    else:
        safetensors.torch.save_file(state, path) if "safe" in name else torch.save(state, path)
        spec = ModelSpec(weights=name, **LINEAR)
    if pinned:
        spec = dataclasses.replace(spec, sha256=file_sha256(path))
    ways = {"describe": {}, "bring_up_model": {"gpu": False}}
    assert getattr(ModelLoader(tmp_path), verb)(task_of(spec), **ways[verb]) is not None
    monkeypatch.setattr(module, function, exchanged_before(getattr(module, function), path))
    with pytest.raises(ModelError, match=f"{name} .*changed while the model was in use"):
        getattr(ModelLoader(tmp_path), verb)(task_of(spec), **ways[verb])


@pytest.mark.promise("M6", "M8")
@pytest.mark.parametrize("pinned", [True, False], ids=["sha256", "trust_code"])
def test_the_attacks_are_real(attack, pinned):
    """With either line the code runs: without this, the tests above could pass on files that do nothing."""
    root, trace, spec = attack
    trust = {"sha256": file_sha256(root / spec.weights)} if pinned else {"trust_code": True}
    with contextlib.suppress(Exception):  # most of them hold no model
        ModelLoader(root).describe(task_of(dataclasses.replace(spec, **trust)))
    assert trace.exists()


@pytest.mark.promise("M7")
def test_a_program_exchanged_after_it_was_hashed_is_refused(attack, monkeypatch):
    """The bytes that were hashed are those that are loaded: a file that is exchanged behind the check does not run."""
    root, trace, spec = attack
    if spec.factory is not None:
        pytest.skip("a factory opens its file by itself")
    pinned = dataclasses.replace(spec, sha256="0" * 64)
    with pytest.raises(ModelError, match="but the task declares 0000"):
        load_module(pinned, root / spec.weights, torch.device("cpu"))
    opened = []
    for module, name in ((torch, "load"), (torch.jit, "load"), (torch.export, "load")):
        monkeypatch.setattr(module, name, lambda file, **_: opened.append(file) or torch.nn.Linear(2, 3))
    monkeypatch.setattr(torch.nn.Linear, "module", lambda self: self, raising=False)
    monkeypatch.setattr(torch.nn.Linear, "graph", torch.fx.Graph(), raising=False)
    load_module(
        dataclasses.replace(spec, sha256=file_sha256(root / spec.weights)), root / spec.weights, torch.device("cpu")
    )
    assert [file.getvalue() for file in opened] == [(root / spec.weights).read_bytes()]
    assert not trace.exists()


@pytest.mark.promise("M5")
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
@pytest.mark.parametrize("build", [pickled_inputs, symbolic_expression, script_with_setstate, full_pickle])
def test_a_state_dict_task_runs_no_code_whatever_the_file_is(build, suffix, tmp_path):
    """A program under a state dict's name, and a state dict with a payload, are refused by the format itself."""
    path = tmp_path / f"m{suffix}"
    build(path, tmp_path / "trace")
    shutil.rmtree(tmp_path / "trace", ignore_errors=True)
    (tmp_path / "trace").unlink(missing_ok=True)
    with pytest.raises(ModelError):
        ModelLoader(tmp_path).bring_up_model(task_of(ModelSpec(weights=path.name, **LINEAR)), gpu=False)
    assert not (tmp_path / "trace").exists()


@pytest.mark.promise("M5")
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("where", ["value", "key", "nested"])
def test_a_payload_inside_a_state_dict_does_not_run(legacy, where, tmp_path):
    """Weights that are right but for one entry, in both of torch's formats."""
    payload = RunsCode(tmp_path / "trace")
    state = dict(torch.nn.Linear(2, 3).state_dict())
    state |= {"value": {"extra": payload}, "key": {(payload,): torch.zeros(1)}, "nested": {"state_dict": [payload]}}[
        where
    ]
    torch.save(state, tmp_path / "m.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelError, match="holds more than a state dict"):
        ModelLoader(tmp_path).bring_up_model(task_of(ModelSpec(weights="m.pth", **LINEAR)), gpu=False)
    assert not (tmp_path / "trace").exists()


@pytest.mark.promise("M3", "M10")
def test_a_factory_without_a_file_needs_no_trust(tmp_path):
    """It is the user's own code, named in the task; strings in its arguments that name no file change nothing."""
    (tmp_path / "Echo.txt").touch()
    spec = ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"})
    assert ModelLoader(tmp_path).describe(task_of(spec)).format == "factory"
