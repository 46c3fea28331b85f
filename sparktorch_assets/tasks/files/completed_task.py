"""Completes a task by what its model's folder says: labels, output, tokenizer and maximum length, mean and deviation,
sample rate.

What a task declares itself always takes precedence.
"""

import logging
from dataclasses import replace
from pathlib import Path

from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.tasks.features import AudioFeature, Feature, ImageFeature, TextFeature
from sparktorch_assets.tasks.features.text import BYTES_TOKENIZER, TEXT_PLACE
from sparktorch_assets.tasks.files.folders.folder_json import using_settings
from sparktorch_assets.tasks.files.folders.model_folder import ModelFolder
from sparktorch_assets.tasks.files.onnx.onnx_arguments import with_inputs
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.outputs import ClassificationOutput, DetectionOutput, GenerationOutput, Output

_LOG = logging.getLogger(__name__)
_DEFAULT_MAX_TOKENS = TextFeature(column="any").max_tokens
_NOT_NORMALIZED = ((0.0,), (1.0,))
"""The default of an image feature's mean and std."""


def completed_task(task: MlTask, models_root: Path) -> MlTask:
    """The task with everything that its Hugging Face folder says and the task does not declare, or with the names of an
    ONNX file's inputs; for any other model, and for a task that is complete, the task itself.

    Args:
        task: the task as declared.
        models_root: the folder that the path of the weights is relative to.

    Raises:
        ModelError: something is left to the folder, and it is not there or does not say it; or see `with_inputs`.
        TaskError: what it says makes no valid task (a label twice, for instance).
    """
    if task.model.format == "onnx":
        return with_inputs(task, models_root)
    if task.model.format != "huggingface":
        return task
    if not _output_is_open(task) and not any(map(_is_open, task.features)):
        return task
    assert task.model.weights is not None  # ModelSpec requires them for every format but a factory's
    path = models_root / task.model.weights
    try:
        with using_settings(path):
            return _completed(task, ModelFolder(path))
    except ModelError as error:
        raise ModelError(f"task {task.name!r}: {error}") from None
    except TaskError as error:
        raise TaskError(f"{error} (the task as {path} completes it)") from None


def _completed(task: MlTask, folder: ModelFolder) -> MlTask:
    output = _completed_output(task, folder) if _output_is_open(task) else task.output
    features = tuple(_completed_feature(feature, task, folder, output) for feature in task.features)
    labels = _labels(task, folder) if output.labelled and not task.labels else task.labels
    return replace(task, features=features, output=output, labels=labels)


def _labels(task: MlTask, folder: ModelFolder) -> tuple[str, ...]:
    if not folder.names_labels:
        _LOG.warning(
            "task %r: %s names no labels (id2label), so predictions will read %s ...; declare the task's labels, in the "
            "order of the logits",
            task.name,
            folder.network / "config.json",
            folder.labels[0],
        )
    return folder.labels


def _is_open(feature: Feature) -> bool:
    if feature.kind == "image":
        return feature.height is None or _is_not_normalized(feature)
    if feature.kind == "audio":
        return feature.sample_rate is None or feature.normalize is None
    return feature.kind == "text" and (feature.tokenizer == BYTES_TOKENIZER or _types_are_open(feature))


def _is_not_normalized(feature: ImageFeature) -> bool:
    return (feature.mean, feature.std) == _NOT_NORMALIZED


def _types_are_open(feature: TextFeature) -> bool:
    return feature.pair is not None and not feature.type_ids


def _output_is_open(task: MlTask) -> bool:
    """Whether the task leaves its labels, or an option of its output, to the folder."""
    output = task.output
    if isinstance(output, GenerationOutput):
        return None in (output.max_new_tokens, output.clean_up_tokenization_spaces)
    if isinstance(output, DetectionOutput) and output.scoring is None:
        return True
    return output.labelled and not task.labels


def _completed_feature(feature: Feature, task: MlTask, folder: ModelFolder, output: Output) -> Feature:
    if not _is_open(feature):
        return feature
    if feature.kind == "image":
        return _completed_image(feature, folder)
    if feature.kind == "audio":
        return _completed_audio(feature, folder)
    assert feature.kind == "text"
    if feature.tokenizer == BYTES_TOKENIZER:
        feature = _with_tokenizer(feature, task, folder, output)
    if _types_are_open(feature) and folder.texts.takes_type_ids:
        name = None if feature.argument is None else "token_type_ids"
        feature = replace(feature, type_ids=True, type_ids_argument=name)
    return feature


def _completed_image(feature: ImageFeature, folder: ModelFolder) -> ImageFeature:
    found = folder.images
    if _is_not_normalized(feature):
        feature = replace(feature, mean=found.mean, std=found.std)
    if feature.height is not None:
        if found.shortest_side is not None and feature.shortest_side is None:
            raise ModelError(
                f"{folder.path} crops images to their centre, and the feature of {feature.column!r} gives another height "
                f"and width; leave them out, or give shortest_side as well"
            )
        return replace(feature, resample=found.resample)
    return replace(
        feature,
        height=found.height,
        width=found.width,
        shortest_side=found.shortest_side,
        crop_offset="nearest" if found.shortest_side is None else "down",
        resample=found.resample,
    )


def _completed_audio(feature: AudioFeature, folder: ModelFolder) -> AudioFeature:
    found = folder.audio
    rate, normalize = feature.sample_rate, feature.normalize
    return replace(
        feature,
        sample_rate=found.sample_rate if rate is None else rate,
        normalize=found.normalize if normalize is None else normalize,
    )


def _with_tokenizer(feature: TextFeature, task: MlTask, folder: ModelFolder, output: Output) -> TextFeature:
    # Relative to the models root, as the task would name it, so that fingerprints do not depend on where that lies.
    path = Path(str(task.model.weights)) / folder.texts.tokenizer.relative_to(folder.path)
    room, largest = "", folder.texts.max_tokens
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
    template = (
        f"{folder.texts.prompt}{TEXT_PLACE}" if feature.template is None and folder.texts.prompt else feature.template
    )
    return replace(feature, tokenizer=str(path), max_tokens=tokens, template=template)


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
    if isinstance(task.output, DetectionOutput) and isinstance(found, DetectionOutput) and task.output.scoring is None:
        return replace(task.output, scoring=found.scoring)
    return task.output
