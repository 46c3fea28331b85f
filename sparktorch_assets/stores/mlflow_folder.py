"""What the folder of an MLflow model holds: its `MLmodel` names flavors, and the columns that it takes and returns.

The networks that the flavors `transformers`, `sentence_transformers`, `pytorch` and `onnx` have saved are opened like
anybody's, so that batches, devices and failures are ours. Everything else goes through `mlflow.pyfunc`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from sparktorch_assets.errors import ModelError
from sparktorch_assets.stores.mlflow_signature import NAMES_OF_CLASSES, inputs_of, output_of
from sparktorch_assets.tasks import ClassificationOutput, MlTask, ModelSpec, Output
from sparktorch_assets.tasks.files.folders.folder_description import output_yaml, write_lines
from sparktorch_assets.tasks.model_spec import ModelFormat

MODEL = "mlflow"
"""The name of the model's folder under the models root that a task is given. It says nothing of name, version or alias,
so that versions of equal content have equal digests."""
PYFUNC = "sparktorch_assets.predict.model.formats.mlflow_models:load_pyfunc"
PYTORCH = "sparktorch_assets.predict.model.formats.mlflow_models:load_pytorch"
_HOW = {PYFUNC: "by mlflow.pyfunc", PYTORCH: "by mlflow.pytorch, as a network"}
"""What `describe_mlflow` says of a factory."""
_MAX_BYTES = 16 << 20
_SENTENCES = "model.sentence_transformer"
_COMPONENTS = ("tokenizer", "image_processor", "feature_extractor")
"""Parts of a pipeline that the flavor `transformers` keeps outside of the network's folder."""


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
    opened = _opened(task.model, _read(folder / "MLmodel", where), folder, where, has_features=bool(task.features))
    output = task.output
    if opened.model.factory == PYFUNC and task.labels and opened.output == NAMES_OF_CLASSES:
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


def describe_mlflow(model: ModelSpec, folder: Path) -> tuple[tuple[str, str], ...]:
    """Print how the model of an MLflow folder is opened. If it is the folder of a network of transformers, its links are
    returned: what it consists of says the rest.

    Raises:
        ModelError: it is no such folder, or holds a flavor that cannot be opened.
    """
    where = str(model.weights)
    content = _read(folder / "MLmodel", where)
    opened = _opened(model, content, folder, where, has_features=True)
    lines = [f"{where}: MLflow model", f"  flavors     {', '.join(map(str, content['flavors']))}"]
    lines.append(f"  opened      {_HOW.get(opened.model.factory or '', f'as format {opened.model.format}')}")
    if opened.model.format == "huggingface":
        write_lines(lines)
        return opened.links
    lines.append(f"  inputs      {', '.join(inputs_of(content, where)) or 'not known: its MLmodel has no signature'}")
    output = opened.output or output_of(content, where)
    lines.append(
        f"  output      {output_yaml(output) if output else 'not known: declare labels or output in the task'}"
    )
    if opened.model.code_in_weights is not None:
        lines.append(f"  trust       {opened.model.code_in_weights}: it needs trust_code or sha256")
    write_lines(lines)
    return ()


def _opened(
    model: ModelSpec, content: Mapping[str, Any], folder: Path, where: str, *, has_features: bool
) -> OpenedModel:
    flavors = content.get("flavors")
    if not isinstance(flavors, dict):
        raise ModelError(f"{where}: its MLmodel names no flavors; save it again with MLflow")
    given = model
    found = flavors.get("transformers")
    if isinstance(found, dict) and "model_binary" not in found:
        raise ModelError(
            f"{where} refers to weights that are elsewhere (save_pretrained=False, or a base model), and nothing is downloaded "
            f"at run time; log it with its weights, or call mlflow.transformers.persist_pretrained_model"
        )
    if isinstance(found, dict) and not found.get("peft_adaptor"):
        model = replace(given, weights=MODEL, format="huggingface")
        return OpenedModel(model=model, links=_of_transformers(folder, found["model_binary"], where))
    if "sentence_transformers" in flavors:
        model = replace(given, weights=MODEL, format="huggingface")
        return OpenedModel(model=model, links=((MODEL, _SENTENCES),))
    found = flavors.get("pytorch")
    if isinstance(found, dict):
        return _of_pytorch(folder, found, given, where)
    found = flavors.get("onnx")
    if isinstance(found, dict) and has_features:  # without them, mlflow.pyfunc gives it the columns of its signature
        data = _inside(found.get("data", "model.onnx"), where)
        model = replace(given, weights=f"{MODEL}/{data}", format="onnx")
        return OpenedModel(model=model, links=((MODEL, ""),), output=output_of(content, where))
    if "python_function" not in flavors:
        raise ModelError(
            f"{where} has only the flavors {', '.join(map(str, flavors))}, none of which can be opened here; log it with the flavor "
            f"python_function"
        )
    model = replace(given, weights=MODEL, format=None, factory=PYFUNC)
    return OpenedModel(model=model, links=((MODEL, ""),), output=output_of(content, where))


def _of_transformers(folder: Path, binary: Any, where: str) -> tuple[tuple[str, str], ...]:
    """The folder that `save_pretrained` would have written, from those of the network and of the pipeline's parts."""
    sources = [_inside(binary, where), *(f"components/{name}" for name in _COMPONENTS)]
    links: dict[str, str] = {}
    for source in sources:
        if (folder / source).is_dir():
            for file in sorted((folder / source).iterdir()):
                links.setdefault(f"{MODEL}/{file.name}", f"{source}/{file.name}")
    return tuple(links.items())


def _of_pytorch(folder: Path, flavor: Mapping[str, Any], given: ModelSpec, where: str) -> OpenedModel:
    data = _inside(flavor.get("model_data", "data"), where)
    if flavor.get("code"):  # modules of its own, which MLflow puts on the path
        return OpenedModel(model=replace(given, weights=MODEL, format=None, factory=PYTORCH), links=((MODEL, ""),))
    kinds: dict[str, ModelFormat] = {"model.pth": "pickle", "model.pt2": "export"}
    for name, kind in kinds.items():
        if (folder / data / name).is_file():
            model = replace(given, weights=f"{MODEL}/{name}", format=kind)
            return OpenedModel(model=model, links=((f"{MODEL}/{name}", f"{data}/{name}"),))
    raise ModelError(f"{where}: its folder {data!r} holds neither model.pth nor model.pt2; the download is incomplete")


def _inside(name: Any, where: str) -> str:
    if not isinstance(name, str):
        raise ModelError(f"{where}: its MLmodel names a {type(name).__name__} where the path of a file should be")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ModelError(f"{where}: its MLmodel names {name!r}, which lies outside of the folder")
    return str(path)


def _read(path: Path, where: str) -> Mapping[str, Any]:
    import yaml

    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(
            f"{where}: there is no file {path}; name the folder that MLflow has saved, and check the model loader's models_root"
        ) from None
    if size > _MAX_BYTES:
        raise ModelError(f"{where}: its MLmodel has more than {_MAX_BYTES:,} bytes, which no model comes near")
    try:
        content = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ModelError(f"{where}: its MLmodel is not YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(content, dict):
        raise ModelError(f"{where}: its MLmodel holds no names and values; save it again with MLflow")
    return content
