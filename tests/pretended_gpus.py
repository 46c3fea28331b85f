"""Importing this makes torch say that the process sees GPUs: as many as the environment variable PRETENDED_GPUS says, or
as CUDA_VISIBLE_DEVICES lists. Nothing computes on them; what a test lets loose on them has to run on the CPU."""

import os

import torch

VARIABLE = "PRETENDED_GPUS"


def _count():
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return int(os.environ.get(VARIABLE, "0")) if visible is None else len(visible.split(","))


torch.cuda.device_count = _count
torch.cuda.is_available = lambda: _count() > 0
