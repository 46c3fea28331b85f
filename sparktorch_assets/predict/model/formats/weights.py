"""Loads weights files as `torch.nn.Module`s.

Safetensors files and state dicts hold numbers, and reading them runs no code from the file. The other formats are
programs: they are opened only if the task pins their `sha256`, and then from the very bytes that were hashed, or sets
`trust_code`.
"""

import hashlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.file_bounds import check_checkpoint, check_safetensors
from sparktorch_assets.predict.model.formats.aotinductor import load_package, package_device
from sparktorch_assets.predict.model.formats.huggingface import read_huggingface
from sparktorch_assets.predict.model.formats.onnx_network import read_onnx
from sparktorch_assets.tasks.code.import_path import load_import_path
from sparktorch_assets.tasks.files.model_files import check_file
from sparktorch_assets.tasks.model_spec import ModelSpec
from sparktorch_assets.tasks.outputs import Output


def load_module(spec: ModelSpec, path: Path, device: torch.device, output: Output | None = None) -> torch.nn.Module:
    """Load the network of a weights file or folder (every format but `factory`), in evaluation mode, onto `device`.

    Args:
        spec: what the task says about the model.
        path: the file or folder.
        device: where the network is put.
        output: what the network of a Hugging Face folder is for. `None`: what the folder says.

    Raises:
        ModelError: the file is missing, cannot be read in its format, does not fit the architecture, or is a program
            that the task does not trust.
    """
    check_file(path)
    assert spec.format is not None
    if spec.format in _FIXED:
        return _FIXED[spec.format](spec, path, device)
    module = read_huggingface(spec, path, output) if spec.format == "huggingface" else _READERS[spec.format](spec, path)
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{path} ({spec.format}) holds a {type(module).__name__}, not a torch.nn.Module")
    if spec.format != "export":  # an exported program's module has no eval(): its mode was fixed on export
        module.eval()
    return module.to(device)


