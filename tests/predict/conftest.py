"""Tasks over the public fault kit: no weights files, answers that a test can compute itself."""

import dataclasses

import pyarrow as pa
import pytest

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.model.cache import forget_models
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature


@pytest.fixture(autouse=True)
def _no_models_left():
    forget_models()


@pytest.fixture
def loader(tmp_path):
    return ModelLoader(tmp_path)


@pytest.fixture
def echo_task():
    """`echo_task(network="Echo", labels=..., **changes)`: one numeric column `x`; class "1" where it is above zero."""

    def make(network="Echo", labels=("0", "1"), arguments=None, **changes):
        task = MlTask(
            name="echo",
            input="table",
            model=ModelSpec(
                factory="sparktorch_assets.testing:build", arguments={"network": network, **(arguments or {})}
            ),
            features=[NumericFeature(columns=["x"])],
            labels=labels,
        )
        return dataclasses.replace(task, **changes)

    return make


@pytest.fixture
def table():
    """`table(n)`: `id` 0 ... n-1 and `x`, which is negative for odd ids."""

    def make(rows, start=0):
        ids = list(range(start, start + rows))
        return pa.record_batch(
            {"id": pa.array(ids, pa.int64()), "x": pa.array([-1.0 if i % 2 else 1.0 for i in ids], pa.float64())}
        )

    return make
