"""Places of texts in large vocabularies."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from sparktorch_assets.predict.encode import encoders, lookup
from sparktorch_assets.predict.encode.encoders import text_form, text_forms
from sparktorch_assets.predict.encode.lookup import Lookup

ENTRIES = ["", "None", "nan", "é", "\0", "\0\0", *(f"v{number}" for number in range(5_000))]
TEXTS = ["v3", None, "v4999", "", "None", "nan", "\0\0", "é", "e", "v5000", "v03", "V3", "\0\0\0"]


@pytest.mark.parametrize("nulls", [False, True])
def test_texts_have_the_places_that_arrow_finds_whatever_is_null(nulls: bool) -> None:
    entries = pa.array([None, *ENTRIES[:9], None, *ENTRIES[9:], None] if nulls else ENTRIES, pa.string())
    texts = pa.array(["cut off", *TEXTS], pa.string()).slice(1)
    expected = pc.index_in(texts, value_set=entries, skip_nulls=True).fill_null(-1).to_pylist()
    assert Lookup(entries).places(texts).tolist() == expected


def test_places_are_in_the_order_of_texts_and_no_texts_have_no_places() -> None:
    known = Lookup(pa.array(ENTRIES))
    assert known.places(pa.array(["v1", None, "x", "v2", "v9", "v7"])).tolist() == [7, -1, -1, 8, 15, 13]
    assert known.places(pa.array([], pa.string())).tolist() == []
    assert Lookup(pa.nulls(4_000, pa.string())).places(pa.array(["a", None])).tolist() == [-1, -1]


@pytest.mark.parametrize("entries", [ENTRIES, ["same key as v3", *ENTRIES]])
def test_equal_keys_of_different_texts_confuse_nothing(entries: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    keys_of = lookup._keys_of

    def colliding(texts: pa.Array) -> np.ndarray:
        return keys_of(pc.replace_substring(texts, "same key as ", ""))

    monkeypatch.setattr(lookup, "_keys_of", colliding)
    places = Lookup(pa.array(entries)).places(pa.array(["same key as v3", "v3", "same key as v4"]))
    assert places.tolist() == [
        entries.index("same key as v3") if len(entries) > len(ENTRIES) else -1,
        entries.index("v3"),
        -1,
    ]


def test_the_vocabulary_is_hashed_once_for_all_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []
    keys_of = lookup._keys_of
    monkeypatch.setattr(lookup, "_keys_of", lambda texts: hashed.append(len(texts)) or keys_of(texts))
    known = Lookup(pa.array(ENTRIES))
    for _ in range(5):
        known.places(pa.array(["v1", "v2"]))
    assert sorted(hashed) == [2] * 5 + [len(ENTRIES)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "", "é", "1"], pa.string()),
        (["a", "\ud800"], pa.string()),
        ([1, -5, 300], pa.int64()),
        ([1, 300], pa.int8()),
        ([1, 2**63], pa.uint64()),
        ([1, 2**80], pa.int64()),
        ([1, True, "01", None, 2.0], pa.int64()),
        ([], pa.string()),
    ],
)
def test_text_forms_at_once_are_those_one_by_one(values: list[object], kind: pa.DataType) -> None:
    assert text_forms(values, kind) == [text_form(value, kind) for value in values]


@pytest.mark.parametrize(("values", "kind"), [(["a", "b"], pa.string()), ([1, 2], pa.int32())])
def test_values_of_the_columns_type_are_not_converted_one_by_one(
    values: list[object], kind: pa.DataType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(encoders, "text_form")
    assert text_forms(values, kind) == [str(value) for value in values]
