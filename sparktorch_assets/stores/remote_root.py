"""A models root at a URI: copies the files that a task names, once per host and version of the object.

What distinguishes the versions of an object is its size and modification time, as for the files of tables; its content
has a digest of its own, as that of every local file.
"""

import filecmp
import hashlib
import json
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlparse

from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.masking import has_password, without_secrets
from sparktorch_assets.storage.hidden import hide_secrets
from sparktorch_assets.storage.opening import open_file_system
from sparktorch_assets.stores.cache import key_of, locked
from sparktorch_assets.stores.uses import make_room, use

MOST_BYTES = 50 * 10**9
"""What all copies of models on a host take at most, unless the loader says otherwise."""
Known = dict[str, list[int | str]]
"""File -> size and time of the object that was copied, time and digest of the copy."""
_NOTED = 4
_STATE = ".objects.json"
_CHUNK_BYTES = 8 << 20
_YOUNG_NS = 5 * 10**9
_YOUNG = [-1, -1]
"""Stands for the identity of an object that was written in the last seconds. Stores count in seconds (S3 does), so another
content of the same size could have the same identity: such an object is compared once more the next time."""
_UNDER_WAY: list[int | str] = [-2, -2, 0, ""]
"""What is noted of a file while it is copied."""
_PATH = re.compile(r"[\w.@+=-]+(/[\w.@+=-]+)*")


def is_uri(root: str) -> bool:
    """Whether a models root is a URI of another place than this host's file system."""
    return "://" in root and not root.startswith("file://")


def absolute_root(root: str | Path) -> str:
    """A models root that does not depend on the working directory: a URI, or a local path, as which `file://` is taken."""
    text = str(root)
    if is_uri(text):
        return text
    return str(Path(unquote(urlparse(text).path) if text.startswith("file://") else root).absolute())


def check_root(uri: str, where: str) -> None:
    """Raise TaskError if the URI contains a password, or a part that would be left out."""
    if has_password(uri):
        raise TaskError(
            f"{where}={without_secrets(uri)!r} contains a password, and addresses are shown in logs and on asset pages. Leave it "
            f"out, and give storage options, or set the store's own environment variables or profile instead (for S3, "
            f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
        )
    if "://" in uri and "#" in uri:
        raise TaskError(f"{where}={uri!r}: in a URI, # ends the path; if it is part of the name, write %23")


