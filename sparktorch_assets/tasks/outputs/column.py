"""The columns that a prediction table has in addition to the input's, and their types."""

import re
from dataclasses import dataclass

from sparktorch_assets.tasks.field_types import check_fields

COLUMN_TYPES = ("string", "boolean", "int", "long", "float", "double", "binary", "list<float>")
"""The types that hooks' columns can have."""
_ELEMENT = "string|boolean|int|long|float|double"
_VALUE_TYPE = re.compile(rf"(list<)*({_ELEMENT})>*")


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputColumn:
    """A column that is added to the kept ones."""

    name: str
    """The column's name, with the prefix."""
    type: str
    """The column's type: `string`, `boolean`, `int`, `long`, `float`, `double`, `binary`, or a list or struct of
    these, such as `list<float>`."""

    def __post_init__(self) -> None:
        check_fields(self)


def is_value_type(text: str) -> bool:
    """Whether what a model returns for a row can become a column of this type: a number, a boolean, a text, or lists of
    these to any depth.

    >>> is_value_type("list<list<float>>"), is_value_type("list<date>"), is_value_type("list<float")
    (True, False, False)
    """
    return _VALUE_TYPE.fullmatch(text) is not None and text.count("<") == text.count(">")
