"""The options of `dg scaffold defs` for each component: the command makes them of these fields."""

from pydantic import BaseModel, ConfigDict


class TaskParams(BaseModel):
    """The options of the command for a task. Without any, a skeleton is written."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    model: str | None = None
    """The model that the declaration is written for: a folder or a file, by a path relative to the working directory, the
    project's root or the models root; or an address such as `models:/name@alias`, which is not looked up."""
    input: str | None = None
    """The key of the asset to score. If it is an input table of the project, the model's column is found in it."""
    column: str | None = None
    """The column that the model reads, if it cannot be found in the input, or if the input has several that fit."""


class TableParams(BaseModel):
    """The options of the command for an input table. Without any, a skeleton is written."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    source: list[str] = []
    """Paths, folders or patterns of the files that the declaration is written for. A pattern needs quotes, so that the
    shell leaves it alone."""
