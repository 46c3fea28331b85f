"""A GPU's memory: batches that do not fit are halved, models are given back, and nothing grows."""

import gc
import os
import select
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch

from sparktorch_assets.predict.local import LocalPredictor
from sparktorch_assets.predict.model.cache import forget_models
from sparktorch_assets.predict.partition import predict_batches
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import BatchPolicy, SlotPolicy

GIB = 1 << 30
CUDA = SlotPolicy(device="cuda")


class Hungry(torch.nn.Module):
    """Needs `row_bytes` more per row while it runs, and tells a row's sign."""

    def __init__(self, row_bytes):
        super().__init__()
        self.floats = row_bytes // 4
        self.sizes = []

    def forward(self, x_BF):
        self.sizes.append(len(x_BF))
        taken_BM = torch.zeros(len(x_BF), self.floats, device=x_BF.device)
        x_B = x_BF[:, 0] + taken_BM[:, -1]
        return torch.stack([-x_B, x_B], dim=1)


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path, monkeypatch):
    """What ran out of memory is remembered per host: not from one test to the next."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture
def little_memory():
    """`little_memory(bytes)`: this process may take no more than this of the GPU's memory."""
    total = torch.cuda.get_device_properties(0).total_memory

    def limit(at_most):
        torch.cuda.set_per_process_memory_fraction(at_most / total)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)


def predicted(predictor, table, rows_per_batch=None):
    tally = Tally()
    batches = table.to_batches(max_chunksize=rows_per_batch)
    schema = output_schema(predictor.task, table.schema)
    found = list(predict_batches(batches, predictor=predictor, schema=schema, tally=tally))
    return pa.Table.from_batches(found, schema), tally


@pytest.mark.promise("M44")
def test_a_batch_that_does_not_fit_is_halved(loader_of, numbers_task, numbers, little_memory):
    """8 MiB per row and a limit of 1 GiB: 4,096 rows at once would need 32. No row fails, and none is lost."""
    network = Hungry(8 << 20)
    table = numbers(4096, ["x"])
    task = numbers_task(["x"], batch=BatchPolicy(batch_size=4096))
    predictor = LocalPredictor(task, model_loader=loader_of(network), slots=CUDA)
    little_memory(GIB)
    found, tally = predicted(predictor, table)
    x_N = table["x"].to_numpy()
    assert found["id"].to_pylist() == table["id"].to_pylist()
    assert found["predicted_class"].to_pylist() == [str(int(x > 0)) for x in x_N]
    assert found["prediction_error"].null_count == 4096
    assert tally.failed == 0
    assert max(network.sizes) == 4096  # it was tried
    assert sum(network.sizes) - 4096 <= 4096 * 8  # and not over and over again
    assert network.sizes[-1] <= 128


def test_one_row_that_never_fits_fails_alone(loader_of, numbers_task, little_memory):
    class TakesMuchForOne(torch.nn.Module):
        def forward(self, x_BF):
            taken = torch.empty(int(x_BF.max()), dtype=torch.uint8, device=x_BF.device)
            return torch.stack([0 * x_BF[:, 0], 0 * x_BF[:, 0] + 1 + 0 * taken[:1].sum()], dim=1)

    table = pa.table({"id": range(100), "x": [4.0 * GIB if row == 37 else 1.0 for row in range(100)]})
    task = numbers_task(["x"], batch=BatchPolicy(batch_size=32))
    predictor = LocalPredictor(task, model_loader=loader_of(TakesMuchForOne()), slots=CUDA)
    little_memory(GIB)
    found, tally = predicted(predictor, table)
    errors = found["prediction_error"].to_pylist()
    assert [row for row, error in enumerate(errors) if error] == [37]
    assert "memory" in errors[37].lower()
    assert tally.failed == 1


def test_memory_is_flat_after_a_thousand_batches(loader_of, numbers_task, numbers):
    """Of the GPU, in batches whose sizes differ; the first hundred batches may choose kernels and workspaces."""
    columns = [f"x{place}" for place in range(16)]
    network = torch.nn.Sequential(torch.nn.Linear(16, 512), torch.nn.ReLU(), torch.nn.Linear(512, 2))
    predictor = LocalPredictor(
        numbers_task(columns, batch=BatchPolicy(batch_size=512)), model_loader=loader_of(network), slots=CUDA
    )
    rng = np.random.default_rng(0)
    table = numbers(100 * 512, columns)
    held = []
    for _ in range(11):
        predicted(predictor, table, int(rng.integers(300, 5000)))
        held.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
    allocated, reserved = zip(*held[1:], strict=True)
    assert max(allocated) - min(allocated) <= 1 << 20
    assert max(reserved) - min(reserved) <= 32 << 20


def test_forgotten_models_give_their_memory_back(loader_of, numbers_task, numbers):
    before = torch.cuda.memory_allocated()
    predictor = LocalPredictor(
        numbers_task(["x"]), model_loader=loader_of(torch.nn.Sequential(torch.nn.Linear(1, 2), Weights())), slots=CUDA
    )
    predicted(predictor, numbers(100, ["x"]))
    assert torch.cuda.memory_allocated() - before > 1 << 28
    predictor.close()
    del predictor
    forget_models()
    gc.collect()
    assert torch.cuda.memory_allocated() - before < 1 << 20


class Weights(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1 << 27))

    def forward(self, x_BF):
        return x_BF


SLOT = """
import sys, time
from pathlib import Path
import torch
from sparktorch_assets.predict.model.device import choose_device
started = time.monotonic()
chosen = choose_device("cuda", models_per_gpu=int(sys.argv[2]), partition_index=0, leases=Path(sys.argv[1]), wait=True)
held = torch.zeros(1 << 28, device=str(chosen))
print("computes", flush=True)
sys.stdin.readline()
"""


class Slot:
    def __init__(self, leases, models_per_gpu):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SLOT, leases, str(models_per_gpu)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ,
        )  # fmt: skip

    def computes(self):
        return self.process.stdout.readline().strip() == "computes"

    def waits(self):
        says_something, _, _ = select.select([self.process.stdout], [], [], 15)
        return not says_something

    def end(self, sent=signal.SIGKILL):
        self.process.send_signal(sent)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.mark.promise("O224")
@pytest.mark.timeout(120)
def test_processes_share_a_gpu_and_a_killed_one_leaves_it(tmp_path):
    """Two at once with two models per GPU; the third computes as soon as one of them is killed, and finds its memory."""
    free_before, _ = torch.cuda.mem_get_info()
    slots = [Slot(tmp_path, 2), Slot(tmp_path, 2)]
    assert all(slot.computes() for slot in slots)
    slots.append(Slot(tmp_path, 2))
    try:
        assert slots[2].waits()
        slots[0].end()
        assert slots[2].computes()
    finally:
        for slot in slots[1:]:
            slot.end()
    free_after, _ = torch.cuda.mem_get_info()
    assert free_before - free_after < 1 << 28
