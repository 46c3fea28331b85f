"""Completes a task by what its model's folder says: labels, output, tokenizer and maximum length, mean and deviation.

What a task declares itself always takes precedence.
"""

from dataclasses import replace
from pathlib import Path

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.features import BYTES_TOKENIZER, Feature, TextFeature
from sparktorch_assets.tasks.files.model_folder import ModelFolder
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.outputs import ClassificationOutput, GenerationOutput, Output

_DEFAULT_MAX_TOKENS = TextFeature(column="any").max_tokens
_NOT_NORMALIZED = ((0.0,), (1.0,))
"""The default of an image feature's mean and std."""


def completed_task(task: MlTask, models_root: Path) -> MlTask:
    """The task with everything that its Hugging Face folder says and the task does not declare; for any other model, and
    for a task that is complete, the task itself.

    Args:
        task: the task as declared.
        models_root: the folder that the path of the weights is relative to.

    Raises:
        ModelError: something is left to the folder, and it is not there or does not say it.
        TaskError: what it says makes no valid task (a label twice, for instance).
    """
    if task.model.format != "huggingface":
        return task
    output_is_open = (task.output.labelled and not task.labels) or _is_open_generation(task.output)
    if not output_is_open and not any(map(_is_open, task.features)):
        return task
    assert task.model.weights is not None  # ModelSpec requires them for every format but a factory's
    try:
        folder = ModelFolder(models_root / task.model.weights)
        output = _completed_output(task, folder) if output_is_open else task.output
        features = tuple(_completed_feature(feature, task, folder, output) for feature in task.features)
        if not output_is_open:
            return replace(task, features=features)
        return replace(task, features=features, output=output, labels=folder.labels if output.labelled else ())
    except ModelError as error:
        raise ModelError(f"task {task.name!r}: {error}") from None


def _is_open(feature: Feature) -> bool:
    if feature.kind == "image":
        return (feature.mean, feature.std) == _NOT_NORMALIZED
    return feature.kind == "text" and feature.tokenizer == BYTES_TOKENIZER


def _is_open_generation(output: Output) -> bool:
    return isinstance(output, GenerationOutput) and None in (
        output.max_new_tokens,
        output.clean_up_tokenization_spaces,
    )


def _completed_feature(feature: Feature, task: MlTask, folder: ModelFolder, output: Output) -> Feature:
    if not _is_open(feature):
        return feature
    if feature.kind == "image":
        found = folder.images
        return replace(feature, mean=found.mean, std=found.std, resample=found.resample)
    assert feature.kind == "text"
    return _completed_text(feature, task, folder, output)


def _completed_text(feature: TextFeature, task: MlTask, folder: ModelFolder, output: Output) -> TextFeature:
    # Relative to the models root, as the task would name it, so that fingerprints do not depend on where that lies.
    path = Path(str(task.model.weights)) / folder.tokenizer.relative_to(folder.path)
    room, largest = "", folder.max_tokens
    if isinstance(output, GenerationOutput) and folder.causal:  # prompt and new tokens share the positions
        largest -= output.max_new_tokens or 0
        room = f" with max_new_tokens={output.max_new_tokens}"
        if largest < 1:
            raise ModelError(f"{folder.path} has no room for a prompt{room}; set it lower in the output")
    tokens = largest if feature.max_tokens == _DEFAULT_MAX_TOKENS else feature.max_tokens
    if tokens > largest:
        raise ModelError(
            f"max_tokens={tokens} of the feature of {feature.column!r} is more than the {largest} tokens that "
            f"{folder.path} takes{room}; lower it, or leave it out"
        )
    return replace(feature, tokenizer=str(path), max_tokens=tokens)


def _completed_output(task: MlTask, folder: ModelFolder) -> Output:
    if isinstance(task.output, GenerationOutput):
        return folder.generation(task.output)
    found = folder.output
    if task.output == ClassificationOutput():
        return found
    if task.output.kind != found.kind:
        raise ModelError(
            f"output {task.output.kind!r} is declared without labels, but {folder.path} says that its model gives "
            f"{found.kind!r}; declare that, leave the output out, or add the labels"
        )
    return task.output
