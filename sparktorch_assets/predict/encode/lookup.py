"""Finds the places of texts in a vocabulary, whose hash table is built once if it is much larger than a window:
`pyarrow.compute.index_in` builds one for every window.

Shapes: N texts, V entries of the vocabulary.
"""

from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.util import hash_array

_FEW = 3_000
"""Entries up to which Arrow always builds its table faster than keys are made of the texts."""

_TIMES = 2
"""How many times as many entries as texts Arrow hashes faster than keys are made of the texts."""


class Lookup:
    """The places of texts among the entries of one vocabulary."""

    def __init__(self, entries_V: pa.Array) -> None:
        """Keep the entries.

        Args:
            entries_V: strings, of which none occurs twice; no text matches an entry that is null.
        """
        self._entries_V = entries_V

    def places(self, text_N: pa.Array) -> npt.NDArray[np.int64]:
        """The place of each text among the entries, int64; -1 for a text that is not among them, and for a null."""
        if len(self._entries_V) > max(_FEW, _TIMES * len(text_N)) and self._keys.is_unique:
            return self._places_by_key(text_N)
        found_N = pc.index_in(text_N, value_set=self._entries_V, skip_nulls=True).fill_null(-1)
        return np.asarray(found_N.to_numpy(zero_copy_only=False), dtype=np.int64)

    @cached_property
    def _keys(self) -> pd.Index:
        """The key of each entry that is not null, in their order."""
        return pd.Index(_keys_of(self._entries_V.drop_null()))

    @cached_property
    def _places_of_keys(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero(self._entries_V.is_valid().to_numpy(zero_copy_only=False))

    def _places_by_key(self, text_N: pa.Array) -> npt.NDArray[np.int64]:
        found_N = self._keys.get_indexer(pd.Index(_keys_of(text_N)))
        places_N = np.append(self._places_of_keys, -1)[found_N] if self._entries_V.null_count else found_N
        # A text's key may be that of an entry that differs. It is then no entry, since their keys are unique.
        same_N = pc.equal(self._entries_V.take(pa.array(places_N, mask=places_N < 0)), text_N).fill_null(False)
        return np.where(same_N.to_numpy(zero_copy_only=False), places_N, -1)


def _keys_of(text_N: pa.Array) -> npt.NDArray[np.uint64]:
    """A hash of the bytes of each text."""
    return hash_array(text_N.cast(pa.binary()).to_numpy(zero_copy_only=False), categorize=False)