def _from_state(spec: ModelSpec, path: Path, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    assert spec.architecture is not None
    build = load_import_path(spec.architecture, "ModelSpec.architecture")
    arguments = dict(spec.arguments)
    try:
        module = build(**arguments)
    except TypeError as error:
        raise ModelError(f"{spec.architecture} does not take ModelSpec.arguments {arguments}: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{spec.architecture} returned a {type(module).__name__}, not a torch.nn.Module")
    wanted = module.state_dict(keep_vars=True)
    state = _with_tied_names(state, wanted)
    odd = [f"{name}: {problem}" for name, tensor in state.items() if (problem := _unusable(tensor, wanted.get(name)))]
    if odd:
        raise ModelError(f"weights {path} cannot be used in {spec.architecture}({arguments}): {'; '.join(odd[:5])}")
    shapes = [
        f"{name}: file {tuple(state[name].shape)}, architecture {tuple(wanted[name].shape)}"
        for name in wanted
        if name in state and not is_lazy(wanted[name]) and state[name].shape != wanted[name].shape
    ]
    try:
        # In place, as everywhere in PyTorch, so that references to a parameter that the constructor kept (a list, a
        # view) see its values. Some modules accept older names for their weights, so only loading tells what is
        # missing.
        keys = module.load_state_dict(state, strict=False, assign=any(tensor.is_meta for tensor in wanted.values()))
    except RuntimeError as error:
        if not shapes:
            raise ModelError(f"weights {path} do not fit {spec.architecture}({arguments}): {error}") from error
        missing, surplus = list(wanted.keys() - state.keys()), list(state.keys() - wanted.keys())
    else:
        missing, surplus = keys.missing_keys, keys.unexpected_keys
    if missing or surplus or shapes:
        found = [
            f"{label} {', '.join(items[:5])}{' ...' if len(items) > 5 else ''}"
            for label, items in (
                ("the file lacks", sorted(missing)),
                ("the file has unexpected", sorted(surplus)),
                ("shapes:", shapes),
            )
            if items
        ]
        raise ModelError(f"weights {path} do not fit {spec.architecture}({arguments}): {'; '.join(found)}")
    _share_memory(module, state)
    return module.requires_grad_(requires_grad=False)


def _with_tied_names(state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The file's tensors, also under the names of tensors that the architecture ties to them: safetensors' `save_model`
    writes each shared tensor once."""
    names_of: dict[int, list[str]] = {}
    for name, tensor in wanted.items():
        names_of.setdefault(id(tensor), []).append(name)
    tied = {
        name: state[there[0]]
        for names in names_of.values()
        if (there := [name for name in names if name in state])
        for name in names
    }
    return tied | state


def _share_memory(module: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Let parameters and buffers use the memory-mapped file if they hold the same values, so that the processes of a
    host share one copy of the weights."""
    named = (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    )
    for name, tensor in named:
        mapped = state.get(name)
        if mapped is not None and mapped.dtype == tensor.dtype and torch.equal(mapped, tensor):
            tensor.data = mapped


def _unusable(found: torch.Tensor, wanted: torch.Tensor | None) -> str:
    """Why the file's tensor cannot replace the architecture's tensor of that name; empty if it can."""
    if found.is_quantized or found.layout != torch.strided or found.device.type != "cpu":
        kind = "quantized" if found.is_quantized else str(found.layout if found.device.type == "cpu" else found.device)
        return f"a {kind} tensor, where plain numbers are needed; save a dense float state dict"
    if wanted is not None and not torch.can_cast(found.dtype, wanted.dtype):
        return f"{found.dtype} would lose its values as the architecture's {wanted.dtype}"
    return ""


def _read_safetensors(spec: ModelSpec, path: Path) -> torch.nn.Module:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if _begins(path, 4) == b"PK\3\4":
        raise ModelError(
            f"{path} is a file of torch.save, although its name says that it holds safetensors; rename it to .pth, or "
            f"set ModelSpec.format='state_dict'"
        )
    check_safetensors(path)
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ModelError(f"{path} is not a safetensors file: {error}") from error
    return _from_state(spec, path, state)


def _read_state_dict(spec: ModelSpec, path: Path) -> torch.nn.Module:
    head = _begins(path, 9)  # a safetensors file: the length of a JSON object, and the object
    if head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        raise ModelError(
            f"{path} is a safetensors file, although its name says that it is a state dict; rename it to .safetensors, or "
            f"set ModelSpec.format='safetensors'"
        )
    is_zip = check_checkpoint(path)  # files from before torch 1.6 are not zip archives and cannot be memory-mapped
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} holds more than a state dict, and loading it would run the code inside it. Save "
            f"model.state_dict() instead; if you made the file yourself, set format: pickle and trust_code: true"
        ) from error
    except Exception as error:  # a broken pickle can raise many kinds of errors
        raise ModelError(f"{path} cannot be read as a state dict: {error}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):  # a training checkpoint
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise ModelError(f"{path} holds a {type(state).__name__} that is not a state dict (name -> tensor)")
    odd = [name for name, value in state.items() if not isinstance(name, str) or not isinstance(value, torch.Tensor)]
    if odd:
        raise ModelError(
            f"{path} is not a state dict of tensors alone: {odd[0]!r} is a {type(state[odd[0]]).__name__}. Leave it "
            f"out when you save the file; if the network needs it, bring the network up with a factory"
        )
    return _from_state(spec, path, state)


def _begins(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _program(spec: ModelSpec, path: Path) -> Path | io.BytesIO:
    """The source to load a program from: its pinned bytes, held in memory so that they cannot be exchanged after they
    were hashed, or the path of a trusted file."""
    if spec.sha256 is None:
        if not spec.trust_code:
            raise ModelError(f"{path} is not opened: {spec.code_in_weights}. Set sha256 or trust_code in its ModelSpec")
        return path
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != spec.sha256:
        raise ModelError(f"{path} has sha256 {found}, but the task declares {spec.sha256}; the file was changed")
    return io.BytesIO(content)


def _read_torchscript(spec: ModelSpec, path: Path) -> Any:
    program = _program(spec, path)
    try:
        return torch.jit.load(program, map_location="cpu")  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ModelError(f"{path} cannot be read as TorchScript: {str(error).splitlines()[0]}") from error


def _read_aotinductor(spec: ModelSpec, path: Path, device: torch.device) -> torch.nn.Module:
    return load_package(_program(spec, path), path, device)


def _read_export(spec: ModelSpec, path: Path) -> Any:
    program = _program(spec, path)
    if package_device(program) is not None:
        raise ModelError(
            f"{path} is a package of torch._inductor.aoti_compile_and_package, not a program of torch.export.save; set "
            f"format: aotinductor"
        )
    try:
        exported = torch.export.load(program)
        trains = next(filter(_trains, exported.graph.nodes), None)
        module = exported.module()
    except Exception as error:
        raise ModelError(f"{path} cannot be read as a torch.export program: {error}") from error
    if trains is not None:
        raise ModelError(
            f"{path} was exported in training mode ({trains.target}), so its predictions are random or depend on the "
            f"other rows of a batch; call model.eval() before torch.export.export"
        )
    return module


def _trains(node: torch.fx.Node) -> bool:
    """Whether an operator of an exported graph is in training mode: drops values, or normalizes by the batch."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return False
    given = {argument.name: value for argument, value in zip(schema.arguments, node.args, strict=False)} | node.kwargs
    return given.get("train") is True or given.get("training") is True or bool(given.get("dropout_p", 0))


def _read_pickle(spec: ModelSpec, path: Path) -> Any:
    return torch.load(_program(spec, path), map_location="cpu", weights_only=False)


_READERS: dict[str, Callable[[ModelSpec, Path], Any]] = {
    "safetensors": _read_safetensors,
    "state_dict": _read_state_dict,
    "torchscript": _read_torchscript,
    "export": _read_export,
    "pickle": _read_pickle,
}

_FIXED: dict[str, Callable[[ModelSpec, Path, torch.device], torch.nn.Module]] = {
    "onnx": read_onnx,
    "aotinductor": _read_aotinductor,
}
"""The readers of networks that are bound to a device when they are loaded, and have no modes."""
