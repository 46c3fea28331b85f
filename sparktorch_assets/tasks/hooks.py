"""A user's own code around the model, named by import path or given as a function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.code.import_path import check_import_path, load_import_path
from sparktorch_assets.tasks.field_types import check_fields

Hook = str | Callable[..., Any]
HOOKS = ("row_preprocessor", "batch_preprocessor", "row_postprocessor", "batch_postprocessor")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hooks:
    """Row hooks take and return one row as a dict; batch hooks take and return a pandas DataFrame.

    Row hooks cost a conversion of every row to a dict; batch hooks are far cheaper. A hook that returns `None` (row)
    or leaves a row's index label out (batch) drops that row: it is counted, but not written. Values that a hook passes
    on unchanged stay exactly as they were; a value that does not fit its column's type fails its row.
    """

    row_preprocessor: Hook | None = None
    """Changes what the model sees of a row. It gets the row as a dict and returns a dict, or `None` to drop the row."""
    batch_preprocessor: Hook | None = None
    """Changes what the model sees of some rows. It gets a pandas DataFrame and returns one with the same index labels;
    rows whose label is missing are dropped. It runs after the `row_preprocessor`."""
    row_postprocessor: Hook | None = None
    """Changes a row with its predictions before it is written. It gets and returns a dict, or `None` to drop the
    row."""
    batch_postprocessor: Hook | None = None
    """Changes some rows with their predictions before they are written, as a pandas DataFrame. It runs after the
    `row_postprocessor`."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in HOOKS:
            hook = getattr(self, name)
            if isinstance(hook, str):
                check_import_path(hook, f"Hooks.{name}")

    def load(self, field: str) -> Callable[..., Any] | None:
        """The hook's function, imported if it is given as an import path."""
        hook = getattr(self, field)
        if not isinstance(hook, str):
            return hook  # type: ignore[no-any-return]
        function = load_import_path(hook, f"Hooks.{field}")
        if not callable(function):
            raise TaskError(f"Hooks.{field}={hook!r} is a {type(function).__name__}, not a function")
        return function  # type: ignore[no-any-return]

    @property
    def preprocesses(self) -> bool:
        """Whether rows may change before they are encoded."""
        return self.row_preprocessor is not None or self.batch_preprocessor is not None

    @property
    def postprocesses(self) -> bool:
        """Whether rows may change or be dropped after they are predicted."""
        return self.row_postprocessor is not None or self.batch_postprocessor is not None
