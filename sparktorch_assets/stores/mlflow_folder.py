"""What the folder of an MLflow model holds: its `MLmodel` names flavors, and the columns that it takes and returns.

The networks that the flavors `transformers`, `sentence_transformers`, `pytorch` and `onnx` have saved are opened like
anybody's, so that batches, devices and failures are ours. Everything else goes through `mlflow.pyfunc`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks import ClassificationOutput, ColumnsOutput, MlTask, ModelSpec, Output, RegressionOutput
from sparktorch_assets.tasks.model_spec import ModelFormat

MODEL = "mlflow"
"""The name of the model's folder under the models root that a task is given. It says nothing of name, version or alias,
so that versions of equal content have equal digests."""
PYFUNC = "sparktorch_assets.predict.model.mlflow_models:load_pyfunc"
PYTORCH = "sparktorch_assets.predict.model.mlflow_models:load_pytorch"
_MAX_BYTES = 16 << 20
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
_SENTENCES = "model.sentence_transformer"
_COMPONENTS = ("tokenizer", "image_processor", "feature_extractor")
"""Parts of a pipeline that the flavor `transformers` keeps outside of the network's folder."""
_NAMES_OF_CLASSES = ColumnsOutput(columns={"predicted_class": "string"})
"""The output of a model that returns texts without a name, as classifiers of scikit-learn do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedModel:
    """How the model of a folder is opened."""

    model: ModelSpec
    """What is opened, and as what."""
    links: tuple[tuple[str, str], ...]
    """The files and folders that it consists of: name under the models root -> path in the MLflow folder."""
    output: Output | None = None
    """What the signature says that it returns, if anything."""


def open_task(task: MlTask, folder: Path) -> tuple[MlTask, tuple[tuple[str, str], ...]]:
    """The task with what is in its MLflow folder for a model, and the links of `OpenedModel`.

    Args:
        task: a task whose model has the format `mlflow`.
        folder: the local folder with the `MLmodel`.

    Raises:
        ModelError: it is no such folder, holds a flavor that cannot be opened, or does not say what the task leaves open.
    """
    where = f"task {task.name!r}: {task.model.weights}"
    opened = _opened(task, _read(folder / "MLmodel", where), folder, where)
    output = task.output
    if opened.model.factory == PYFUNC and task.labels and opened.output == _NAMES_OF_CLASSES:
        raise ModelError(
            f"{where} returns one text per row and no confidence, so its rows cannot be those of a task with labels; drop the "
            f"labels: the texts are then the column predicted_class"
        )
    if output == ClassificationOutput() and not task.labels and opened.model.format != "huggingface":
        if opened.output is None:
            raise ModelError(
                f"{where} does not say what it predicts (its MLmodel has no signature of columns for it); declare the task's "
                f"labels or its output"
            )
        output = opened.output
    model = opened.model
    if model.factory == PYFUNC:
        model = replace(model, arguments={"columns": [column.name for column in output.main_columns]})
    return replace(task, model=model, output=output), opened.links


def _opened(task: MlTask, content: Mapping[str, Any], folder: Path, where: str) -> OpenedModel:
    flavors = content.get("flavors")
    if not isinstance(flavors, dict):
        raise ModelError(f"{where}: its MLmodel names no flavors; save it again with MLflow")
    given = task.model
    found = flavors.get("transformers")
    if isinstance(found, dict) and "model_binary" not in found:
        raise ModelError(
            f"{where} refers to weights that are elsewhere (save_pretrained=False, or a base model), and nothing is downloaded "
            f"at run time; log it with its weights, or call mlflow.transformers.persist_pretrained_model"
        )
    if isinstance(found, dict) and not found.get("peft_adaptor"):
        model = replace(given, weights=MODEL, format="huggingface")
        return OpenedModel(model=model, links=_of_transformers(folder, str(found["model_binary"]), where))
    if "sentence_transformers" in flavors:
        model = replace(given, weights=MODEL, format="huggingface")
        return OpenedModel(model=model, links=((MODEL, _SENTENCES),))
    found = flavors.get("pytorch")
    if isinstance(found, dict):
        return _of_pytorch(folder, found, given, where)
    found = flavors.get("onnx")
    if isinstance(found, dict) and task.features:  # without them, mlflow.pyfunc gives it the columns of its signature
        data = _inside(str(found.get("data", "model.onnx")), where)
        model = replace(given, weights=f"{MODEL}/{data}", format="onnx")
        return OpenedModel(model=model, links=((MODEL, ""),), output=_output_of(content, where))
    if "python_function" not in flavors:
        raise ModelError(
            f"{where} has only the flavors {', '.join(map(str, flavors))}, none of which can be opened here; log it with the flavor "
            f"python_function"
        )
    model = replace(given, weights=MODEL, format=None, factory=PYFUNC)
    return OpenedModel(model=model, links=((MODEL, ""),), output=_output_of(content, where))


def _of_transformers(folder: Path, binary: str, where: str) -> tuple[tuple[str, str], ...]:
    """The folder that `save_pretrained` would have written, from those of the network and of the pipeline's parts."""
    sources = [_inside(binary, where), *(f"components/{name}" for name in _COMPONENTS)]
    links: dict[str, str] = {}
    for source in sources:
        if (folder / source).is_dir():
            for file in sorted((folder / source).iterdir()):
                links.setdefault(f"{MODEL}/{file.name}", f"{source}/{file.name}")
    return tuple(links.items())


def _of_pytorch(folder: Path, flavor: Mapping[str, Any], given: ModelSpec, where: str) -> OpenedModel:
    data = _inside(str(flavor.get("model_data", "data")), where)
    if flavor.get("code"):  # modules of its own, which MLflow puts on the path
        return OpenedModel(model=replace(given, weights=MODEL, format=None, factory=PYTORCH), links=((MODEL, ""),))
    kinds: dict[str, ModelFormat] = {"model.pth": "pickle", "model.pt2": "export"}
    for name, kind in kinds.items():
        if (folder / data / name).is_file():
            model = replace(given, weights=f"{MODEL}/{name}", format=kind)
            return OpenedModel(model=model, links=((f"{MODEL}/{name}", f"{data}/{name}"),))
    raise ModelError(f"{where}: its folder {data!r} holds neither model.pth nor model.pt2; the download is incomplete")


def _inside(name: str, where: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ModelError(f"{where}: its MLmodel names {name!r}, which lies outside of the folder")
    return str(path)


def _output_of(content: Mapping[str, Any], where: str) -> Output | None:
    """The output that the signature describes; `None` if it describes none, or one that has no kind of its own."""
    signature = content.get("signature")
    text = signature.get("outputs") if isinstance(signature, dict) else None
    if not text:
        return None
    try:
        return _output_of_columns(json.loads(text))
    except (AttributeError, TypeError, ValueError, RecursionError):  # whoever made the folder wrote it
        raise ModelError(f"{where}: the signature in its MLmodel is none of MLflow's; log the model again") from None


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
        return _NAMES_OF_CLASSES
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


def _read(path: Path, where: str) -> Mapping[str, Any]:
    import yaml

    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{where}: its MLmodel has more than {_MAX_BYTES:,} bytes, which no model comes near")
        content = yaml.safe_load(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(
            f"{where}: there is no file {path}; name the folder that MLflow has saved, and check the model loader's models_root"
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ModelError(f"{where}: its MLmodel is not YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(content, dict):
        raise ModelError(f"{where}: its MLmodel holds no names and values; save it again with MLflow")
    return content