class RemoteRoot:
    """The local copy of the folder at a URI.

    Args:
        uri: whatever `pyarrow.fs` knows, such as `s3://bucket/models`.
        cache: the folder of this host's copies.
        most_bytes: what all copies of models on this host may take; see `uses.py`.
    """

    def __init__(self, uri: str, cache: Path, most_bytes: int = MOST_BYTES) -> None:
        self._uri = uri.rstrip("/")
        self._cache, self._most_bytes = cache, most_bytes
        self._key = key_of(self._uri)
        self.path = cache / "copies" / self._key
        """The folder of the copies; a file that a task names as `a/b.pt` is `a/b.pt` in it."""

    def fetch(self, names: Iterable[str], perhaps: Iterable[str] = (), *, again: bool, verify: bool = False) -> None:
        """Copy the files and folders of these names, which this process uses from now on.

        Args:
            names: paths below the URI. What does not exist there is left out: whoever opens it says that it is missing.
            perhaps: further names, most of which are expected not to exist.
            again: look whether the objects have changed since they were copied, and the copies since they were made;
                otherwise, what is here is taken.
            verify: read the copies as well, and make those anew that are no longer what was copied.

        Raises:
            ModelError: the store does not answer, or an object changes while it is copied.
        """
        wanted = [name for name in dict.fromkeys(names) if _is_below(name)]
        use(self._cache, [f"copies/{self._key}/{name}" for name in wanted])
        if not again and self._has(wanted):
            return
        wanted += [name for name in dict.fromkeys(perhaps) if _PATH.fullmatch(name) and _is_below(name)]
        with locked(self._cache, self._key):
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                self._update(wanted, verify=verify)
            except ModelError:
                raise
            except OSError as error:  # what pyarrow.fs raises, whichever store it is
                shown = without_secrets(self._uri)
                raise ModelError(
                    f"the models under {shown} cannot be copied: {' '.join(str(hide_secrets(error)).split())[:300]}. Check the address, and that "
                    f"this host has the store's credentials"
                ) from error

    def _has(self, names: Iterable[str]) -> bool:
        """Whether these files and folders are here, and none of them is being copied, or was when a process was killed."""
        known = self._known()
        for name in names:
            found = [file for file in known if file == name or file.startswith(f"{name}/")]
            if not found or not all(known[file] != _UNDER_WAY and (self.path / file).is_file() for file in found):
                return False
        return True

    def _update(self, names: Iterable[str], *, verify: bool) -> None:
        try:
            filesystem, root = open_file_system(self._uri)
        except ValueError as error:
            raise ModelError(
                f"models_root={without_secrets(self._uri)!r} cannot be opened: {error}. Give a local path, or a URI that pyarrow.fs knows"
            ) from error
        known = self._known()
        for left in self.path.glob(".tmp-*"):  # of a process that was killed
            left.unlink(missing_ok=True)
        present = {name: dict(_objects(filesystem, root, name)) for name in names}
        lacking = {
            file: identity
            for found in present.values()
            for file, identity in found.items()
            if not self._holds(file, identity, known, verify=verify)
        }
        use(self._cache, [f"copies/{self._key}/{name}" for name, found in present.items() if found])
        if lacking:
            make_room(self._cache, self._most_bytes, sum(size for size, _ in lacking.values()))
        for name, found in present.items():
            for file in [file for file in known if file == name or file.startswith(f"{name}/")]:
                if file not in found:
                    self._forget(file, known)
        if lacking:  # without this, a folder of which some files are here would look complete
            self._remember(known | dict.fromkeys(lacking, _UNDER_WAY))
        for file, identity in lacking.items():
            known[file] = [*self._copy(filesystem, root, file, identity), *self._state_of(file)]
        self._remember(known)

    def _holds(self, file: str, identity: list[int], known: Known, *, verify: bool) -> bool:
        """Whether the copy of a file is that of the present object, and still what it was when it was made."""
        path, noted = self.path / file, known.get(file, [])
        if noted[:2] != identity or not path.is_file() or path.stat().st_mtime_ns != noted[2]:
            return False
        return not verify or self._state_of(file) == noted[2:]

    def _state_of(self, file: str) -> list[int | str]:
        """The time and the digest of a copy."""
        with (self.path / file).open("rb") as content:
            return [(self.path / file).stat().st_mtime_ns, hashlib.file_digest(content, "sha256").hexdigest()]

    def _copy(self, filesystem: Any, root: str, file: str, identity: list[int]) -> list[int]:
        """Copy an object, and return the identity by which its copy is known from now on."""
        temporary = self.path / f".tmp-{uuid.uuid4().hex[:12]}"
        with filesystem.open_input_stream(f"{root}/{file}") as source, temporary.open("wb") as sink:
            shutil.copyfileobj(source, sink, _CHUNK_BYTES)
        now = _identity(filesystem.get_file_info(f"{root}/{file}"))
        if now != identity or temporary.stat().st_size != identity[0]:
            temporary.unlink()
            raise ModelError(
                f"{without_secrets(self._uri)}/{file} was changed while it was copied; wait until it is complete, then run again"
            )
        known = _YOUNG if abs(time.time_ns() - identity[1]) < _YOUNG_NS else identity
        final = self.path / file
        if final.is_file() and filecmp.cmp(temporary, final, shallow=False):
            temporary.unlink()
            return known
        if final.is_dir() and not final.is_symlink():
            shutil.rmtree(final)  # the store has a file now where it had a folder
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(final)  # a process that has the old file mapped keeps it
        return known

    def _forget(self, file: str, known: Known) -> None:
        (self.path / file).unlink(missing_ok=True)
        known.pop(file)

    def _known(self) -> Known:
        try:
            known = json.loads((self.path / _STATE).read_bytes())
            return {file: noted for file, noted in known.items() if len(noted) == _NOTED}
        except (FileNotFoundError, ValueError):
            return {}

    def _remember(self, known: Known) -> None:
        temporary = self.path / f".tmp-{uuid.uuid4().hex[:12]}"
        temporary.write_text(json.dumps(known))
        temporary.replace(self.path / _STATE)


def _is_below(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _objects(filesystem: Any, root: str, name: str) -> Iterator[tuple[str, list[int]]]:
    """The files that a name stands for, without hidden ones, each with its identity."""
    from pyarrow import fs

    found = filesystem.get_file_info(f"{root}/{name}")
    if found.type == fs.FileType.File:
        yield name, _identity(found)
    elif found.type == fs.FileType.Directory:
        for inner in filesystem.get_file_info(fs.FileSelector(f"{root}/{name}", recursive=True)):
            file = inner.path[len(root.rstrip("/")) + 1 :]
            hidden = any(part.startswith(".") for part in PurePosixPath(file).relative_to(name).parts)
            if inner.type == fs.FileType.File and not hidden:
                yield file, _identity(inner)


def _identity(found: Any) -> list[int]:
    return [found.size or 0, found.mtime_ns or 0]
