"""A GPU that a process can no longer use ends that process's work, with an error that says so; the next process works."""

import os
import subprocess
import sys

import pytest
import torch

BREAKS = """
import sys
import pyarrow as pa
import torch
from sparktorch_assets.errors import DeviceError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import BatchPolicy, MlTask, ModelSpec, NumericFeature, SlotPolicy

class Looks(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(100, 2)
    def forward(self, x_BF):
        return self.table(x_BF[:, 0].long())

class Loader(ModelLoader):
    def load_module(self, ml_task, device):
        return Looks().to(device)

task = MlTask(name="looks", input="t", model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    features=[NumericFeature(columns=["x"])], labels=["a", "b"], batch=BatchPolicy(batch_size=16))
batch = pa.record_batch({"x": [float(sys.argv[1]) if row == 50 else float(row % 100) for row in range(200)]})
try:
    found = list(predict_map(0, [batch], task, model_loader=Loader(), slots=SlotPolicy(device="cuda")))
    print(sum(part.num_rows for part in found))
except DeviceError as error:
    print(f"DeviceError: {error}")
"""


@pytest.mark.parametrize(("token", "says"), [("99", "200"), ("100", "DeviceError: the GPU failed: ")])
def test_an_index_out_of_range_is_not_taken_for_a_missing_gpu_or_for_many_bad_rows(token, says):
    """A kernel's assertion loses CUDA's state in this process, so that no later row could be predicted."""
    done = subprocess.run(
        [sys.executable, "-c", BREAKS, token], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(says)
    if says.startswith("Device"):
        assert "device: cpu" in done.stdout
    assert float(torch.ones(3, device="cuda").sum()) == 3  # other processes never notice
