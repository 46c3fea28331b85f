"""The labels that a folder's `config.json` names."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparktorch_assets.errors import ModelError

NO_LABEL = "LABEL_"
"""How the labels begin that transformers gives to a network that names none."""
_MAX_LABELS = 1_000_000
"""Labels without a name beyond this number are refused, since each of them takes memory."""


def labels_of(config: Mapping[str, Any], file: Path) -> tuple[str, ...]:
    """The labels, in the order of the logits; those of transformers (`LABEL_0` ...) if there are none.

    Args:
        config: what the file says.
        file: names the file in messages.

    Raises:
        ModelError: they are not one text for each of the numbers from 0 on, or the same text twice.
    """
    named = config.get("id2label")
    if not named:
        return tuple(f"{NO_LABEL}{number}" for number in range(_count(config, file)))
    if not isinstance(named, dict) or not all(isinstance(label, str | int | float) for label in named.values()):
        raise ModelError(f"{file}: id2label is not an object of numbers and labels; declare the task's labels")
    try:
        found = {int(number): str(label) for number, label in named.items()}
    except ValueError:
        raise ModelError(f"{file}: a key of id2label is not a number; declare the task's labels") from None
    if sorted(found) != list(range(len(named))):
        raise ModelError(
            f"{file}: the keys of id2label are not the numbers from 0 to {len(named) - 1}, so it is not known which logit "
            f"has which label; declare the task's labels, in the order of the logits"
        )
    labels = tuple(found[number] for number in range(len(found)))
    twice = next((label for label, count in Counter(labels).items() if count > 1), None)
    if twice is not None:
        raise ModelError(
            f"{file}: id2label names {twice!r} twice, so two classes could not be told apart; declare the task's labels, "
            f"in the order of the logits"
        )
    return labels


def _count(config: Mapping[str, Any], file: Path) -> int:
    found = config.get("num_labels", 2)
    if not isinstance(found, int) or not 0 < found <= _MAX_LABELS:
        raise ModelError(f"{file}: num_labels is {str(found)[:50]}, not a number of labels; declare the task's labels")
    return found
