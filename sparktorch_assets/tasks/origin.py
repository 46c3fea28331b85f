"""Checks that a task has the text or the image that the places in its predictions refer to."""

from collections.abc import Sequence

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.features import Feature, TextFeature
from sparktorch_assets.tasks.outputs import Output


def check_origin(output: Output, features: Sequence[Feature], where: str) -> None:
    """Raise TaskError unless there is exactly one feature that the output's places can refer to.

    Args:
        output: what the task predicts.
        features: the task's feature groups. None at all are fine: they belong to a model object, which gives finished
            values.
        where: the task, for messages.
    """
    kind = output.refers_to
    if kind is None or not features:
        return
    origins = [feature for feature in features if feature.kind == kind]
    if len(origins) != 1:
        raise TaskError(
            f"{where}: output {output.kind!r} gives places in the {kind} of a row, and the task has {len(origins)} features "
            f"of kind {kind}; declare exactly one. For other networks, `output: {{kind: columns}}` gives their tensors as "
            f"they are"
        )
    others = [feature.kind for feature in features if feature.kind != kind and feature.has_lengths]
    if kind == "text" and others:
        raise TaskError(
            f"{where}: output {output.kind!r} needs logits for the tokens of the text alone, and the feature of kind "
            f"{others[0]} has lengths, too; leave one of them out"
        )
    if isinstance(origins[0], TextFeature) and origins[0].pair is not None:
        raise TaskError(
            f"{where}: output {output.kind!r} gives places in one text, and the feature of {origins[0].column!r} has a pair; "
            f"leave it out"
        )
