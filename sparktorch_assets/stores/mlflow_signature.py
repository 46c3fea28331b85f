"""The signature in an `MLmodel`: the columns that a model takes and returns, with their types."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks import ColumnsOutput, Output, RegressionOutput

NAMES_OF_CLASSES = ColumnsOutput(columns={"predicted_class": "string"})
"""The output of a model that returns texts without a name, as classifiers of scikit-learn do."""
_TYPES = {
    "boolean": "boolean",
    "integer": "int",
    "long": "long",
    "float": "float",
    "double": "double",
    "string": "string",
}
"""Types of columns in MLflow's signatures, and ours."""
_DTYPES = {"bool": "boolean", "int32": "int", "int64": "long", "float32": "float", "float64": "double"}
"""The same for tensors."""


def inputs_of(content: Mapping[str, Any], where: str) -> list[str]:
    """The columns that the signature says are taken, each with its type; none if it says nothing."""
    columns = _columns(content, "inputs", where)
    try:
        return [f"{column.get('name') or '(no name)'} {_type_of(column) or column.get('type')}" for column in columns]
    except (AttributeError, TypeError, ValueError, RecursionError):  # whoever made the folder wrote it
        raise ModelError(_no_signature(where)) from None


def output_of(content: Mapping[str, Any], where: str) -> Output | None:
    """The output that the signature describes; `None` if it describes none, or one that has no kind of its own."""
    columns = _columns(content, "outputs", where)
    try:
        return _output_of_columns(columns) if columns else None
    except (AttributeError, TypeError, ValueError, RecursionError):  # whoever made the folder wrote it
        raise ModelError(_no_signature(where)) from None


def _columns(content: Mapping[str, Any], which: str, where: str) -> Sequence[Mapping[str, Any]]:
    """The columns of the signature's `inputs` or `outputs`; none if it has none."""
    signature = content.get("signature")
    text = signature.get(which) if isinstance(signature, dict) else None
    try:
        found = json.loads(text) if text else []
    except (TypeError, ValueError, RecursionError):
        raise ModelError(_no_signature(where)) from None
    if not isinstance(found, list) or not all(isinstance(column, dict) for column in found):
        raise ModelError(_no_signature(where))
    return found


def _no_signature(where: str) -> str:
    return f"{where}: the signature in its MLmodel is none of MLflow's; log the model again"


def _output_of_columns(outputs: Sequence[Mapping[str, Any]]) -> Output | None:
    if len(outputs) == 1 and not outputs[0].get("name"):
        return _single(outputs[0])
    kinds = {str(column.get("name")): _type_of(column) for column in outputs}
    known = {name: kind for name, kind in kinds.items() if kind is not None}
    return ColumnsOutput(columns=known) if known and len(known) == len(kinds) else None


def _single(column: Mapping[str, Any]) -> Output | None:
    """The output of a model that returns numbers or texts without a name."""
    kind = _type_of(column)
    if kind == "string":
        return NAMES_OF_CLASSES
    if kind in ("int", "long", "float", "double"):
        return RegressionOutput()
    shape = _shape(column)
    if kind is not None and len(shape) == 2 and shape[1] >= 1:
        return RegressionOutput() if shape[1] == 1 else RegressionOutput(length=shape[1])
    return None


def _shape(column: Mapping[str, Any]) -> Sequence[int]:
    found = column.get("tensor-spec", {}).get("shape", ())
    return [int(size) for size in found]


def _type_of(column: Mapping[str, Any]) -> str | None:
    kind = column.get("type")
    if kind == "array":
        inner = _type_of(column.get("items", {}))
        return None if inner is None else f"list<{inner}>"
    if kind == "tensor":
        dtype = str(column.get("tensor-spec", {}).get("dtype"))
        inner = _DTYPES.get(dtype)
        dimensions = max(0, len(_shape(column)) - 1)
        return None if inner is None else "list<" * dimensions + inner + ">" * dimensions
    return _TYPES.get(str(kind))
