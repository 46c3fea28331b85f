"""What somebody asks for who wants the declaration of a task with a model."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRequest:
    """What somebody asks for: a declaration of a task with this model."""

    type_name: str
    """The component's name."""
    name: str
    """The task's name."""
    model: str
    """The path of a file or folder, or the address of a model."""
    input: str | None
    """The key of the asset to score."""
    column: str | None
    """The column that the model reads."""
    defs: Path
    """The project's folder of declarations."""
    project_root: Path
    models_root: Path
