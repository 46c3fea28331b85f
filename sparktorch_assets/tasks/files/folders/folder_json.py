"""Reads the JSON files of a model's folder. Whoever made the folder wrote them, so nothing in them is taken for granted."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparktorch_assets.errors import ModelError, TaskError

_MAX_BYTES = 16 << 20
"""Maximum size of a file of settings. The largest of public models, with all added tokens, has about 1 MB."""


@contextmanager
def using_settings(path: Path) -> Iterator[None]:
    """Turn what a value of another type or size than expected causes inside the block into a ModelError.

    Args:
        path: the folder whose settings are used.
    """
    try:
        yield
    except (ModelError, TaskError):
        raise
    except (TypeError, ValueError, OverflowError, AttributeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path}: a value in its JSON files is of no type or size that is known there ({type(error).__name__}: {reason}); "
            f"write the folder again with save_pretrained, or declare what the task leaves to it"
        ) from error


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ModelError: there is no such file, it is too long, or it is not JSON.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path} has more than {_MAX_BYTES:,} bytes, which no known model comes near")
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"there is no file {path}; the folder is incomplete, so copy all of it") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON ({error})") from None


def read_settings(path: Path, *, optional: bool = False) -> dict[str, Any]:
    """The names and values of a JSON file; none if there is no such file and it is `optional`.

    Raises:
        ModelError: as `read_json`, or it holds something else.
    """
    if optional and not path.is_file():
        return {}
    found = read_json(path)
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds a {type(found).__name__}, not an object with names and values")
    return found
