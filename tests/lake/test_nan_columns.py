"""A NaN is found wherever it stands, and no bound of a table of our own leaves it out."""

import math

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.lake.derived import write_if_changed
from sparktorch_assets.lake.parquet.nan_columns import columns_with_nan

VALUES = st.none() | st.floats(width=32) | st.sampled_from([math.nan, math.inf, -math.inf, -0.0])


@given(st.lists(st.lists(VALUES, max_size=4), max_size=3), st.sampled_from([pa.float32(), pa.float64()]))
def test_a_nan_is_found_in_any_chunk_and_beside_nulls(chunks, kind):
    column = pa.chunked_array([pa.array(chunk, kind) for chunk in chunks], kind)
    holds = any(value is not None and math.isnan(value) for chunk in chunks for value in chunk)
    table = pa.table({"x": column, "n": pa.nulls(len(column), pa.int64())})
    assert columns_with_nan(table) == ({"x"} if holds else set())
    sliced = table.slice(1)
    assert columns_with_nan(sliced) == columns_with_nan(pa.Table.from_pylist(sliced.to_pylist(), sliced.schema))


@pytest.mark.parametrize("where", ["x > 5", "x >= 3"])
def test_readers_find_the_nan_of_a_derived_table(where, tmp_path):
    write_if_changed(str(tmp_path / "t"), pa.table({"id": [1, 2, 3], "x": [1.0, math.nan, 3.0]}), "a")
    (file,) = DeltaTable(tmp_path / "t").file_uris()
    assert not pq.read_metadata(file).row_group(0).column(1).is_stats_set
    assert pq.read_metadata(file).row_group(0).column(0).is_stats_set
    expected = pl.scan_parquet(file).sql(f"SELECT id FROM self WHERE {where}").collect()["id"].to_list()
    assert 2 in expected
    assert [row[0] for row in duckdb.sql(f"SELECT id FROM read_parquet('{file}') WHERE {where}").fetchall()] == expected
