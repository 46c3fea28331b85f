"""`dg scaffold defs sparktorch_assets.InputTableComponent NAME --source ...`: what is written for files."""

import datetime as dt
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox
from dagster.components.testing.utils import DefsFolderSandbox

from sparktorch_assets.orchestration.components.declared import InputTableComponent
from sparktorch_assets.spark.inputs.check import check_sources
from sparktorch_assets.spark.inputs.sources import find_sources
from sparktorch_assets.tasks import InputTable
from sparktorch_assets.tasks.input_table import SOURCE_TYPES

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
]


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[DefsFolderSandbox]:
    """A project with a folder `data/rows`; the working directory is its root."""
    with create_defs_folder_sandbox() as sandbox:
        (sandbox.project_root / "data" / "rows").mkdir(parents=True)
        monkeypatch.chdir(sandbox.project_root)
        yield sandbox


def scaffold(sandbox: DefsFolderSandbox, *source: str) -> tuple[str, InputTable]:
    """What is written, and the table that it declares, whose files are checked against it as before a refresh."""
    folder = sandbox.scaffold_component(InputTableComponent, defs_path="rows", scaffold_params={"source": source})
    with sandbox.load_component_and_build_defs(folder) as (component, _):
        assert isinstance(component, InputTableComponent)
        check_sources(component.table, find_sources(component.table, sandbox.project_root))
        return (folder / "defs.yaml").read_text(), component.table


TYPES: dict[str, tuple[str | None, pa.DataType, Any]] = {
    "text": ("string", pa.string(), "a"),
    "large": ("string", pa.large_string(), "a"),
    "word": ("string", pa.dictionary(pa.int32(), pa.string()), "a"),
    "flag": ("boolean", pa.bool_(), True),
    "tiny": ("byte", pa.int8(), 1),
    "unsigned": ("short", pa.uint8(), 1),
    "small": ("short", pa.int16(), 1),
    "number": ("int", pa.int32(), 1),
    "big": ("long", pa.int64(), 1),
    "id": ("long", pa.uint32(), 1),
    "single": ("float", pa.float32(), 1.0),
    "double": ("double", pa.float64(), 1.0),
    "file": ("binary", pa.binary(), b"a"),
    "day": ("date", pa.date32(), dt.date(2020, 1, 1)),
    "time": ("timestamp", pa.timestamp("us", tz="UTC"), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
    "vector": ("list<float>", pa.list_(pa.float32()), [1.0]),
    "ids": ("list<long>", pa.list_(pa.int32()), [1]),
    "words": ("list<string>", pa.list_(pa.string()), ["a"]),
    "price": (None, pa.decimal128(5, 2), None),
    "pair": (None, pa.struct({"a": pa.int64()}), None),
    "doubles": (None, pa.list_(pa.float64()), [1.0]),
    "__index_level_0__": (None, pa.int64(), 1),
    "a: b #c": ("long", pa.int64(), 1),
}


@pytest.mark.promise("O60")
def test_parquet_files_say_their_columns_and_types(sandbox: DefsFolderSandbox):
    assert {kind for kind, *_ in TYPES.values() if kind} == set(SOURCE_TYPES)
    schema = pa.schema([(name, kind) for name, (_, kind, _) in TYPES.items()])
    row = pa.Table.from_pylist([{name: value for name, (*_, value) in TYPES.items()}], schema)
    pq.write_table(row, "data/rows/a.parquet")
    text, table = scaffold(sandbox, "data/rows/*.parquet")
    assert table.format == "parquet"
    assert table.patterns == ("data/rows/*.parquet",)
    assert dict(table.typed_columns) == {name: kind for name, (kind, *_) in TYPES.items() if kind is not None}
    assert "    # price is left out: no type of an input table stands for decimal128(5, 2).\n" in text
    assert "    # pair is left out: no type of an input table stands for struct<a: int64>.\n" in text
    assert "    # doubles is left out: " in text
    assert "    # __index_level_0__ is left out: it is the index of a pandas DataFrame.\n" in text


@pytest.mark.promise("O60")
def test_columns_are_those_that_every_file_has_with_a_type_that_fits_all(sandbox: DefsFolderSandbox):
    rows = pa.table({"id": pa.array([1], pa.int32()), "same": ["a"], "first": [1], "mixed": [1]})
    pq.write_table(rows, "data/rows/a.parquet")
    pq.write_table(pa.table({"same": ["a"], "id": [1], "mixed": ["a"], "second": [2]}), "data/rows/b.parquet")
    text, table = scaffold(sandbox, "data/rows")
    assert table.typed_columns == (("id", "long"), ("same", "string"))
    for name in ("first", "second"):
        assert f"    # {name} is not in every file, so it is left out.\n" in text
    assert "    # mixed is left out: no type of an input table stands for int64 or string.\n" in text


CSV: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "a.csv": ('id,review text,"quoted, comma"\n1,x,y\n', {"header": True}, ["id", "review text", "quoted, comma"]),
    "bom.csv": ("\ufeffid,b\n1,2\n", {"header": True}, ["id", "b"]),
    "blank.csv": ("\n\nid,b\n1,2\n", {"header": True}, ["id", "b"]),
    "semicolons.csv": ("id;b\n1;2\n", {"header": True, "sep": ";"}, ["id", "b"]),
    "tabs.tsv": ("id\tb\n1\t2\n", {"header": True, "sep": "\t"}, ["id", "b"]),
    "one.csv": ("id\n1\n", {"header": True}, ["id"]),
}


