"""Completes a task by what its model's folder says: labels, output, tokenizer and maximum length, mean and deviation,
sample rate.

What a task declares itself always takes precedence.
"""

from dataclasses import replace
from pathlib import Path

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.features import BYTES_TOKENIZER, AudioFeature, Feature, TextFeature
from sparktorch_assets.tasks.files.model_folder import ModelFolder
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.outputs import ClassificationOutput, Output

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
    output_is_open = task.output.labelled and not task.labels
    if not output_is_open and not any(map(_is_open, task.features)):
        return task
    assert task.model.weights is not None  # ModelSpec requires them for every format but a factory's
    try:
        folder = ModelFolder(models_root / task.model.weights)
        features = tuple(_completed_feature(feature, task, folder) for feature in task.features)
        if not output_is_open:
            return replace(task, features=features)
        output = _completed_output(task, folder)
        return replace(task, features=features, output=output, labels=folder.labels if output.labelled else ())
    except ModelError as error:
        raise ModelError(f"task {task.name!r}: {error}") from None


def _is_open(feature: Feature) -> bool:
    if feature.kind == "image":
        return (feature.mean, feature.std) == _NOT_NORMALIZED
    if feature.kind == "audio":
        return feature.sample_rate is None or feature.normalize is None
    return feature.kind == "text" and feature.tokenizer == BYTES_TOKENIZER


def _completed_feature(feature: Feature, task: MlTask, folder: ModelFolder) -> Feature:
    if not _is_open(feature):
        return feature
    if feature.kind == "image":
        found = folder.images
        return replace(feature, mean=found.mean, std=found.std, resample=found.resample)
    if feature.kind == "audio":
        return _completed_audio(feature, folder)
    assert feature.kind == "text"
    return _completed_text(feature, task, folder)


def _completed_audio(feature: AudioFeature, folder: ModelFolder) -> AudioFeature:
    found = folder.audio
    rate, normalize = feature.sample_rate, feature.normalize
    return replace(
        feature,
        sample_rate=found.sample_rate if rate is None else rate,
        normalize=found.normalize if normalize is None else normalize,
    )


def _completed_text(feature: TextFeature, task: MlTask, folder: ModelFolder) -> TextFeature:
    # Relative to the models root, as the task would name it, so that fingerprints do not depend on where that lies.
    path = Path(str(task.model.weights)) / folder.tokenizer.relative_to(folder.path)
    tokens = folder.max_tokens if feature.max_tokens == _DEFAULT_MAX_TOKENS else feature.max_tokens
    if tokens > folder.max_tokens:
        raise ModelError(
            f"max_tokens={tokens} of the feature of {feature.column!r} is more than the {folder.max_tokens} tokens that "
            f"{folder.path} takes; lower it, or leave it out"
        )
    return replace(feature, tokenizer=str(path), max_tokens=tokens)


def _completed_output(task: MlTask, folder: ModelFolder) -> Output:
    found = folder.output
    if task.output == ClassificationOutput():
        return found
    if task.output.kind != found.kind:
        raise ModelError(
            f"output {task.output.kind!r} is declared without labels, but {folder.path} says that its model gives "
            f"{found.kind!r}; declare that, leave the output out, or add the labels"
        )
    return task.output
