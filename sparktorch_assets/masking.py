"""Addresses as they may be shown in logs, messages and metadata: without the credentials that they can carry."""

import re

_PASSWORD = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)[^/@:]*:(?!\d+(?:/|$))[^@]*@")
"""`scheme://user:password@`, also where the password holds a slash, and not `scheme://host:8020/path@1`."""
_PARAMETERS = re.compile(r"(?P<before>[A-Za-z][\w+.-]*://[^;\s]*);.*", re.DOTALL)
"""What follows the first `;` in a Spark Connect address: `sc://host:15002/;token=...`."""


def without_secrets(address: str) -> str:
    """`address` without user and password, and without a Spark Connect address's parameters.

    >>> without_secrets("s3://key:secret@bucket/lake"), without_secrets("sc://host:15002/;token=abc")
    ('s3://***@bucket/lake', 'sc://host:15002/;***')
    """
    return _PARAMETERS.sub(r"\g<before>;***", _PASSWORD.sub(r"\g<scheme>***@", address))


def has_password(address: str) -> bool:
    """Whether a password stands in `address`."""
    return _PASSWORD.match(address) is not None
