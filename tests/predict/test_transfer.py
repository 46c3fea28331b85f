"""The asynchronous path, on a pretended device: same answers, one batch late, nothing read before it has arrived."""

import contextlib

import pyarrow as pa
import pytest
import torch

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.model import pinned_memory, transfer
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import BatchPolicy


class FakeCuda:
    """What `Transfer` uses of `torch.cuda`, in the order in which it was used."""

    def __init__(self):
        self.log = []

    def Stream(self, device):
        return self

    def current_stream(self, device=None):
        return self

    @contextlib.contextmanager
    def stream(self, stream):
        self.log.append("copy in")
        yield

    def wait_stream(self, stream):
        self.log.append("compute waits for copy")

    def Event(self):
        return FakeEvent(self)

    def synchronize(self, device=None):
        self.log.append("synchronize all")

    def empty_cache(self):
        self.log.append("empty cache")


class FakeEvent:
    def __init__(self, cuda):
        self.cuda = cuda

    def record(self, stream):
        self.cuda.log.append("launched")

    def query(self):
        return True

    def synchronize(self):
        self.cuda.log.append("fetched")


class FakeTorch:
    """torch, but for `cuda`, and without pinned memory, which needs a driver."""

    def __init__(self, cuda):
        self.cuda = cuda

    def empty(self, *args, pin_memory=False, **kwargs):
        assert pin_memory, "results must come back into pinned memory, or the copy stops the host"
        return torch.empty(*args, **kwargs)

    def __getattr__(self, name):
        return getattr(torch, name)


@pytest.fixture
def cuda(monkeypatch):
    """Every Transfer made from now on believes that its device is asynchronous."""
    fake = FakeCuda()
    for module in (pinned_memory, transfer):
        monkeypatch.setattr(module, "torch", FakeTorch(fake))
    monkeypatch.setattr(transfer, "PINNED", pinned_memory.PinnedMemory())
    made = transfer.Transfer.__init__

    def make(self, device):
        made(self, device)
        self.asynchronous, self._copies = True, fake

    monkeypatch.setattr(transfer.Transfer, "__init__", make)
    return fake


@pytest.mark.promise("M68")
@pytest.mark.parametrize("window_bytes", [64 << 20, 32])
def test_results_come_one_batch_late_and_are_waited_for(window_bytes, echo_task, table, loader, cuda):
    """While a batch is fetched the next one is launched already, also where it is in the next window: the device never
    runs dry. At most two are under way; the rows are the same."""
    rows = list(predict_map(0, table(20).to_pylist(), echo_task(), 20, model_loader=loader))
    cuda.log.clear()
    task = echo_task(name="again", batch=BatchPolicy(window_bytes=window_bytes))
    found = pa.Table.from_batches(predict_map(0, [table(20)], task, 4, model_loader=ModelLoader(loader.models_root)))
    assert [row["predicted_class"] for row in found.to_pylist()] == [row["predicted_class"] for row in rows]
    under_way = most = launched = 0
    for event in cuda.log:
        launched += event == "launched"
        under_way += {"launched": 1, "fetched": -1}.get(event, 0)
        most = max(most, under_way)
        assert event != "fetched" or under_way >= 1 or launched == 5, "the device ran dry"
    assert under_way == 0, "a result was never waited for"
    assert most <= 2
    assert cuda.log.count("launched") == 5
    assert cuda.log.count("copy in") == cuda.log.count("compute waits for copy") == 5
    assert "synchronize all" not in cuda.log, "a pinned batch size needs no clock, and so no full stop"


@pytest.mark.promise("M68")
def test_memory_is_given_back_before_a_smaller_batch_is_tried(echo_task, table, loader, cuda, tmp_path, monkeypatch):
    """Out of memory on a device: cached blocks go first, then halves."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    task = echo_task("OutOfMemoryAbove", arguments={"rows": 2})
    found = pa.Table.from_batches(predict_map(0, [table(8)], task, 4, model_loader=loader))
    assert found.column("prediction_error").null_count == 8
    assert cuda.log.index("empty cache") < cuda.log.index("fetched")
