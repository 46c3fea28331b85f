"""Digests of a model, and of everything in a task that changes its output: predictions are stale when these change."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.code.closure import code_closure
from sparktorch_assets.tasks.code.function_code import modules_behind
from sparktorch_assets.tasks.code.import_path import import_path_code, named_module
from sparktorch_assets.tasks.code.module_finder import ModuleFinder
from sparktorch_assets.tasks.features import Feature
from sparktorch_assets.tasks.features.checks import ADDED
from sparktorch_assets.tasks.files.model_files import file_sha256, model_files
from sparktorch_assets.tasks.files.model_trust import check_weights
from sparktorch_assets.tasks.hooks import HOOKS, Hook
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.model_spec import ModelSpec
from sparktorch_assets.tasks.per_declaration import PerDeclaration
from sparktorch_assets.tasks.plain_state import classes_in, plain_state


def model_digest(task: MlTask, models_root: Path) -> str:
    """A hash of everything that determines what the model computes: files (weights, vocabularies, tokenizers), the code
    of its architecture, factory and encoders, and their arguments.

    Raises:
        ModelError: a file is missing or changes while it is read, or `check_weights` refuses the weights.
        TaskError: the module of the architecture, the factory or an encoder cannot be found.
    """
    model = task.model
    return digest_of(
        {
            "files": files_digest(task, models_root),
            "format": model.format,
            "arguments": model.arguments,
            "code": [[field, path, import_path_code(path, field)] for field, path in model_paths(task)],
            "argument_code": argument_code(task),
        },
        f"task {task.name!r}: ModelSpec.arguments",
    )


def files_digest(task: MlTask, models_root: Path) -> str:
    """A hash of the names and contents of the model's files: see `model_files`.

    Raises:
        ModelError: a file is missing or changes while it is read, or `check_weights` refuses the weights.
    """
    check_weights(task, models_root)
    return digest_of({name: file_sha256(path) for name, path in model_files(task, models_root).items()})


def task_code(task: MlTask) -> dict[str, str]:
    """The pieces of code that the task's model, encoders and hooks may run, each with its digest.

    For a hook given as a function, these are the modules that it is imported from or refers to, if they can be found.

    Raises:
        TaskError: a module cannot be found.
    """
    pieces = model_code(task)
    for name in HOOKS:
        hook = getattr(task.hooks, name)
        if isinstance(hook, str):
            pieces |= import_path_code(hook, f"Hooks.{name}")
        elif hook is not None:
            pieces |= code_of(modules_behind(hook))
    return pieces


def model_code(task: MlTask) -> dict[str, str]:
    """The pieces of code that the task's model and encoders may run, each with its digest."""
    pieces = argument_code(task)
    for field, path in model_paths(task):
        pieces |= import_path_code(path, field)
    return pieces


def argument_code(task: MlTask) -> dict[str, str]:
    """The pieces of the user's code that arguments refer to, each with its digest: the modules that strings name
    (`my_package.nets:Net`), and those of dataclasses and enumerations."""
    named = {module for text in task.argument_texts if (module := named_module(text)) is not None}
    return code_of(named | {kind.__module__ for given in task.all_arguments for kind in classes_in(given)})


def model_paths(task: MlTask) -> list[tuple[str, str]]:
    """The fields of the model and the features that are import paths, each with its path."""
    named = [("ModelSpec.architecture", task.model.architecture), ("ModelSpec.factory", task.model.factory)]
    encoders = [("CustomFeature.encoder", feature.encoder) for feature in task.features if feature.kind == "custom"]
    return [(field, path) for field, path in named if path is not None] + encoders


def code_of(modules: Iterable[str]) -> dict[str, str]:
    """The pieces of code behind those modules that are the user's own, each with its digest."""
    pieces: dict[str, str] = {}
    finder = ModuleFinder()
    for module in modules:
        if finder.find(module) is not None and finder.is_users(module):
            pieces |= code_closure(module)
    return pieces


def task_digest(task: MlTask) -> str:
    """A hash of everything in the task's declaration that changes its predictions or its table, which excludes batches,
    limits, schedule and description. Hooks contribute the code of their modules.

    Raises:
        TaskError: a hook's module cannot be found, or a hook is a function object, whose code cannot be found by name.
    """
    hooks = []
    for name in HOOKS:
        hook = getattr(task.hooks, name)
        if hook is not None:
            path = _named(task, name, hook)
            hooks.append((name, path, tuple(import_path_code(path, f"Hooks.{name}").items())))
    return _digest_with_hooks(task, tuple(hooks))


_HookCode = tuple[str, str, tuple[tuple[str, str], ...]]
"""A hook's field, its import path, and the pieces of code behind it, each with its digest."""


@PerDeclaration
def _digest_with_hooks(task: MlTask, hooks: tuple[_HookCode, ...]) -> str:
    """The digest of the task with these hooks, whose code may change while the task stays as it is."""
    execution = task.execution
    return digest_of(
        {
            "features": [_shallow(feature) for feature in task.features],
            "labels": task.labels,
            "execution": [execution.precision, execution.compile, execution.channels_last],
            "where": [condition.plain for condition in task.where],
            "keep_columns": task.keep_columns,
            "hooks": {name: [path, dict(pieces)] for name, path, pieces in hooks},
            "outputs": [_shallow(column) for column in task.output_columns],
            "code_version": task.code_version,
            # Left out where it is empty, so that a plain classification keeps the fingerprints that it had before there
            # were other outputs.
            **({"output": task.output.digest_parts} if task.output.digest_parts else {}),
            # No prediction depends on it, but the counts in receipts do.
            **({"truth": task.truth} if task.truth is not None else {}),
        },
        f"task {task.name!r}",
    )


@PerDeclaration
def declared_state(declaration: ModelSpec | Feature) -> str:
    """A digest of a model or a feature as it is declared, of whatever values: see `plain_state`.

    Raises:
        TaskError: it holds a value that cannot be compared.
    """
    return digest_of(plain_state(declaration, type(declaration).__name__))


def _shallow(declared: Any) -> dict[str, Any]:
    # Not `asdict`: it turns a dataclass among the values into a dict, and loses its class.
    values = {field.name: getattr(declared, field.name) for field in fields(declared)}
    added = {field.name: field.default for field in fields(declared) if field.metadata == ADDED}
    return {name: value for name, value in values.items() if name not in added or value != added[name]}


def _named(task: MlTask, field: str, hook: Hook) -> str:
    if isinstance(hook, str):
        return hook
    raise TaskError(
        f"task {task.name!r}: Hooks.{field} is a function object ({getattr(hook, '__qualname__', type(hook).__name__)}), and "
        f"a prediction table is refreshed by comparing code, which takes a name. Put the function into a module that the "
        f"workers can import, and name it: Hooks({field}='my_module:my_function'). spark_ml_predict and score_dataframe "
        f"take function objects"
    )


def digest_of(value: Any, where: str = "the value to be hashed") -> str:
    """The sha256 of `value` as canonical JSON.

    Args:
        value: anything that JSON can represent, and other plain values: see `plain_state`.
        where: the name of the value in error messages.

    Raises:
        TaskError: it holds a value that cannot be compared between runs.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=lambda other: plain_state(other, where))
    return hashlib.sha256(text.encode()).hexdigest()
