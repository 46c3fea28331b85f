"""Removes credentials from addresses, so that these can be shown in logs, messages and metadata."""

import re

_PASSWORD = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)[^/@:]*:(?!\d+(?:/|$))[^@]*@")
"""Matches `scheme://user:password@`, even if the password contains a slash, but not `scheme://host:8020/path@1`."""
_PARAMETERS = re.compile(r"(?P<before>[A-Za-z][\w+.-]*://[^;\s]*);.*", re.DOTALL)
"""Matches everything after the first `;` of a Spark Connect address: `sc://host:15002/;token=...`."""


def without_secrets(address: str) -> str:
    """`address` without user and password, and without a Spark Connect address's parameters.

    >>> without_secrets("s3://key:secret@bucket/lake"), without_secrets("sc://host:15002/;token=abc")
    ('s3://***@bucket/lake', 'sc://host:15002/;***')
    """
    return _PARAMETERS.sub(r"\g<before>;***", _PASSWORD.sub(r"\g<scheme>***@", address))


def has_password(address: str) -> bool:
    """Whether `address` contains a password."""
    return _PASSWORD.match(address) is not None
