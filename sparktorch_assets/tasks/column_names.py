"""Column names that a table can tell apart: Delta Lake and Spark ignore case."""

from collections.abc import Iterable


def clash(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two of `names` that are equal or differ only in case; `None` if there are none.

    >>> clash(["id", "Name", "name"]), clash(["id", "name"])
    (('Name', 'name'), None)
    """
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            return seen[name.lower()], name
        seen[name.lower()] = name
    return None


def describe(pair: tuple[str, str]) -> str:
    """Describe a pair of clashing names, for a message."""
    one, two = pair
    return f"{one!r} twice" if one == two else f"{one!r} and {two!r}, which differ only in case"
