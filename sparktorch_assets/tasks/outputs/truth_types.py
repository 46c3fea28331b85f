"""The types of columns, as `str(pyarrow.DataType)` gives them, that can hold what is true."""

import re

_TEXT = r"(large_)?string(_view)?"
_WHOLE = r"u?int\d+"
_CLASS = re.compile(rf"{_TEXT}|{_WHOLE}|bool|dictionary<values=string, .*")
_LABELS = re.compile(rf"(large_)?list<[^<>]*: {_TEXT}( not null)?>")
_NUMBER = re.compile(rf"{_WHOLE}|float|halffloat|double|decimal\d+\([^()]*\)")


def wrong_class(found: str) -> str | None:
    """What is wrong with a column of this type as the true class; `None` if nothing is."""
    return None if _CLASS.fullmatch(found) else "it must be the true class: text, a whole number or a boolean"


def wrong_labels(found: str) -> str | None:
    """What is wrong with a column of this type as the true labels; `None` if nothing is."""
    return None if _LABELS.fullmatch(found) else "it must be the list of the true labels, a list of texts"


def wrong_number(found: str) -> str | None:
    """What is wrong with a column of this type as the true number; `None` if nothing is."""
    return None if _NUMBER.fullmatch(found) else "it must be the true number"
