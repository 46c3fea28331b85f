"""Removes the secrets of stores from errors: a store's answer may repeat what it was sent, and the errors of delta-rs
contain the answer."""

import json
import os
import re
from collections.abc import Iterator
from html import escape as html_escape
from typing import TypeVar
from urllib.parse import quote, quote_plus, unquote
from xml.sax.saxutils import escape as xml_escape

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
_SIGNATURE = re.compile(r"(?:^|[?&])sig=([^&]+)")
_CODE = re.compile(r"%[0-9A-F]{2}")


def hide_secrets(error: E) -> E:
    """The error itself, whose arguments no longer contain a secret of a store: one of the options in use, or one of the
    environment."""
    error.args = tuple(without_store_secrets(part) if isinstance(part, str) else part for part in error.args)
    if isinstance(error, OSError) and isinstance(error.strerror, str):  # its text is not made of the arguments
        error.strerror = without_store_secrets(error.strerror)
    return error


def without_store_secrets(text: str) -> str:
    """`text` with `***` in place of each secret of a store, also as a URL, XML, JSON or Python spells it."""
    spelled = {one for secret in _secrets() for one in _spellings(secret)}
    for one in sorted(spelled, key=len, reverse=True):  # one may be the beginning of another
        text = text.replace(one, "***")
    return text


def _secrets() -> Iterator[str]:
    for _, options in storage_scopes().scopes:
        for value in options.secrets:
            yield from (value, *_signatures(value))
    for name in _VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= _SHORTEST:
            yield from (value, *_signatures(value))


def _signatures(secret: str) -> Iterator[str]:
    """What is secret of a SAS token. Its parameters are sent in any order, among others."""
    for found in _SIGNATURE.findall(secret):
        yield from (found, unquote(found))


def _spellings(secret: str) -> Iterator[str]:
    yield from (secret, xml_escape(secret), html_escape(secret), repr(secret)[1:-1], json.dumps(secret)[1:-1])
    for encoded in (quote(secret), quote(secret, safe=""), quote_plus(secret)):
        yield from (encoded, _CODE.sub(lambda code: code[0].lower(), encoded))