@pytest.mark.promise("O60")
@pytest.mark.parametrize("name", CSV)
def test_a_csv_header_names_columns_of_text(sandbox: DefsFolderSandbox, name: str):
    text, options, columns = CSV[name]
    Path("data/rows", name).write_text(text)
    Path("data/rows", f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    written, table = scaffold(sandbox, f"data/rows/{name}", f"data/rows/{name}.gz")
    assert table.format == "csv"
    assert table.typed_columns == tuple((column, "string") for column in columns)
    assert dict(table.typed_options) == options
    assert "# Types are declared, never guessed from the values." in written


@pytest.mark.promise("O60")
def test_the_first_row_of_json_names_columns_of_text(sandbox: DefsFolderSandbox):
    Path("data/rows/a.jsonl").write_text('{"id": 1, "review": {"text": "x"}}\n{"other": 2}\n')
    text, table = scaffold(sandbox, "data/rows")
    assert table.format == "json"
    assert table.typed_columns == (("id", "string"), ("review", "string"))
    assert "# From the first row." in text


@pytest.mark.promise("O62")
def test_paths_are_written_as_the_project_sees_them(
    sandbox: DefsFolderSandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    Path("data/rows/a.csv").write_text("id\n1\n")
    (tmp_path / "b.csv").write_text("id\n1\n")
    monkeypatch.chdir("data")
    _, table = scaffold(sandbox, "rows/*.csv", str(sandbox.project_root / "data/rows/a.csv"), str(tmp_path / "b.csv"))
    assert table.patterns == ("data/rows/*.csv", "data/rows/a.csv", str(tmp_path / "b.csv"))


BAD: list[tuple[dict[str, bytes], str, str]] = [
    ({}, "data/rows", r"the folder .*, where no file ends in .*it is empty"),
    ({}, "data/rows/*.csv", r"source 'data/rows/\*\.csv' matches no file"),
    ({}, "s3://bucket/rows/*.csv", r"is a URI"),
    ({"a.csv": b""}, "data/rows/a.csv", r"a\.csv is empty, so it does not say which columns"),
    ({"a.csv": b"a,a\n"}, "data/rows", r"the header of .*a\.csv names a more than once"),
    ({"a.csv": b"a,,b\n"}, "data/rows", r"leaves a column without a name"),
    ({"a.csv": b"a,A\n"}, "data/rows", r"columns names .*a table cannot tell them apart"),
    ({"a.csv": b"\xff\xfe\x00"}, "data/rows", r"cannot be read as text"),
    ({"a.csv": b"a\n", "b.parquet": b""}, "data/rows/*", r"endings do not stand for one format: a\.csv, b\.parquet"),
    ({"a.pdf": b"a\n"}, "data/rows/*", r"endings do not stand for one format: a\.pdf"),
    ({"a.parquet": b"PAR1"}, "data/rows", r"a\.parquet is not a readable Parquet file"),
    ({"a.jsonl": b"[1]\n"}, "data/rows", r"the first line of .*a\.jsonl is not an object in JSON"),
]


@pytest.mark.promise("O61")
@pytest.mark.parametrize(("files", "source", "message"), BAD, ids=[message for *_, message in BAD])
def test_files_that_say_nothing_are_refused_and_leave_nothing_behind(
    sandbox: DefsFolderSandbox, files: dict[str, bytes], source: str, message: str
):
    for name, content in files.items():
        Path("data/rows", name).write_bytes(content)
    before = sorted(sandbox.project_root.rglob("*"))
    with pytest.raises(ValueError, match=message):
        scaffold(sandbox, source)
    assert sorted(sandbox.project_root.rglob("*")) == before


@pytest.mark.promise("O61")
def test_names_of_columns_run_nothing_and_end_nothing(sandbox: DefsFolderSandbox):
    """A column's name is a key, which no template is looked for in."""
    names = ["{{ env.HOME }}", "a\n  cron: x", "b\u2028: c", "- d"]
    pq.write_table(pa.table({name: [1] for name in names}), "data/rows/a.parquet")
    text, table = scaffold(sandbox, "data/rows")
    assert [name for name, _ in table.typed_columns] == names
    assert yaml.safe_load(text)["attributes"].keys() == {"source", "format", "columns", "max_rejected_share"}
