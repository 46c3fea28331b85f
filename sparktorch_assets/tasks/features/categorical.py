"""Categories that a vocabulary numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.features.checks import ADDED, check_arguments
from sparktorch_assets.tasks.features.group import FeatureGroup
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import freeze, names


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class CategoricalFeature(FeatureGroup):
    """Categories as vocabulary indices: `c_BK` int64; 0 stands for any value outside the vocabulary, entry i for i +
    1."""

    columns: Sequence[str]
    """The columns, in the order in which the model was trained."""
    vocabulary: str | PurePath | Mapping[str, Sequence[Any]] | Sequence[tuple[str, Sequence[Any]]]
    """The known values of each column, or the path (under the models root) of a JSON file with that mapping."""
    fill: str | None = None
    """Replaces a null; a fill that is not a known value gives index 0. `None`: a row with a null fails."""
    argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the tensor. `None`: by position, in the order of the groups."""
    kind: Literal["categorical"] = "categorical"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_arguments(self)
        names(self.columns, "CategoricalFeature.columns")
        if isinstance(self.vocabulary, str | PurePath):
            return
        frozen = freeze(self.vocabulary, "CategoricalFeature.vocabulary")
        object.__setattr__(self, "vocabulary", frozen)
        missing = sorted(set(self.columns) - {column for column, _ in frozen})
        if missing:
            raise TaskError(
                f"CategoricalFeature.vocabulary has no values for {', '.join(missing)}, which CategoricalFeature.columns names; "
                f"add a list for each"
            )

    @property
    def files(self) -> tuple[str, ...]:
        """The files under the models root that the group reads. They are part of the model's digest."""
        return (self.vocabulary,) if isinstance(self.vocabulary, str) else ()
