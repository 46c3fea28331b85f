"""Removes the secrets of storage options from errors: a store's answer may repeat what it was sent, and the errors of
delta-rs contain the answer."""

from typing import TypeVar
from urllib.parse import quote
from xml.sax.saxutils import escape

from sparktorch_assets.storage.scopes import storage_scopes

E = TypeVar("E", bound=BaseException)


def hide_secrets(error: E) -> E:
    """The error itself, whose arguments no longer contain the secrets of the options in use."""
    error.args = tuple(without_options(part) if isinstance(part, str) else part for part in error.args)
    if isinstance(error, OSError) and isinstance(error.strerror, str):  # its text is not made of the arguments
        error.strerror = without_options(error.strerror)
    return error


def without_options(text: str) -> str:
    """`text` with `***` in place of each secret of the options in use, also as an URL or XML spells it."""
    for _, options in storage_scopes().scopes:
        for secret in options.secrets:
            for spelled in (secret, quote(secret, safe=""), quote(secret), escape(secret)):
                text = text.replace(spelled, "***")
    return text
