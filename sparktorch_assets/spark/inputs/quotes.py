"""Finds lines of CSV files on which a quoted text begins but does not end.

Spark splits a file into lines before it looks at quotes, so that it can read a file in pieces. A text that contains a
line break then becomes two records, each of which can pass for a whole one; the second begins in the middle of the
text.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sparktorch_assets.tasks.input_table import InputTable

if TYPE_CHECKING:
    from pyspark.sql import Column


def is_cut_first(table: InputTable, options: Mapping[str, str]) -> bool:
    """Whether the table's files are CSV with quotes, and the table does not say how to take line breaks in texts.

    Args:
        table: the declaration.
        options: Spark's reader options, with their keys in lower case.
    """
    return table.format == "csv" and bool(options.get("quote", '"')) and "multiline" not in options


def ends_open(line: "Column", options: Mapping[str, str]) -> "Column":
    """Whether a line of a CSV file ends within a quoted text; `options` are Spark's, with their keys in lower case."""
    separator, quote = options.get("sep", options.get("delimiter", ",")), options.get("quote", '"')
    pattern = open_line_pattern(separator, quote, options.get("escape", quote), options.get("comment", ""))
    return line.contains(quote) & line.rlike(pattern)


def open_line_pattern(separator: str, quote: str, escape: str, comment: str = "") -> str:
    """A regular expression, for Java or Python, that matches a line that ends within a quoted text.

    All of its quantifiers are possessive, so matching takes one pass over a line, however long it is.
    """
    s, q, e = re.escape(separator.replace("\\t", "\t")), re.escape(quote), re.escape(escape)
    within = f"(?:[^{q}]|{q}{q})*+" if escape == quote else f"(?:[^{q}{e}]|{e}.)*+"
    rest = f"(?:(?!{s}).)*+"  # up to the next separator
    field = f"(?:{q}{within}{q}{rest}|(?!{q}){rest})"
    not_comment = f"(?!{re.escape(comment)})" if comment else ""
    return rf"(?s)\A{not_comment}(?:{field}{s})*+{q}{within}(?!.)"
