"""What `dg scaffold defs` writes: a commented skeleton that loads unchanged and, once per project, the runtime file."""

import contextlib
import keyword
import re
from pathlib import Path
from typing import Any

import dagster as dg

from sparktorch_assets.tasks.validation import ASSET_NAME

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
  input: events

  model:
    weights: {name}/model.safetensors    # under the models root (data/models)
    # A state dict holds no network: name the torch.nn.Module that takes its weights. Loading does not import it.
    architecture: torch.nn:Linear
    arguments: {{in_features: 2, out_features: 2}}
    # sha256: the file's digest, so that another file is refused

  # Each group gives the model's forward its next argument. Kinds: numeric, categorical, text, sequence, tensor, image, custom.
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


class _Skeleton(dg.Scaffolder[Any]):
    """Writes `skeleton` as defs.yaml, and the project's runtime file if there is none yet."""

    skeleton = ""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write the files.

        Raises:
            ValueError: the request is for Python, for which there is a function, or for a name that would not load.
        """
        if request.scaffold_format != "yaml":
            raise ValueError(
                "sparktorch_assets scaffolds YAML. In Python, call sparktorch_assets.build_prediction_definitions([MlTask(...)])"
            )
        name = (request.target_path.parent if request.append else request.target_path).name
        if not re.fullmatch(ASSET_NAME, name) or keyword.iskeyword(name):
            if not request.append:
                with contextlib.suppress(OSError):
                    request.target_path.rmdir()  # Dagster created it, and could not load it
            raise ValueError(
                f"{name!r} would be the name of an asset, a table and a Python module; use lower-case letters, digits "
                f"and _, starting with a letter, and no Python keyword"
            )
        text = self.skeleton.format(type_name=request.type_name, name=name)
        if request.append:
            with request.target_path.open("a", encoding="utf-8") as file:
                file.write(f"---\n{text}")
        else:
            (request.target_path / "defs.yaml").write_text(text, encoding="utf-8")
        _write_runtime(request)


class MlTaskScaffolder(_Skeleton):
    """Scaffolds an ml_task."""

    skeleton = _ML_TASK


class InputTableScaffolder(_Skeleton):
    """Scaffolds an input table."""

    skeleton = _INPUT_TABLE


def _write_runtime(request: dg.ScaffoldRequest[Any]) -> None:
    """Write the runtime file with a project's first component: this library's assets cannot load without its
    resources."""
    folder = request.target_path
    while folder.name != "defs" and folder != folder.parent:
        folder = folder.parent
    if folder.name == "defs" and not _has_runtime(folder.parent):
        (folder / RUNTIME_FILE).write_text(_RUNTIME, encoding="utf-8")


def _has_runtime(package: Path) -> bool:
    return any("runtime_definitions" in path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
