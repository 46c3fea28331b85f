"""Texts, as the tokens of a tokenizer."""

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.features.checks import ADDED, check_arguments
from sparktorch_assets.tasks.features.column_types import TEXT
from sparktorch_assets.tasks.features.group import FeatureGroup
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import names, positive

BYTES_TOKENIZER = "bytes"

TEXT_PLACE = "{text}"
"""Stands for the text in a template."""


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class TextFeature(FeatureGroup):
    """Text as padded tokens: `token_ids_BT` int64 and `mask_BT` bool (True = a real token), and `type_ids_BT` int64 if
    `type_ids` asks for them."""

    column: str
    """The column of texts."""
    tokenizer: str | PurePath = BYTES_TOKENIZER
    """`bytes` (UTF-8 byte + 1), or the path (under the models root) of a `tokenizers` JSON file."""
    max_tokens: int = 256
    """Longer texts are cut to this many tokens."""
    fill: str | None = None
    """Stands in for a null. `None`: a row with a null fails."""
    pair: str | None = field(default=None, metadata=ADDED)
    """A column of second texts, such as the passages of a cross-encoder. The tokenizer's file says how two are joined, and
    a Hugging Face folder whether the network gets their type ids."""
    template: str | None = field(default=None, metadata=ADDED)
    """What is tokenized instead of a text of `column`, with `{text}` in its place: `query: {text}`."""
    truncation_side: Literal["right", "left"] = field(default="right", metadata=ADDED)
    """The side on which longer texts are cut; `left` keeps their last tokens."""
    padding_id: int | None = field(default=None, metadata=ADDED)
    """The token that fills shorter rows up. `None`: the one in the tokenizer file's `padding` if it has that, else 0."""
    type_ids: bool = field(default=False, metadata=ADDED)
    """Give `forward` a third argument, after the mask: the tokenizer's type ids, 0 for the first text of a pair and 1
    for the second."""
    argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the tokens. `None`: by position, in the order of the groups."""
    mask_argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the mask. `None`: by position, after the tokens."""
    type_ids_argument: str | None = field(default=None, metadata=ADDED)
    """With `type_ids`, the name under which `forward` gets them. `None`: by position, after the mask."""
    kind: Literal["text"] = "text"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_arguments(self)
        if self.type_ids_argument is not None and not self.type_ids:
            raise TaskError(
                "TextFeature.type_ids_argument is set, but not type_ids; set type_ids: true, or leave it out"
            )
        names(self.columns, "TextFeature.column and pair")
        positive(self.max_tokens, "TextFeature.max_tokens")
        if self.template is not None and self.template.count(TEXT_PLACE) != 1:
            raise TaskError(f"TextFeature.template={self.template!r} must hold {TEXT_PLACE} once, in the text's place")
        if self.padding_id is not None and self.padding_id < 0:
            raise TaskError(f"TextFeature.padding_id={self.padding_id} must not be below 0")

    @property
    def columns(self) -> tuple[str, ...]:
        """The column of texts, and that of second texts if there is one."""
        return (self.column,) if self.pair is None else (self.column, self.pair)

    @property
    def has_lengths(self) -> bool:
        """Whether rows differ in length."""
        return True

    @property
    def arguments_of_forward(self) -> tuple[str | None, ...]:
        """The names under which `forward` gets the group's tensors, in their order; `None` for one that it gets by
        position."""
        return (self.argument, self.mask_argument, *((self.type_ids_argument,) if self.type_ids else ()))

    @property
    def files(self) -> tuple[str, ...]:
        """The files under the models root that the group reads. They are part of the model's digest."""
        return () if self.tokenizer == BYTES_TOKENIZER else (str(self.tokenizer),)

    @property
    def left_out(self) -> str | None:
        """What only a Hugging Face folder can say and the group does not; `None` if it is complete."""
        return (
            "TextFeature.pair and type_ids need a tokenizer's file, which says how two texts are joined; set tokenizer, or "
            "leave them out"
            if self.tokenizer == BYTES_TOKENIZER and (self.pair or self.type_ids)
            else None
        )

    def wrong_type(self, found: str) -> str | None:
        """What is wrong with a column of the type `found`, as `str(pyarrow.DataType)` gives it; `None` if it fits."""
        return None if found in TEXT else "it must be string"
