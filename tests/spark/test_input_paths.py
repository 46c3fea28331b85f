"""What an input table's patterns match: all files that may hold rows, each once; or an error, or a warning, that names them."""

import dataclasses
import logging
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from sparktorch_assets.errors import TableError
from sparktorch_assets.spark.inputs.paths import source_paths
from sparktorch_assets.spark.inputs.sources import find_sources
from sparktorch_assets.tasks import InputTable


def names(root, source, file_format="csv"):
    table = InputTable(name="t", source=source, format=file_format, columns={"a": "long"})
    return [file.name for file in find_sources(table, root)]


@pytest.fixture
def root(tmp_path):
    for name in ("s/a.csv", "other/b.csv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("1\n")
    return tmp_path


@pytest.mark.promise("T94")
@pytest.mark.parametrize("name", ["B.CSV", "b.csv.gz", "b.Tsv", "part-00000", "part-r-00001.gz", "000000_0", "_p=1/b.csv", "d/e/b.txt"])  # fmt: skip
def test_a_folder_stands_for_all_its_files(root, caplog, name):
    """Whatever the case of the ending, with the names that Spark, Hadoop and Hive give, in partition folders too."""
    (root / "s" / name).parent.mkdir(parents=True, exist_ok=True)
    (root / "s" / name).write_text("1\n")
    assert names(root, "s") == sorted(["s/a.csv", f"s/{name}"])
    assert not caplog.records


@pytest.mark.promise("T94")
@pytest.mark.parametrize("name", ["b.pq", "B.PARQUET", "000000_0", "part-00000"])
def test_parquet_folders_too(root, name):
    (root / "s" / name).write_text("")
    assert names(root, "s", "parquet") == [f"s/{name}"]


@pytest.mark.promise("T94")
def test_linked_folders_are_followed(root):
    """Once, and never in a circle."""
    (root / "s" / "sub").symlink_to(root / "other")
    (root / "s" / "again").symlink_to(root / "other")
    (root / "s" / "circle").symlink_to(root / "s")
    assert names(root, "s") == ["s/a.csv", "s/again/b.csv"]


@pytest.mark.promise("T94")
@pytest.mark.parametrize("name", ["b.csv.xz", "b.csv.zip", "b.csv.GZ", "b.csv.tar.gz"])
@pytest.mark.parametrize("source", ["s", "s/*"])
def test_files_that_spark_cannot_decompress_are_refused(root, name, source):
    """Spark would read their bytes as text."""
    (root / "s" / name).write_bytes(b"x")
    with pytest.raises(TableError, match=rf"{name}, compressed as Spark cannot read it.*Rename or decompress"):
        names(root, source)


@pytest.mark.promise("T94")
def test_files_of_unclear_format_are_refused_or_named(root, caplog):
    """`.dat` may be rows, and naming it settles that; a README is none, and is only mentioned."""
    (root / "s" / "b.dat").write_text("1\n")
    with pytest.raises(TableError, match=r"also holds b\.dat.*Name the files to read by glob patterns"):
        names(root, "s")
    assert names(root, ["s/*.csv", "s/*.dat"]) == ["s/a.csv", "s/b.dat"]
    (root / "s" / "b.dat").rename(root / "s" / "README.md")
    with caplog.at_level(logging.WARNING):
        assert names(root, "s") == ["s/a.csv"]
    assert "also holds README.md: not read" in caplog.text


@pytest.mark.promise("T95")
def test_a_file_is_read_once(root):
    """By several spellings and patterns, through links to it and to its folder; under its own name, as before."""
    (root / "s" / "0.csv").symlink_to(root / "s" / "a.csv")
    (root / "0").symlink_to(root / "s")
    spellings = ["0", "s/../s/a.csv", str(Path("s") / "a.csv"), str(root / "s" / "a.csv"), "s/*.csv", "0/0.csv"]
    assert names(root, spellings) == names(root, spellings[::-1]) == ["s/a.csv"]
    assert names(root, "s/../s/a.csv") == ["s/../s/a.csv"]
    link = root.parent / f"{root.name}-link"
    link.symlink_to(root)
    assert names(link, ["s", "s/a.csv"]) == ["s/a.csv"]


@pytest.mark.promise("T94")
def test_files_of_delta_tables_are_no_sources(tmp_path):
    """The lake may lie below the folder: each refresh would read what the last one wrote."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.parquet").touch()
    table = InputTable(name="t", source="data", format="parquet", columns={"id": "long"})
    assert len(source_paths(table, tmp_path)) == 1
    write_deltalake(tmp_path / "data" / "lake" / "predictions" / "x", pa.table({"id": [1]}))
    with pytest.raises(
        TableError, match="files of the Delta table .*/data/lake/predictions/x as well.*separate folders"
    ):
        source_paths(table, tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "data" / "lake" / "predictions" / "x")
    with pytest.raises(TableError, match="files of the Delta table"):
        source_paths(dataclasses.replace(table, source="link/*.parquet"), tmp_path)
    assert len(source_paths(dataclasses.replace(table, source="data/*.parquet"), tmp_path)) == 1
