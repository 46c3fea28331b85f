"""The files that a task's model is made of: which they are, the digests of their contents, and whether they stay
unchanged while they are used.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath

from sparktorch_assets.errors import ModelError, nearest
from sparktorch_assets.file_identity import FileIdentity, file_identity
from sparktorch_assets.tasks.files.onnx.onnx_file import OnnxFile
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.per_declaration import PerDeclaration

_CHUNK_BYTES = 1 << 20
_MANY_TEXTS = 1_000
"""For fewer strings, asking for each of them is cheaper than listing the models root."""


def model_files(task: MlTask, models_root: Path) -> dict[str, Path]:
    """All files that are part of the model's digest: name relative to the models root -> path, the weights first.

    These are the declared files (weights, `ModelSpec.files`, vocabularies, tokenizers) and those that a string in
    `arguments` names under the models root. A folder stands for all files in it except hidden ones (their names begin
    with a dot) and `__pycache__`. An ONNX file brings the files along that hold its weights. A declared file need not
    exist here.

    Raises:
        ModelError: the weights are not an ONNX file, although they are declared as one.
    """
    found: dict[str, Path] = {}
    for name in (*task.files, *named_files(task, models_root)):
        path = models_root / name
        if path.is_dir():
            found |= {f"{name}/{inner}": path / inner for inner in _files_below(path)}
        else:
            found[name] = path
    return found | {name: models_root / name for name in data_of_weights(task, models_root)}


def data_of_weights(task: MlTask, models_root: Path) -> list[str]:
    """The files that hold the weights of an ONNX file, relative to the models root; none for other models.

    Raises:
        ModelError: the weights are not an ONNX file, although they are declared as one.
    """
    if task.model.format != "onnx" or not (weights := models_root / str(task.model.weights)).is_file():
        return []
    folder = PurePosixPath(str(task.model.weights)).parent
    return [str(folder / name) for name in OnnxFile.of(weights).data_files]


def named_files(task: MlTask, models_root: Path) -> list[str]:
    """The strings in `arguments` that name an existing file or folder under the models root."""
    return [text for text in _perhaps_named(task, models_root) if _lies_under(models_root, text)]


def _perhaps_named(task: MlTask, models_root: Path) -> Iterable[str]:
    """Those strings in `arguments` that may name something under the models root, in their order: of a vocabulary of many
    words, those that begin with a name in that folder."""
    if len(task.argument_texts) < _MANY_TEXTS:
        return task.argument_texts
    try:
        names = [path.name for path in models_root.iterdir()]
    except FileNotFoundError:
        names = []
    except OSError:  # a folder can be used without the right to list it
        return task.argument_texts
    by_name = _texts_by_first_name(task)
    found = by_name.keys() & {"", *map(_first_name, names)}
    return [text for _, text in sorted(pair for name in found for pair in by_name[name])]


@PerDeclaration
def _texts_by_first_name(task: MlTask) -> dict[str, list[tuple[int, str]]]:
    """First name of a path -> the strings that begin with it, each with its place."""
    by_name = defaultdict(list)
    for place, text in enumerate(task.argument_texts):
        by_name[_first_name(text)].append((place, text))
    return dict(by_name)


def _first_name(path: str) -> str:
    """The name of the topmost folder or file of a relative path, in small letters, since some file systems take no notice
    of case. Empty where only the file system knows which name is meant: absolute paths, dots, and letters with more than
    one encoding."""
    name = path.partition("/")[0]
    return "" if name in (".", "..") or ".." in path or not name.isascii() else name.lower()


def _lies_under(models_root: Path, text: str) -> bool:
    root = os.path.abspath(models_root)  # noqa: PTH100  (pathlib raises for some strings)
    path = os.path.normpath(os.path.join(root, text))  # noqa: PTH118
    if not os.path.exists(path):  # noqa: PTH110
        return False
    # By its name, because a link under the root may lead elsewhere; and by its real path, because the root may be given
    # as a link.
    return _is_below(path, root) or _is_below(os.path.realpath(path), os.path.realpath(root))


def _is_below(path: str, root: str) -> bool:
    return f"/{path.lstrip('/')}".startswith(f"{root.rstrip('/')}/")


def _files_below(folder: Path) -> list[str]:
    """Sorted paths relative to the folder. Links to folders are followed, but each folder is visited once."""
    found, seen = [], set()
    for at, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        found += [Path(at, name).relative_to(folder).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)


def file_sha256(path: Path) -> str:
    """The file's sha256, in hexadecimal; for a folder, the sha256 of the names and digests of its files.

    A file is read again only if its identity has changed.

    Raises:
        ModelError: there is no such file (the message lists the files next to it), or it changes while it is read.
    """
    if path.is_dir():
        digest = hashlib.sha256()
        for name in _files_below(path):
            digest.update(f"{file_sha256(path / name)}  {name}\n".encode())
        return digest.hexdigest()
    identity = file_identity(path)
    if identity is None:
        raise _missing(path)
    return _sha256(os.fspath(path), identity)


def weights_sha256(task: MlTask, models_root: Path) -> str:
    """The sha256 that `ModelSpec.sha256` pins: that of the weights' file or folder; for an ONNX file that keeps weights in
    other files, the sha256 of the names and digests of all of them.

    Raises:
        ModelError: as `file_sha256`, or the weights are not an ONNX file, although they are declared as one.
    """
    assert task.model.weights is not None
    path = models_root / task.model.weights
    if task.model.format != "onnx" or not path.is_file() or not (data := OnnxFile.of(path).data_files):
        return file_sha256(path)
    digest = hashlib.sha256()
    for name in sorted((path.name, *data)):
        digest.update(f"{file_sha256(path.parent / name)}  {name}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=4096)
def _sha256(path: str, identity: FileIdentity) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    if file_identity(path) != identity:
        raise ModelError(f"{path} was changed while it was read; wait until it is complete, then run again")
    return digest.hexdigest()


def check_file(path: Path) -> None:
    """Raise ModelError if there is no such file or folder; the message lists the files next to it."""
    if not path.exists():
        raise _missing(path)


def _missing(path: Path) -> ModelError:
    beside = [found.name for found in path.parent.iterdir()] if path.parent.is_dir() else []
    return ModelError(
        f"there is no file {path}; {nearest(path.name, beside)} in {path.parent}. Check the task's path and the model "
        f"loader's models_root"
    )


class FilesInUse:
    """A task's model files as they were when this object was created. Weights are mapped into memory, so overwriting a
    file changes a model that is already loaded."""

    def __init__(self, task: MlTask, models_root: Path) -> None:
        self._task, self._models_root = task, models_root
        self.identities = tuple(_identities(task, models_root))
        """The name and the identity of each file; the identity is `None` if the file does not exist."""

    def check(self) -> None:
        """Raise ModelError, naming the files, if any was changed, added or removed since."""
        now = tuple(_identities(self._task, self._models_root))
        if now == self.identities:
            return
        names = sorted({name for name, _ in set(now) ^ set(self.identities)})
        raise ModelError(
            f"task {self._task.name!r}: {', '.join(names)} under {self._models_root} changed while the model was in use, and "
            f"its answers may come from the old and the new content. Run again, and leave the files as they are until the "
            f"run has ended"
        )


def _identities(task: MlTask, models_root: Path) -> Iterator[tuple[str, FileIdentity | None]]:
    for name, path in model_files(task, models_root).items():
        yield name, file_identity(path)
