"""What a task takes from a model's folder, for people who are about to declare one."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path

from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.tasks.files.folders.folder_json import using_settings
from sparktorch_assets.tasks.files.folders.model_folder import ModelFolder
from sparktorch_assets.tasks.files.onnx.onnx_file import OnnxFile
from sparktorch_assets.tasks.outputs import Output


def describe_files(path: str | Path) -> None:
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
    lines = [f"{folder.path}: {kind}", _line(folder.path, "network", lambda: folder.architecture)]
    lines.append(_line(folder.path, "output", lambda: output_yaml(folder.output)))
    lines.append(_line(folder.path, "labels", lambda: _labels(folder)))
    with using_settings(folder.path):
        reads = folder.reads
    if reads == "audio":
        lines.append(_line(folder.path, "audio", lambda: str(folder.audio)))
    elif reads == "image":
        lines.append(_line(folder.path, "images", lambda: str(folder.images)))
    else:
        lines.append(
            _line(folder.path, "tokenizer", lambda: folder.texts.tokenizer.relative_to(folder.path).as_posix())
        )
        lines.append(_line(folder.path, "max_tokens", lambda: _max_tokens(folder)))
        if folder.sentence_transformers:
            lines.append(
                _line(folder.path, "prompt", lambda: repr(folder.texts.prompt) if folder.texts.prompt else "none")
            )
    lines.append(_line(folder.path, "weights", lambda: ", ".join(folder.weights)))
    write_lines(lines)


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to the standard output. What a stranger's file holds cannot control the terminal."""
    for line in lines:
        shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in line)
        sys.stdout.write(f"{shown}\n")


def _describe_onnx(file: OnnxFile) -> None:
    lines = [f"{file.path}: ONNX file"]
    lines += [f"  {'input':<11} {value}" for value in file.inputs]
    lines += [f"  {'output':<11} {value}" for value in file.outputs]
    lines.append(f"  {'operators':<11} {', '.join(file.opsets)}")
    lines.append(f"  {'parameters':<11} {file.parameters:,}")
    lines.append(f"  {'weights':<11} {', '.join((file.path.name, *file.data_files))}")
    write_lines(lines)


def _labels(folder: ModelFolder) -> str:
    if not folder.output.labelled:
        return "none"
    unnamed = "" if folder.names_labels else " (config.json names none in id2label: declare labels in the task)"
    return ", ".join(folder.labels) + unnamed


def _max_tokens(folder: ModelFolder) -> str:
    shared = not folder.sentence_transformers and folder.writes_text and folder.causal
    return f"{folder.texts.max_tokens}{', the new ones included' if shared else ''}"


def _line(path: Path, name: str, value: Callable[[], str]) -> str:
    try:
        with using_settings(path):
            found = value()
    except (ModelError, TaskError) as error:
        found = f"not known: {error}"
    return f"  {name:<11} {found}"


def output_yaml(output: Output) -> str:
    """The output's kind, and its options that are not defaults, as in a task's YAML."""
    options = [field for field in fields(output) if field.name != "kind"]
    given = [
        (field.name, getattr(output, field.name)) for field in options if getattr(output, field.name) != field.default
    ]
    return "{" + ", ".join([f"kind: {output.kind}", *(f"{name}: {_yaml(value)}" for name, value in given)]) + "}"


def _yaml(value: object) -> str:
    if isinstance(value, tuple) and value and all(isinstance(pair, tuple) for pair in value):
        return "{" + ", ".join(f"{name}: {kind}" for name, kind in value) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)
