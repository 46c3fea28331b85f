"""What `dg scaffold defs` writes: a declaration for a model or for source files, or a commented skeleton, each of which
loads unchanged; and, once per project, the runtime file."""

import contextlib
import keyword
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import dagster as dg
from pydantic import ValidationError

from sparktorch_assets.errors import SparktorchError, TaskError
from sparktorch_assets.orchestration.components.scaffold.options import TableParams, TaskParams
from sparktorch_assets.tasks.validation import ASSET_KEY, ASSET_NAME

RUNTIME_FILE = "sparktorch_runtime.py"

_RUNTIME = '''"""Resources (Spark, models, lake), the in-process executor and the daily schedule that sparktorch_assets' components use."""

import dagster as dg
from sparktorch_assets import runtime_definitions


@dg.definitions
def runtime(context: dg.ComponentLoadContext) -> dg.Definitions:
    return runtime_definitions(context.project_root)
'''

_ML_TASK = """\
type: {type_name}

attributes:
  # The asset becomes predictions/{name} (the folder's name, unless `name` is given here).
  description: Say what is predicted, and for whom.

  # The table to score: the key of another asset, `events` or, for a chained task, `predictions/other`.
  input: {input}

  model:
    weights: {name}/model.safetensors    # under the models root (data/models)
    # A state dict holds no network: name the torch.nn.Module that takes its weights. Loading does not import it.
    architecture: torch.nn:Linear
    arguments: {{in_features: 2, out_features: 2}}
    # sha256: the file's digest, so that another file is refused

  # Each group gives the model's forward its next argument. Kinds: numeric, categorical, text, sequence, tensor, image, audio, custom.
  features:
    - kind: numeric
      columns: [first_number, second_number]
      fill: 0.0                          # replaces nulls; without it, a row with a null fails with a reason

  # In the order of the model's logits. Quote numbers: "0".
  labels: ["no", "yes"]
  # Instead of labels, for other models (kinds: classification, multilabel, regression, embedding,
  # token_classification, detection, columns):
  # output: {{kind: regression, names: [price]}}

  # where: [{{column: country, value: fr}}]  # score only these rows
  # keep_columns: [event_id]             # default: all input columns
  # output_prefix: {name}_              # if predicted_class would collide with an input column
  # hooks: {{batch_preprocessor: "my_package.hooks:clean"}}
  # cron: 0 6 * * *                      # a schedule of its own instead of the daily one
  max_failed_share: 0.01                 # if more rows fail, nothing is committed
"""

_INPUT_TABLE = """\
type: {type_name}

attributes:
  # The asset and the table are called {name} (the folder's name, unless `name` is given here).
  description: Say where these files come from.

  # Paths, folders or patterns; relative ones start at the project's root.
  source: [data/{name}/*.csv]
  format: csv                            # csv, json or parquet

  # Types are declared, never inferred: a row that does not fit is put aside and counted.
  columns:
    event_id: long
    first_number: double
    second_number: double

  options: {{header: true}}                # Spark's reader options
  max_rejected_share: 0.01               # if more rows do not fit, the table is not refreshed
  # max_vanished_share: 0.5              # nor if more than this share of its rows would disappear
"""


class ScaffoldError(click.ClickException, ValueError):
    """What was asked for cannot be written. The command shows the message alone, and nothing is left of the attempt."""


class _Scaffolder(dg.Scaffolder[Any]):
    """Writes defs.yaml, and the project's runtime file if there is none yet."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write the files.

        Raises:
            ScaffoldError: the request is for Python, for which there is a function, or for a name that would not load;
                or the model or the files do not say what is needed.
        """
        name = (request.target_path.parent if request.append else request.target_path).name
        try:
            _check(request, name)
            text, notes = self.written(request, name)
        except (SparktorchError, ValidationError, ValueError) as error:
            if not request.append:
                _remove_empty(request.target_path)  # Dagster created it, and could not load it
            raise ScaffoldError(_message(error)) from None
        if request.append:
            with request.target_path.open("a", encoding="utf-8") as file:
                file.write(f"---\n{text}")
        else:
            (request.target_path / "defs.yaml").write_text(text, encoding="utf-8")
        _write_runtime(request)
        for note in notes:
            click.echo(note)

    def written(self, request: dg.ScaffoldRequest[Any], name: str) -> tuple[str, Sequence[str]]:
        """What the file is to contain, and what is left to do."""
        raise NotImplementedError


