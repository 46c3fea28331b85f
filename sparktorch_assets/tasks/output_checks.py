"""Checks of what a task declares against its output: labels, audit, and how text is generated."""

from collections.abc import Sequence

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.audit_policy import AuditPolicy
from sparktorch_assets.tasks.execution import Execution
from sparktorch_assets.tasks.features import Feature
from sparktorch_assets.tasks.model_spec import ModelSpec
from sparktorch_assets.tasks.outputs import GenerationOutput, Output
from sparktorch_assets.tasks.validation import names

WITH_LABELS = ("huggingface", "mlflow")
"""The formats whose folders know the labels, and may say which output it is."""
ONE_LABEL = (
    "is a single class, which softmax gives to every row with confidence 1. Name both classes, such as ['no', 'yes']: a single "
    "logit is then the second one's, or the network returns two"
)
"""The part of a message that says why a network needs two labels, and what to do."""


def check_labels(labels: Sequence[str], output: Output, model: ModelSpec, where: str) -> None:
    """Check that an output with labels has them, or leaves them to the model's folder.

    Raises:
        TaskError: they are missing, too many, repeated, or given to an output without labels.
    """
    if not output.labelled:
        if labels:
            raise TaskError(f"{where}: labels are given, but output {output.kind!r} has none; leave one of the two out")
        return
    if not labels and model.format in WITH_LABELS:
        return  # they are read from the folder: see `tasks/files/completed_task.py`
    names(labels, f"{where}: labels")
    # A factory's model object may have a single class, as it returns a confidence itself. A factory's network with
    # a single class is refused when its logits are seen.
    if output.kind == "classification" and len(labels) == 1 and model.factory is None:
        raise TaskError(f"{where}: labels={list(labels)!r} {ONE_LABEL}")
    output.check_labels(labels)


def check_audit(audit: AuditPolicy, output: Output, where: str) -> None:
    """Check an audit against the output that it is about.

    Raises:
        TaskError: drift is limited of something that the output does not have, or one of the user's checks has the name
            of a check of the output.
    """
    for check in audit.drift_checks:
        if not check.startswith(output.drifts):
            raise TaskError(
                f"{where}: audit.max_{check} is set, but output {output.kind!r} has no such statistics; drift can be "
                f"measured of {', '.join(f'{drift}s' for drift in output.drifts)}"
            )
    clashing = {check.name for check in output.check_specs} & set(audit.names)
    if clashing:
        raise TaskError(
            f"{where}: audit.checks names a function {min(clashing)!r}, as a check of output {output.kind!r} is "
            f"called; rename it"
        )


def check_generation(
    output: GenerationOutput, model: ModelSpec, execution: Execution, features: Sequence[Feature], where: str
) -> None:
    """Check that the network of a generation can be run once per token, with the options that are set.

    Raises:
        TaskError: it cannot, or there is no tokenizer that turns tokens into text.
    """
    if execution.compile != "none":
        raise TaskError(
            f"{where}: output 'generation' runs the network once per token, for lengths that grow, and it would be compiled "
            f"again and again; leave out Execution.compile"
        )
    if model.format != "huggingface" and output.options:
        raise TaskError(
            f"{where}: its output sets {', '.join(output.options)}, which apply to the network of a Hugging Face folder; "
            f"the model's own code decides how it generates: leave them out, and give them to it as ModelSpec.arguments"
        )
    if model.factory is None and not any(feature.kind == "text" for feature in features):
        raise TaskError(
            f"{where}: output 'generation' turns tokens into text with the tokenizer of a text feature, and features has "
            f"none; declare one, or name a factory that returns a model object with predict(rows)"
        )
