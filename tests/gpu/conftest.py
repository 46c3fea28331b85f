"""These tests compute on a real NVIDIA GPU. `make test-gpu` runs them, and they are skipped on hosts without one."""

import gc

import pyarrow as pa
import pytest
import torch

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.model.cache import forget_models
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature


def pytest_collection_modifyitems(items):
    """All of them are marked, and share one process: a context of CUDA takes seconds to make."""
    for item in items:
        if "tests/gpu/" in item.path.as_posix():
            item.add_marker(pytest.mark.gpu)
            item.add_marker(pytest.mark.xdist_group("gpu"))


@pytest.fixture(autouse=True)
def _a_gpu_without_models():
    if not torch.cuda.is_available():
        pytest.skip("this test computes on an NVIDIA GPU, and torch sees none here")
    forget_models()
    gc.collect()
    torch.cuda.empty_cache()


@pytest.fixture
def loader_of(tmp_path):
    """`loader_of(module)`: a loader whose tasks all have this network."""

    class Loader(ModelLoader):
        def __init__(self, module):
            super().__init__(tmp_path)
            self.module = module

        def load_module(self, ml_task, device):
            return self.module.to(device)

    return Loader


@pytest.fixture
def numbers_task():
    """`numbers_task(columns, labels, **changes)`: a classifier of numeric columns."""

    def make(columns, labels=("0", "1"), **changes):
        return MlTask(
            name="numbers",
            input="table",
            model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
            features=[NumericFeature(columns=list(columns))],
            labels=labels,
            **changes,
        )

    return make


@pytest.fixture
def numbers():
    """`numbers(rows, columns)`: a table with an `id`, and columns of normally distributed float32 numbers."""

    def make(rows, columns, seed=0):
        x_NF = torch.randn(rows, len(columns), generator=torch.Generator().manual_seed(seed)).numpy()
        return pa.table({"id": range(rows)} | {name: x_NF[:, place] for place, name in enumerate(columns)})

    return make
