"""Gives the inputs of an ONNX file to the tensors of a task's features, by name."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sparktorch_assets.errors import ModelError, TaskError, nearest
from sparktorch_assets.tasks.features import Feature, TextFeature
from sparktorch_assets.tasks.files.onnx.onnx_file import OnnxFile
from sparktorch_assets.tasks.ml_task import MlTask

_FIELDS = ("argument", "mask_argument", "type_ids_argument")
_OF_TEXTS = ("input_ids", "attention_mask", "token_type_ids")
"""What exporters call the inputs of a network for texts, whose order differs from file to file."""


def argument_of(name: str) -> str:
    """The name of a file's input as that of an argument: `input.1` is given by `argument: input_1`."""
    plain = re.sub(r"\W", "_", name)
    return plain if plain.isidentifier() else f"_{plain}"


def with_inputs(task: MlTask, models_root: Path) -> MlTask:
    """The task with an argument's name for each tensor of its features: what a feature declares; for a single text
    feature, `input_ids`, `attention_mask` and `token_type_ids` if the file has them; and the other inputs in their order.

    A custom encoder's tensors without a name stay without one, since their number is not known here. If every tensor has
    a name, the file need not be here.

    Raises:
        ModelError: the file is missing or no ONNX file, an input is given by no feature, or a feature has no input.
        TaskError: two inputs have the same name as arguments.
    """
    assert task.model.weights is not None  # ModelSpec requires them for every format but a factory's
    path = models_root / task.model.weights
    if not path.exists() and not any(None in feature.arguments_of_forward for feature in task.features):
        return task  # complete, and the file may be on the workers alone
    try:
        file = OnnxFile.of(path)
        file.check_data()
        return replace(task, features=_named(task.features, file))
    except (ModelError, TaskError) as error:
        raise type(error)(f"task {task.name!r}: {error}") from None


def _named(features: Sequence[Feature], file: OnnxFile) -> tuple[Feature, ...]:
    inputs = [argument_of(value.name) for value in file.inputs]
    texts = [place for place, feature in enumerate(features) if feature.kind == "text"]
    features = [_with_types(feature, inputs) if texts == [place] else feature for place, feature in enumerate(features)]
    names = [list(feature.arguments_of_forward) for feature in features]
    declared = {name for several in names for name in several if name is not None}
    for name in declared - set(inputs):
        raise ModelError(f"{file.path} has no input {name!r}; {nearest(name, inputs)}")
    free = [name for name in inputs if name not in declared]
    if len(texts) == 1:
        _take(names[texts[0]], _OF_TEXTS, free)
    for feature, several in zip(features, names, strict=True):
        if feature.kind != "custom" or feature.has_lengths:
            _fill(several, free)
            _check_all(feature, several, file)
    if free and not any(feature.kind == "custom" and not feature.has_lengths for feature in features):
        raise ModelError(
            f"{file.path} takes {', '.join(inputs)}, and no feature gives {', '.join(free)}; add one, or export the "
            f"network without that input"
        )
    return tuple(map(_renamed, features, names))


def _with_types(feature: Feature, inputs: list[str]) -> Feature:
    """The text feature with type ids, if the file takes them."""
    if not isinstance(feature, TextFeature) or feature.type_ids or "token_type_ids" not in inputs:
        return feature
    argument = None if feature.argument is None else "token_type_ids"
    return replace(feature, type_ids=True, type_ids_argument=argument)


def _take(names: list[str | None], wanted: Sequence[str], free: list[str]) -> None:
    """Give each tensor without a name the wanted one in its place, if that is free."""
    for place, name in enumerate(wanted[: len(names)]):
        if names[place] is None and name in free:
            names[place] = name
            free.remove(name)


def _fill(names: list[str | None], free: list[str]) -> None:
    """Give each tensor without a name the next one that is free."""
    for place, name in enumerate(names):
        if name is None and free:
            names[place] = free.pop(0)


def _check_all(feature: Feature, names: list[str | None], file: OnnxFile) -> None:
    if None not in names:
        return
    mask = names.index(None) == 1
    raise ModelError(
        f"{file.path} has no input for the {'mask' if mask else 'values'} of the {feature.kind} feature of "
        f"{feature.columns[0]!r}; it takes {'; '.join(map(str, file.inputs))}. "
        + ("Export the network with one, as its answers would depend on padding" if mask else "Drop the feature")
    )


def _renamed(feature: Feature, names: list[str | None]) -> Feature:
    changes = dict(zip(_FIELDS, names, strict=False))
    return replace(feature, **changes)  # type: ignore[arg-type]
