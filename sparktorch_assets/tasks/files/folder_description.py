"""What a task takes from a model's folder, for people who are about to declare one."""

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.files.model_folder import ModelFolder
from sparktorch_assets.tasks.files.onnx_file import OnnxFile
from sparktorch_assets.tasks.outputs import Output


def describe_model(path: str | Path) -> None:
    """Print what is derived from a Hugging Face or sentence-transformers folder: network, output, labels, tokenizer and
    maximum length; or from an ONNX file: its inputs and outputs with their types and shapes. What is not known from the
    folder is shown with the reason, and a task has to declare it.

    Only JSON files are read, or the ONNX file's graph: no code and no weights.

    Args:
        path: the folder, or the file (`.onnx`).

    Raises:
        ModelError: it is no such folder or file.
    """
    if Path(path).suffix == ".onnx":
        _describe_onnx(OnnxFile.of(Path(path)))
        return
    folder = ModelFolder(Path(path))
    kind = "sentence-transformers folder" if folder.sentence_transformers else "Hugging Face folder"
    lines = [f"{folder.path}: {kind}", _line("network", lambda: folder.architecture)]
    lines.append(_line("output", lambda: _plain(folder.output)))
    lines.append(_line("labels", lambda: ", ".join(folder.labels) if folder.output.labelled else "none"))
    if folder.reads == "audio":
        lines.append(_line("audio", lambda: str(folder.audio)))
    elif folder.reads == "image":
        lines.append(_line("images", lambda: str(folder.images)))
    else:
        lines.append(_line("tokenizer", lambda: folder.tokenizer.relative_to(folder.path).as_posix()))
        lines.append(_line("max_tokens", lambda: _max_tokens(folder)))
        if folder.sentence_transformers:
            lines.append(_line("prompt", lambda: repr(folder.prompt) if folder.prompt else "none"))
    lines.append(_line("weights", lambda: ", ".join(folder.weights)))
    sys.stdout.write("\n".join(lines) + "\n")


def _describe_onnx(file: OnnxFile) -> None:
    lines = [f"{file.path}: ONNX file"]
    lines += [f"  {'input':<11} {value}" for value in file.inputs]
    lines += [f"  {'output':<11} {value}" for value in file.outputs]
    lines.append(f"  {'operators':<11} {', '.join(file.opsets)}")
    lines.append(f"  {'parameters':<11} {file.parameters:,}")
    lines.append(f"  {'weights':<11} {', '.join((file.path.name, *file.data_files))}")
    sys.stdout.write("\n".join(lines) + "\n")


def _max_tokens(folder: ModelFolder) -> str:
    shared = not folder.sentence_transformers and folder.writes_text and folder.causal
    return f"{folder.max_tokens}{', the new ones included' if shared else ''}"


def _line(name: str, value: Callable[[], str]) -> str:
    try:
        found = value()
    except ModelError as error:
        found = f"not known: {error}"
    return f"  {name:<11} {found}"


def _plain(output: Output) -> str:
    """The output's kind, and its options that are not defaults, as in a task's YAML."""
    options = [field for field in fields(output) if field.name != "kind"]
    given = [
        (field.name, getattr(output, field.name)) for field in options if getattr(output, field.name) != field.default
    ]
    return "{" + ", ".join([f"kind: {output.kind}", *(f"{name}: {_yaml(value)}" for name, value in given)]) + "}"


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