class MlTaskScaffolder(_Scaffolder):
    """Scaffolds an ml_task."""

    skeleton = _ML_TASK

    @classmethod
    def get_scaffold_params(cls) -> type[TaskParams]:
        """The command's options."""
        return TaskParams

    def written(self, request: dg.ScaffoldRequest[Any], name: str) -> tuple[str, Sequence[str]]:
        """A declaration for the model that the request names; without one, the skeleton."""
        params = request.params
        if params.model is None:
            if params.column is not None:
                raise TaskError("--column is the column that the model reads, and no model is named; add --model")
            key = _key(params.input or "events")
            return self.skeleton.format(type_name=request.type_name, name=name, input=key), ()
        from sparktorch_assets.orchestration.components.scaffold.model_request import ModelRequest
        from sparktorch_assets.orchestration.components.scaffold.task_text import task_yaml
        from sparktorch_assets.orchestration.resources import ModelLoaderResource  # imports pyspark

        root = _project_root(request)
        return task_yaml(
            ModelRequest(
                type_name=request.type_name,
                name=name,
                model=params.model,
                input=params.input,
                column=params.column,
                defs=_defs(request) or request.target_path.parent,
                project_root=root,
                models_root=Path(ModelLoaderResource(project_root=str(root)).models_place),
            )
        )


class InputTableScaffolder(_Scaffolder):
    """Scaffolds an input table."""

    skeleton = _INPUT_TABLE

    @classmethod
    def get_scaffold_params(cls) -> type[TableParams]:
        """The command's options."""
        return TableParams

    def written(self, request: dg.ScaffoldRequest[Any], name: str) -> tuple[str, Sequence[str]]:
        """A declaration for the files that the request names; without any, the skeleton."""
        if not request.params.source:
            return self.skeleton.format(type_name=request.type_name, name=name), ()
        from sparktorch_assets.orchestration.components.scaffold.table_from_files import table_yaml

        return table_yaml(request.type_name, name, request.params.source, _project_root(request)), ()


def _check(request: dg.ScaffoldRequest[Any], name: str) -> None:
    if request.scaffold_format != "yaml":
        raise ValueError(
            "sparktorch_assets scaffolds YAML. In Python, call sparktorch_assets.build_prediction_definitions([MlTask(...)])"
        )
    if not re.fullmatch(ASSET_NAME, name) or keyword.iskeyword(name):
        raise ValueError(
            f"{name!r} would be the name of an asset, a table and a Python module; use lower-case letters, digits "
            f"and _, starting with a letter, and no Python keyword"
        )


def _message(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())


def _key(text: str) -> str:
    if not re.fullmatch(ASSET_KEY, text):
        raise TaskError(f"input={text!r} is not an asset key such as 'flights' or 'predictions/x'")
    return text


def _remove_empty(folder: Path) -> None:
    """Remove the folder, and those above it that held nothing else."""
    with contextlib.suppress(OSError):
        while folder.name != "defs" and folder != folder.parent:
            folder.rmdir()
            folder = folder.parent


def _project_root(request: dg.ScaffoldRequest[Any]) -> Path:
    from sparktorch_assets.orchestration.resources import find_project_root  # imports pyspark

    return find_project_root(str(request.project_root or ""))


def _defs(request: dg.ScaffoldRequest[Any]) -> Path | None:
    """The project's folder of declarations, in which the target lies."""
    return next((folder for folder in request.target_path.parents if folder.name == "defs"), None)


def _write_runtime(request: dg.ScaffoldRequest[Any]) -> None:
    """Write the runtime file with a project's first component: this library's assets cannot load without its
    resources."""
    folder = _defs(request)
    if folder is not None and not _has_runtime(folder.parent):
        (folder / RUNTIME_FILE).write_text(_RUNTIME, encoding="utf-8")


def _has_runtime(package: Path) -> bool:
    return any("runtime_definitions" in path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
