"""Declares that a task challenges another one: how their predictions are compared."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import ASSET_NAME, names


@dataclass(frozen=True, kw_only=True, slots=True)
class ChallengerOf:
    """The champion that a task challenges, and the columns that tell rows apart in both tables."""

    task: str
    """The champion: the name of another task with the same `input` and the same kind of `output`."""
    join_on: Sequence[str]
    """The columns that both tables keep and whose values belong to one row of the input only, such as `[digit_id]`."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not re.fullmatch(ASSET_NAME, self.task):
            raise TaskError(f"ChallengerOf.task={self.task!r} is no name of a task, such as 'digit'")
        names(self.join_on, "ChallengerOf.join_on")
