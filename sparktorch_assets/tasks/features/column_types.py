"""The types of columns, as `str(pyarrow.DataType)` gives them, that features can read."""

import re

_NUMBER = r"(u?int\d+|float|halffloat|double|bool|decimal\d+\([^()]*\))"
_NUMERIC = re.compile(rf"{_NUMBER}$")
_NUMBERS = re.compile(rf"\w*list<[^<>]*: ({_NUMBER}|null)( not null)?>(\[\d+\])?$")
_TENSOR = re.compile(r"(large_|fixed_size_)?list<|struct<type: .*\bindices: list<.*\bvalues: list<")
_BINARY = ("binary", "large_binary", "binary_view")
TEXT = ("string", "large_string", "string_view")


def is_number(found: str) -> bool:
    """Whether the type is one of numbers, booleans included."""
    return _NUMERIC.match(found) is not None


def is_list_of_numbers(found: str) -> bool:
    """Whether the type is a list of numbers that is not nested."""
    return _NUMBERS.match(found) is not None


def is_list_or_vector(found: str) -> bool:
    """Whether the type is a list of whatever depth, or a Spark ML vector."""
    return _TENSOR.match(found) is not None


def wrong_type_of_files(found: str, read: str, kinds: str) -> str | None:
    """What is wrong with a column of files, or of their addresses.

    Args:
        found: the column's type.
        read: what it should hold, `bytes` or `uri`.
        kinds: the kinds of files, for the message.
    """
    if read == "bytes" and found not in _BINARY:
        hint = "; if it holds their paths or URIs, set read: uri" if found in TEXT else ""
        return f"it must be binary, the bytes of {kinds}{hint}"
    if read == "uri" and found not in TEXT:
        hint = "; if it holds the files themselves, leave read out" if found in _BINARY else ""
        return f"with read: uri it must be string, the paths or URIs of files{hint}"
    return None
