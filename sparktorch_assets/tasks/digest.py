"""What makes predictions stale: digests of files, of a model, and of everything in a task that changes its output."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from types import CodeType, NoneType
from typing import Any

from sparktorch_assets.errors import ModelError, nearest
from sparktorch_assets.tasks.import_path import code_digest
from sparktorch_assets.tasks.ml_task import MlTask

_CHUNK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """The file's sha256, in hexadecimal; computed once per path, size and modification time.

    Raises:
        ModelError: there is no such file; the message lists what lies beside it.
    """
    check_file(path)
    status = path.stat()
    return _sha256(os.fspath(path), status.st_size, status.st_mtime_ns)


def check_file(path: Path) -> None:
    """Raise ModelError, naming what lies beside it, where there is no such file."""
    if path.exists():
        return
    beside = [found.name for found in path.parent.iterdir()] if path.parent.is_dir() else []
    raise ModelError(
        f"there is no file {path}; {nearest(path.name, beside)} in {path.parent}. Check the task's path and the model "
        f"loader's models_root"
    )


@lru_cache(maxsize=1024)
def _sha256(path: str, _size_bytes: int, _modified_ns: int) -> str:  # the last two are the cache's key
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def model_digest(task: MlTask, models_root: Path) -> str:
    """A hash of everything that gives the model its behaviour: files (weights, vocabularies, tokenizers), the code of
    its architecture, factory and encoders, and their arguments.

    Raises:
        ModelError: a file is missing, or the weights differ from the declared sha256.
        TaskError: the architecture's module cannot be found.
    """
    model = task.model
    parts: dict[str, Any] = {"format": model.format, "arguments": model.arguments}
    for path in task.files:
        parts[f"file:{path}"] = file_sha256(models_root / path)
    check_sha256(task, models_root)
    encoders = [feature.encoder for feature in task.features if feature.kind == "custom"]
    for field, code in (("architecture", model.architecture), ("factory", model.factory)):
        if code is not None:
            parts[field] = [code, code_digest(code, f"ModelSpec.{field}")]
    parts["encoders"] = [[path, code_digest(path, "CustomFeature.encoder")] for path in encoders]
    return digest_of(parts)


def check_sha256(task: MlTask, models_root: Path) -> None:
    """Raise ModelError where the task declares its weights' sha256 and the file has another."""
    model = task.model
    if model.sha256 is None or model.weights is None:
        return
    found = file_sha256(models_root / model.weights)
    if found != model.sha256:
        raise ModelError(
            f"task {task.name!r}: {models_root / model.weights} has sha256 {found}, but the task declares "
            f"{model.sha256}. The file was changed or is another model: restore it, or declare the new digest"
        )


def task_digest(task: MlTask) -> str:
    """A hash of what in the task's declaration changes its predictions or its table: not its batches, limits, schedule
    or description.

    A hook given as a function counts by its compiled code; one named by path counts by its module's code.
    """
    hooks = {}
    for name in ("row_preprocessor", "batch_preprocessor", "row_postprocessor", "batch_postprocessor"):
        hook = getattr(task.hooks, name)
        if isinstance(hook, str):
            hooks[name] = [hook, code_digest(hook, f"Hooks.{name}")]
        elif hook is not None:
            hooks[name] = _function_code(hook)
    return digest_of(
        {
            "features": [asdict(feature) for feature in task.features],
            "labels": task.labels,
            "execution": [task.execution.precision, task.execution.compile],
            "where": [asdict(test) for test in task.where],
            "keep_columns": task.keep_columns,
            "hooks": hooks,
            "outputs": [asdict(column) for column in task.output_columns],
            "code_version": task.code_version,
        }
    )


def _function_code(function: Callable[..., Any]) -> Any:
    """What a function does, as far as it can be told the same way in every process: its compiled code, with that of
    functions inside it, its defaults and the plain values that it closes over."""
    if isinstance(function, partial):
        return [_function_code(function.func), repr(function.args), repr(sorted(function.keywords.items()))]
    code = getattr(function, "__code__", None)
    if code is None:  # an object with __call__, or a built-in: its class's code, and its name
        call = vars(type(function)).get("__call__")
        inner = None if call is None or not hasattr(call, "__code__") else _function_code(call)
        return [type(function).__module__, type(function).__qualname__, getattr(function, "__qualname__", ""), inner]
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    closed = [repr(value) for value in cells if isinstance(value, str | int | float | bool | tuple | NoneType)]
    return [_compiled(code), repr(getattr(function, "__defaults__", None)), closed]


def _compiled(code: CodeType) -> Any:
    constants = [_compiled(value) if isinstance(value, CodeType) else repr(value) for value in code.co_consts]
    return [code.co_code.hex(), code.co_names, constants]


def digest_of(value: Any) -> str:
    """The sha256 of `value` as canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
