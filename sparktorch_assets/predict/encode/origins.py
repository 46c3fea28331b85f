"""What relates places in a network's result to a row's own text or image: the `origins` of an encoded feature, which it
has only if the task's output refers to them.

For texts, each row has a `TextOrigin`. For images, each row has the four numbers of `image_origin`.

Shapes: T tokens of a row.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_SPACE = ord(" ")


@dataclass(frozen=True, slots=True)
class TextOrigin:
    """Where the tokens of a row lie in its text."""

    text: str
    """The text, as the column has it."""
    starts_T: npt.NDArray[np.int64]
    """The first character of each token, as an index of `text`."""
    ends_T: npt.NDArray[np.int64]
    """The character after its last one."""
    outside_T: npt.NDArray[np.bool_]
    """Whether a token is no part of the text: a special one, or one of the template."""
    continues_T: npt.NDArray[np.bool_]
    """Whether a token belongs to the same word as the one before it."""


class WordRule:
    """Tells which tokens continue a word, as transformers' `TokenClassificationPipeline` does.

    If the tokenizer marks continuations (`##ing`), a token is one if it is longer or shorter than its piece of the text.
    If not, it is one unless it is next to a space. An unknown token never is.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._lengths = None
        if getattr(tokenizer.model, "continuing_subword_prefix", None):
            vocabulary = tokenizer.get_vocab(with_added_tokens=True)
            self._lengths = np.zeros(max(vocabulary.values(), default=0) + 1, dtype=np.int64)
            for token, number in vocabulary.items():
                self._lengths[number] = len(token)
        described = json.loads(tokenizer.to_str())["model"]
        unknown = described.get("unk_token")
        self._unknown = described.get("unk_id") if unknown is None else tokenizer.token_to_id(unknown)

    def continues(
        self, text: str, ids: Sequence[int], starts_T: npt.NDArray[np.int64], ends_T: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Whether each token continues the word of the one before it.

        Args:
            text: what was tokenized.
            ids: the tokens.
            starts_T: the first character of each.
            ends_T: the character after its last one.
        """
        ids_T = np.array(ids, dtype=np.int64)
        if self._lengths is None:
            found_T = away_from_spaces(text, starts_T)
        else:
            found_T = self._lengths[ids_T] != ends_T - starts_T
        return found_T if self._unknown is None else found_T & (ids_T != self._unknown)


def token_origin(text: str, filled: str, encoding: Any, words: WordRule, before: int | None) -> TextOrigin:
    """The origin of a row, from the encoding of the `tokenizers` library.

    Args:
        text: the text, as the column has it.
        filled: what was tokenized: the text, or the template with the text in its place.
        encoding: the row's encoding.
        words: tells which tokens continue a word.
        before: number of characters that the template has before the text; `None` without one.
    """
    starts_T, ends_T = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2).T
    special_T = np.array(encoding.special_tokens_mask, dtype=bool)
    return _in_text(text, starts_T, ends_T, special_T, words.continues(filled, encoding.ids, starts_T, ends_T), before)


def byte_origin(text: str, filled: str, first: int, length: int, before: int | None) -> TextOrigin:
    """The origin of a row whose tokens are `length` of the text's UTF-8 bytes, from the one at `first` on. All bytes of
    a character lie at its place, and words are separated by spaces."""
    data = np.frombuffer(filled.encode(), dtype=np.uint8)
    begins = (data & 0xC0) != 0x80  # other bytes continue a character
    places = np.cumsum(begins) - 1
    kept = slice(first, first + length)
    starts_T = places[kept]
    continues_T = ~begins[kept] | away_from_spaces(filled, starts_T)
    return _in_text(text, starts_T, starts_T + 1, np.zeros(length, dtype=bool), continues_T, before)


def _in_text(
    text: str,
    starts_T: npt.NDArray[np.int64],
    ends_T: npt.NDArray[np.int64],
    special_T: npt.NDArray[np.bool_],
    continues_T: npt.NDArray[np.bool_],
    before: int | None,
) -> TextOrigin:
    if before is not None:
        starts_T, ends_T = ((places_T - before).clip(0, len(text)) for places_T in (starts_T, ends_T))
        special_T = special_T | (starts_T >= ends_T)
    return TextOrigin(text, starts_T, ends_T, special_T, continues_T)


def away_from_spaces(text: str, starts_T: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether neither the character at which a token starts nor the one before it is a space.

    >>> away_from_spaces("ab c", np.array([0, 1, 2, 3])).tolist()
    [False, True, False, False]
    """
    spaces = np.append(np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32) == _SPACE, False)
    found_T: npt.NDArray[np.bool_] = (starts_T > 0) & ~spaces[starts_T] & ~spaces[starts_T - 1]
    return found_T


def object_array(rows: Sequence[TextOrigin]) -> npt.NDArray[np.object_]:
    """The rows as an array, from which those of a batch are taken like other numbers."""
    found = np.empty(len(rows), dtype=object)
    found[:] = rows
    return found


def image_origin(
    size: tuple[int, int], resized: tuple[int, int], shown: tuple[int, int], corner: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The width and the height of what the network sees, and its left and upper edge, in pixels of the original image.

    Args:
        size: width and height of the original image.
        resized: width and height to which it was resized.
        shown: width and height that were cut out of that.
        corner: left and upper edge of the cut.

    >>> image_origin((200, 100), (100, 50), (50, 50), (25, 0))
    (100.0, 100.0, 50.0, 0.0)
    """
    scales = [have / made for have, made in zip(size, resized, strict=True)]
    return shown[0] * scales[0], shown[1] * scales[1], corner[0] * scales[0], corner[1] * scales[1]
