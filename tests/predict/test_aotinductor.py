"""Packages of AOTInductor give the network's own numbers, and are trusted as programs are."""

import shutil
import warnings
import zipfile

import numpy as np
import pyarrow as pa
import pytest
import torch

from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import ClassificationOutput, Execution, MlTask, ModelSpec, NumericFeature, TensorFeature
from sparktorch_assets.tasks.files.model_files import file_sha256

NUMBERS = NumericFeature(columns=["a", "b"])
TRUSTED = {"weights": "m.pt2", "format": "aotinductor", "trust_code": True}


def a_task(feature=NUMBERS, **model):
    return MlTask(
        name="t",
        model=ModelSpec(**{**TRUSTED, **model}),
        features=[feature],
        labels=["x", "y", "z"],
        output=ClassificationOutput(scores=True),
        max_failed_share=1.0,
    )


def rows_of(task, root, batch_size, **columns):
    batches = predict_map(0, [pa.record_batch(columns)], task, batch_size, model_loader=ModelLoader(root, device="cpu"))
    return pa.Table.from_batches(batches).to_pylist()


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).eval()


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The network, compiled once."""
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    folder = tmp_path_factory.mktemp("package")
    quick = {"aot_inductor.compile_wrapper_opt_level": "O0"}  # the compiler takes most of the time of these tests
    with warnings.catch_warnings():  # torch's own, while it compiles
        warnings.simplefilter("ignore")
        exported = torch.export.export(
            network(), (torch.zeros(4, 2),), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
        torch._inductor.aoti_compile_and_package(exported, package_path=str(folder / "m.pt2"), inductor_configs=quick)
    return folder


def written(path, name="m/data/aotinductor/model/abc.wrapper_metadata.json", content='{"AOTI_DEVICE_KEY": "cuda"}'):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first of these tests waits for the compiler
@pytest.mark.promise("M2", "M174")
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_rows_get_the_networks_own_numbers(package, batch_size):
    """In batches of one row, of as many as it was exported with, and of others; a null costs its row."""
    given = np.random.default_rng(0).normal(size=(11, 2)).astype(np.float32)
    values = given.astype(object)
    values[4, 1] = None
    pinned = a_task(trust_code=False, sha256=file_sha256(package / "m.pt2"))
    for task in (a_task(), pinned):
        rows = rows_of(task, package, batch_size, a=pa.array(values[:, 0].tolist()), b=pa.array(values[:, 1].tolist()))
        good = [row for row in range(11) if row != 4]
        expected = torch.softmax(network()(torch.from_numpy(given[good])), dim=1).detach().numpy()
        np.testing.assert_allclose([rows[row]["scores"] for row in good], expected, rtol=1e-5)
        assert rows[4]["prediction_error"].startswith("encode: Null")


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first of these tests waits for the compiler
@pytest.mark.promise("M174")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "feature",
    [TensorFeature(column="v", shape=[3]), TensorFeature(column="w", shape=[2], dtype="int64")],
    ids=["size", "type"],
)
def test_inputs_that_it_was_not_compiled_for_end_the_run(package, feature):
    """It would read beyond them otherwise."""
    columns = {"v": pa.array([[1.0, 2.0, 3.0]] * 3), "w": pa.array([[1, 2]] * 3)}
    with pytest.raises(ModelError, match=r"compiled for other inputs .*unmatched .*export the network with"):
        rows_of(a_task(feature), package, 3, **columns)


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first of these tests waits for the compiler
@pytest.mark.promise("M174")
@pytest.mark.filterwarnings("ignore")
def test_a_package_is_not_opened_unless_it_is_trusted(package):
    loader = ModelLoader(package)
    with pytest.raises(ModelError, match=r"an AOTInductor package is a compiled program.*sha256: [0-9a-f]{64}"):
        loader.bring_up_model(a_task(trust_code=False), gpu=False)
    with pytest.raises(ModelError, match=r"is a package of .*aoti_compile_and_package, .*set format: aotinductor"):
        loader.bring_up_model(a_task(format="export"), gpu=False)
    assert loader.describe(a_task()).parameters is None


@pytest.mark.promise("M174")
def test_a_package_for_another_device_says_for_which(tmp_path):
    written(tmp_path / "m.pt2")
    with pytest.raises(
        ModelError, match=r"was compiled for cuda, and this model is to run on cpu; .* set device: cuda"
    ):
        ModelLoader(tmp_path).bring_up_model(a_task(), gpu=False)
    assert ModelLoader(tmp_path).describe(a_task()).format == "aotinductor", "on a driver without a GPU"


@pytest.mark.promise("M174")
@pytest.mark.parametrize("content", [b"", b"junk" * 10])
def test_a_file_of_another_kind_is_refused(content, tmp_path):
    (tmp_path / "m.pt2").write_bytes(content)
    with pytest.raises(ModelError, match=r"is not a package of torch\._inductor.*set format: export"):
        ModelLoader(tmp_path).bring_up_model(a_task(), gpu=False)
    written(tmp_path / "m.pt2", content="[]")
    with pytest.raises(ModelError, match=r"is not a package"):
        ModelLoader(tmp_path).bring_up_model(a_task(), gpu=False)
    written(tmp_path / "m.pt2", content='{"AOTI_DEVICE_KEY": "cpu"}')
    with pytest.raises(ModelError, match=r"cannot be loaded as an AOTInductor package"):
        ModelLoader(tmp_path).bring_up_model(a_task(), gpu=False)


@pytest.mark.promise("M174")
def test_options_for_networks_of_torch_are_refused():
    with pytest.raises(TaskError, match=r"ModelSpec.architecture is given, but .* is an AOTInductor package"):
        ModelSpec(**TRUSTED, architecture="torch.nn:Linear")
    with pytest.raises(TaskError, match=r"execution\.precision='bf16' .*format 'aotinductor'"):
        MlTask(
            name="t",
            model=ModelSpec(**TRUSTED),
            features=[NUMBERS],
            labels=["x", "y"],
            execution=Execution(precision="bf16"),
        )
