"""Prints what a task takes from a model, wherever that is kept."""

from pathlib import Path

from sparktorch_assets.stores.cache import cache_folder
from sparktorch_assets.stores.linked_root import linked_root
from sparktorch_assets.stores.mlflow_folder import MODEL, describe_mlflow
from sparktorch_assets.stores.mlflow_server import fetched, resolve
from sparktorch_assets.stores.remote_root import MOST_BYTES
from sparktorch_assets.tasks.files.folders.folder_description import describe_files, write_lines
from sparktorch_assets.tasks.model_spec import ModelSpec


def describe_model(path: str | Path, *, tracking_uri: str = "") -> None:
    """Print what is derived from a Hugging Face or sentence-transformers folder: network, output, labels, tokenizer and
    maximum length; from an ONNX file: its inputs and outputs with their types and shapes; or from an MLflow model: how it is
    opened, the columns that it takes, and its output. What is not known is shown with the reason, and a task has to declare
    it.

    No code runs and no weights are opened: only JSON files are read, the ONNX file's graph, or the `MLmodel`.

    Args:
        path: the folder, the file (`.onnx`), or the address of an MLflow model (`models:/name@alias`), which is copied to
            this host.
        tracking_uri: the address of the MLflow server; if empty, the one that MLflow takes (`MLFLOW_TRACKING_URI`).

    Raises:
        ModelError: it is no such folder or file, or the server does not answer or has no such model.
        TaskError: it is no address of an MLflow model.
    """
    registered = str(path).startswith(("models:", "runs:"))
    if not registered and not (Path(path) / "MLmodel").is_file():
        describe_files(path)
        return
    model = ModelSpec(weights=str(path), format="mlflow")
    folder = Path(path)
    if registered:
        version = resolve(str(path), tracking_uri)
        folder = fetched(version, cache_folder(), MOST_BYTES)
        write_lines(f"{name}: {value}" for name, value in version.shown.items())
    links = describe_mlflow(model, folder)
    if links:
        linked = {name: folder.absolute() / inner for name, inner in links}
        describe_files(linked_root(cache_folder(), linked) / MODEL)
