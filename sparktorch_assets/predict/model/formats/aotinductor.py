"""Runs a package of `torch._inductor.aoti_compile_and_package` as a module.

A package is a compiled library for one kind of device. It does not check what it is given unless it is asked to, and
would read beyond a tensor that is smaller than those it was compiled for.
"""

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from sparktorch_assets.errors import ModelError

_CHECKS = "AOTI_RUNTIME_CHECK_INPUTS"
"""The environment variable by which the library checks types, sizes and strides of its inputs. It is read when the
library runs for the first time."""
_MAX_BYTES = 1 << 20
"""Maximum size of the settings in a package; they have less than 1 kB."""


def package_device(program: Path | io.BytesIO) -> str | None:
    """The type of the device that a package was compiled for, such as `cpu`; `None` if the file is no such package."""
    try:
        with zipfile.ZipFile(program) as archive:
            for info in archive.infolist():
                if "/aotinductor/" in info.filename and info.filename.endswith("wrapper_metadata.json"):
                    if info.file_size > _MAX_BYTES:
                        return None
                    return str(json.loads(archive.read(info)).get("AOTI_DEVICE_KEY"))
    except Exception:  # a broken archive can raise many kinds of errors  # noqa: BLE001, S110
        pass
    finally:
        if isinstance(program, io.BytesIO):
            program.seek(0)  # where torch begins to read
    return None


def load_package(program: Path | io.BytesIO, path: Path, device: torch.device) -> torch.nn.Module:
    """The package's network, on the device that it was compiled for.

    Args:
        program: the file, or its trusted content.
        path: the file, for messages.
        device: where the network is to run.

    Raises:
        ModelError: the file is no such package, was compiled for another device, or cannot be loaded.
    """
    compiled_for = package_device(program)
    if compiled_for is None:
        raise ModelError(
            f"{path} is not a package of torch._inductor.aoti_compile_and_package; for a program of torch.export.save, "
            f"set format: export"
        )
    if compiled_for != device.type:
        raise ModelError(
            f"{path} was compiled for {compiled_for}, and this model is to run on {device.type}; compile the network for "
            f"{device.type}, or set device: {compiled_for}"
        )
    os.environ.setdefault(_CHECKS, "1")
    try:
        package = torch._inductor.aoti_load_package(  # noqa: SLF001  (its documented name)
            program, device_index=-1 if device.index is None else device.index
        )
    except Exception as error:
        raise ModelError(f"{path} cannot be loaded as an AOTInductor package: {str(error).splitlines()[0]}") from error
    return CompiledNetwork(package, path)


class CompiledNetwork(torch.nn.Module):
    """A package as a module. A single row is given twice, since a size that was exported as dynamic is at least 2."""

    def __init__(self, package: Any, path: Path) -> None:
        super().__init__()
        self._package, self._path = package, path
        self.weight_bytes = path.stat().st_size

    def forward(self, *arguments: torch.Tensor, **named: torch.Tensor) -> Any:
        """What the exported network returns.

        Raises:
            ModelError: an argument has another type or size than the network was compiled for.
        """
        given = [*arguments, *named.values()]
        single = bool(given) and len(given[0]) == 1
        positional = [_doubled(tensor) if single else tensor.contiguous() for tensor in arguments]
        by_name = {name: _doubled(tensor) if single else tensor.contiguous() for name, tensor in named.items()}
        try:
            result = self._package(*positional, **by_name)
        except RuntimeError as error:
            if "input_handles[" in str(error) and "unmatched" in str(error):
                raise ModelError(
                    f"{self._path} was compiled for other inputs than the features give: {str(error).splitlines()[0]}. Change "
                    f"the features, or export the network with that size dynamic, as that of batches has to be: "
                    f"torch.export.export(model, inputs, dynamic_shapes=({{0: torch.export.Dim('batch')}},))"
                ) from error
            raise
        return torch.utils._pytree.tree_map(_first, result) if single else result  # noqa: SLF001


def _doubled(tensor: torch.Tensor) -> torch.Tensor:
    return torch.cat([tensor, tensor])


def _first(value: Any) -> Any:
    return value[:1] if isinstance(value, torch.Tensor) else value
