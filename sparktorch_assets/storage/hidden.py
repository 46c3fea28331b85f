"""Removes the secrets of stores from errors: a store's answer may repeat what it was sent, and the errors of delta-rs
contain the answer."""

import os
from collections.abc import Iterator
from typing import TypeVar
from urllib.parse import quote
from xml.sax.saxutils import escape

from sparktorch_assets.storage.scopes import storage_scopes
from sparktorch_assets.storage.storage_options import ALL_KEYS

E = TypeVar("E", bound=BaseException)

_VARIABLES = sorted(
    name.upper() for name, key in ALL_KEYS.items() if key.secret and name.startswith(("aws_", "azure_"))
)
"""Environment variables that hold secrets: they have the options' full names."""
_SHORTEST = 8
"""Number of characters of the shortest value of a variable that is taken for a secret. Tests set `test` and the like, which
would be cut out of words."""


def hide_secrets(error: E) -> E:
    """The error itself, whose arguments no longer contain a secret of a store: one of the options in use, or one of the
    environment."""
    error.args = tuple(without_store_secrets(part) if isinstance(part, str) else part for part in error.args)
    if isinstance(error, OSError) and isinstance(error.strerror, str):  # its text is not made of the arguments
        error.strerror = without_store_secrets(error.strerror)
    return error


def without_store_secrets(text: str) -> str:
    """`text` with `***` in place of each secret of a store, also as an URL or XML spells it."""
    for secret in _secrets():
        for spelled in (secret, quote(secret, safe=""), quote(secret), escape(secret)):
            text = text.replace(spelled, "***")
    return text


def _secrets() -> Iterator[str]:
    for _, options in storage_scopes().scopes:
        yield from options.secrets
    for name in _VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= _SHORTEST:
            yield value
