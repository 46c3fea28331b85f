"""An error of a GPU that cannot be used any more is not one of rows; an error that a smaller batch may avoid still is."""

import pyarrow as pa
import pytest
import torch

from sparktorch_assets.errors import DeviceError
from sparktorch_assets.predict.device_failure import device_error
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.model.transfer import PendingOutputs
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import BatchPolicy

LAUNCH = (
    "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported at some other call"
)
ASSERT = "CUDA error: device-side assert triggered"


class Breaks(torch.nn.Module):
    """Works for some batches, then raises for every one."""

    def __init__(self, message):
        super().__init__()
        self.message, self.calls = message, 0

    def forward(self, x_BF):
        self.calls += 1
        if self.calls > 3:
            raise RuntimeError(self.message)
        return torch.cat([-x_BF, x_BF], dim=1)


class Loader(ModelLoader):
    def __init__(self, message):
        super().__init__()
        self.message = message
        self.made = []

    def load_module(self, ml_task, device):
        self.made.append(Breaks(self.message))
        return self.made[-1]


@pytest.mark.promise("O227")
@pytest.mark.parametrize("message", [LAUNCH, ASSERT, "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"])
def test_rows_do_not_fail_for_a_gpu(echo_task, message):
    """Although earlier rows succeeded, and only few may be left: the error is raised at once, with what to do."""
    loader = Loader(message)
    batch = pa.record_batch({"x": [float(i) for i in range(40)]})
    with pytest.raises(DeviceError, match=rf"the GPU failed: {message.splitlines()[0]}\. This process.*device: cpu"):
        list(predict_map(0, [batch], echo_task(batch=BatchPolicy(batch_size=10)), model_loader=loader))
    assert loader.made[0].calls == 4  # and no search for a bad row


def test_a_failure_that_shows_when_results_are_fetched():
    """Kernels run after the call that launched them has returned."""

    class Event:
        def synchronize(self):
            raise RuntimeError(LAUNCH)

    with pytest.raises(DeviceError, match="unspecified launch failure"):
        PendingOutputs({}, Event()).fetch()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: out of memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: invalid configuration argument"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("CUDA error: says the row"),
        DeviceError("the GPU failed: CUDA error: x"),
    ],
)
def test_other_errors_stay_what_they_are(error):
    assert device_error(error) is None
