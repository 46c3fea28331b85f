"""Writes the declaration of a task from its model: what the model does not say itself, and what it says as comments.

A comment below a field is a line that may be uncommented, to change it: its value is the one that holds without it.
"""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.orchestration.components.scaffold.draft import Draft, draft_of
from sparktorch_assets.orchestration.components.scaffold.model_request import ModelRequest
from sparktorch_assets.orchestration.components.scaffold.yaml_text import check_no_templates, comment, flow, listed
from sparktorch_assets.orchestration.components.templates import is_template
from sparktorch_assets.orchestration.components.yaml_schema import attributes_model
from sparktorch_assets.tasks import MlTask
from sparktorch_assets.tasks.files.completed_task import completed_task
from sparktorch_assets.tasks.files.model_trust import check_trust

_INPUT = "events"
"""Stands for an input that is not named."""
_MANY_LABELS = 40


def task_yaml(request: ModelRequest) -> tuple[str, Sequence[str]]:
    """The text of a `defs.yaml` that declares the task and loads as it is, and what is left to do.

    Raises:
        ModelError: there is no such model, or it cannot be used as it is; the message says why.
        TaskError: a name is not valid, or the input has no column that fits.
    """
    draft = draft_of(request)
    task = _load(_text(request, draft), request)
    if task.model.format == "huggingface":
        check_trust(task, request.models_root)
        completed: MlTask | None = completed_task(task, request.models_root)
    else:
        completed = _named_inputs(task, request.models_root)
    return _text(request, draft, task, completed), draft.to_do


def _named_inputs(task: MlTask, models_root: Path) -> MlTask | None:
    """The task with what its file says of the features that were written for it; `None` if these are not what the file
    takes, so that they have to be corrected first."""
    try:
        return completed_task(task, models_root)
    except (ModelError, TaskError):
        return None


def _load(text: str, request: ModelRequest) -> MlTask:
    """The task that the text declares.

    Raises:
        TaskError: the text would not load.
    """
    attributes = yaml.safe_load(text)["attributes"]
    check_no_templates(attributes)
    model: type[BaseModel] = attributes_model(MlTask)
    found = model.model_validate(attributes)
    return MlTask(**{**{name: getattr(found, name) for name in model.model_fields}, "name": request.name})


def _text(request: ModelRequest, draft: Draft, task: MlTask | None = None, completed: MlTask | None = None) -> str:
    """The file's text; with comments on what is added to the task, if that is known."""
    lines = [f"type: {request.type_name}", "", *comment(draft.about)]
    if completed is not None and completed != task:
        lines += comment("Lines in comments show what it says itself: uncomment one to declare something else.")
    for note in draft.to_do:
        lines += comment(f"To do: {note}")
    lines += ["attributes:", "  # description: Say what is predicted, and for whom."]
    lines.append(f"  input: {flow(request.input or _INPUT)}")
    lines += _comments(draft.model_notes)
    lines += ["  model:", *(f"    {key}: {flow(value)}" for key, value in draft.model.items())]
    if draft.trust:
        lines += [*comment(draft.trust, 4), "    # trust_code: true"]
    lines += _comments(draft.feature_notes)
    lines += _features(draft, task, completed)
    lines += _comments(draft.output_notes)
    lines += [f"  {key}: {flow(value)}" for key, value in (("output", draft.output), ("labels", draft.labels)) if value]
    lines += _derived_output(task, completed)
    return "\n".join(lines) + "\n"


def _comments(notes: Sequence[str]) -> list[str]:
    return [line for note in notes for line in comment(note, 2)]


def _features(draft: Draft, task: MlTask | None, completed: MlTask | None) -> list[str]:
    if not draft.features:
        return ["  features: []"]
    lines = ["  features:"]
    for place, feature in enumerate(draft.features):
        given = [f"{key}: {flow(value)}" for key, value in feature.items()]
        lines += [f"    - {given[0]}", *(f"      {line}" for line in given[1:])]
        if task is not None and completed is not None:
            before, after = task.features[place], completed.features[place]
            for item in fields(after):
                if getattr(after, item.name) != getattr(before, item.name):
                    lines += _commented(item.name, getattr(after, item.name), 6)
    return lines


def _derived_output(task: MlTask | None, completed: MlTask | None) -> list[str]:
    if task is None or completed is None or (task.output, task.labels) == (completed.output, completed.labels):
        return []
    lines = _commented("output", completed.output, 2)
    if len(completed.labels) > _MANY_LABELS:
        return lines + comment(f"{len(completed.labels):,} labels: {listed(completed.labels)}", 2)
    return lines + (_commented("labels", completed.labels, 2) if completed.labels else [])


def _commented(name: str, value: Any, indent: int) -> list[str]:
    """The field as a line that may be uncommented. Whatever would then be run as a template is left out: it comes from
    the model's folder."""
    line = f"{name}: {flow(value)}"
    return [] if is_template(line) else [f"{' ' * indent}# {line}"]
