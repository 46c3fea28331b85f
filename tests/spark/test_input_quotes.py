"""CSV sources as Python's csv, pandas and Excel write them (RFC 4180): texts come back as they were, or are refused."""

import csv
import io
import re

import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.errors import TableError
from sparktorch_assets.spark.inputs.materialize import materialize_input
from sparktorch_assets.spark.inputs.quotes import open_line_pattern
from sparktorch_assets.tasks import InputTable

TEXTS = [
    'x "q" y', 'a "x", b', '"lead', 'tail"', '"', '""', 'a""b', '"p",q', 'p"q,', "it's", "a,b", ",", "back\\slash", "c:\\dir\\",
    "\\", 'a\\"b', "x\\", "\\N", " pad ", "  lead", "tail  ", "#c", "tab\tx", "null", "NULL", "NA", "é\u2028z", "日本", "a;b", "=1+1",
]  # fmt: skip
BROKEN = ["two\nlines", 'with, "quotes"\nand, more', "\nfirst", "last\n", "a\r\nb", "\n\n"]


def things(**options):
    return InputTable(
        name="things",
        source="in/*.csv",
        format="csv",
        columns={"id": "int", "a": "string", "b": "string", "c": "string"},
        options={"header": True, **options},
        max_rejected_share=1.0,
    )


def write(folder, texts, **dialect):
    """Rows in which each text stands in the middle, at the end and beside another one."""
    rows = [(i, texts[-i - 1], "m", text) for i, text in enumerate(texts)]
    (folder / "in").mkdir(exist_ok=True)
    with (folder / "in" / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file, **dialect)
        writer.writerow(["id", "a", "b", "c"])
        writer.writerows(rows)
    return rows


def refresh(spark, folder, table):
    report = materialize_input(spark, table, project_root=folder, table_uri=str(folder / "lake"))
    rows = DeltaTable(report.uri).to_pyarrow_table().to_pylist()
    return sorted(tuple(row.values()) for row in rows), report.rejected_rows


@pytest.mark.promise("T91")
@pytest.mark.parametrize("dialect", [{}, {"quoting": csv.QUOTE_ALL}, {"quotechar": "'"}, {"delimiter": ";"}])
def test_hostile_texts_come_back_as_they_were(spark, tmp_path, dialect):
    """Quotes, separators, backslashes, spaces and other scripts, by the declared quote and separator."""
    names = {"quotechar": "quote", "delimiter": "sep"}
    rows = write(tmp_path, TEXTS, **dialect)
    table = things(**{names[key]: value for key, value in dialect.items() if key in names})
    assert refresh(spark, tmp_path, table) == (rows, 0)


@pytest.mark.promise("T91")
def test_line_breaks_are_refused_or_read(spark, tmp_path):
    """Nothing declared: refused, with the file's name. `multiLine: true` reads them."""
    rows = write(tmp_path, [*TEXTS, *BROKEN])
    with pytest.raises(
        TableError, match=r"end within a quoted text \(\d+ in in/a\.csv\).*multiLine: true.*quote: ''.*false"
    ):
        refresh(spark, tmp_path, things())
    assert not (tmp_path / "lake" / "_delta_log").exists()
    found, rejected = refresh(spark, tmp_path, things(multiLine=True))
    # Spark makes one kind of line break of all that stand in texts.
    assert (found, rejected) == ([tuple(one_break(value) for value in row) for row in rows], 0)


def one_break(value):
    return value.replace("\r\n", "\n") if isinstance(value, str) else value


@pytest.mark.promise("T91")
def test_broken_lines_can_be_taken_as_they_are(spark, tmp_path):
    """`multiLine: false` says that each line is a record, `quote: ""` that quotes mean nothing."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text('id,a,b,c\n1,"open,b,c\n2,a,b,c\n3,a,b,5" pipe\n')
    with pytest.raises(TableError, match="1 in in/a"):
        refresh(spark, tmp_path, things())
    assert refresh(spark, tmp_path, things(multiLine=False)) == ([(2, "a", "b", "c"), (3, "a", "b", '5" pipe')], 1)
    found, _ = refresh(spark, tmp_path, things(quote=""))
    assert found[0] == (1, '"open', "b", "c")


@pytest.mark.promise("T91")
def test_an_escape_of_the_table_s_own_holds(spark, tmp_path):
    """Backslashes before quotes, as MySQL and Spark write them, in the header as well."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text('id,a,b,"c \\"x\\""\n1,"say \\"x\\", y",b,c\n')
    table = InputTable(
        name="things",
        source="in/a.csv",
        format="csv",
        columns={"id": "int", "a": "string", "b": "string", 'c "x"': "string"},
        options={"header": True, "escape": "\\"},
    )
    assert refresh(spark, tmp_path, table) == ([(1, 'say "x", y', "b", "c")], 0)


@pytest.mark.promise("T93")
def test_empty_texts_are_nulls(spark, tmp_path):
    """The empty text is told from a missing value only where the table names what is missing, and by its quotes."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text('id,a,b,c\n1,,"",NA\n')
    assert refresh(spark, tmp_path, things())[0] == [(1, None, None, "NA")]
    assert refresh(spark, tmp_path, things(nullValue="NA"))[0] == [(1, None, "", None)]


@given(st.lists(st.text('ab",; \\\n', max_size=6), min_size=1, max_size=4), st.sampled_from([",", ";"]))
def test_an_open_line_is_one_that_a_csv_reader_goes_on_after(texts, separator):
    """The pattern against what the writer did: a line is open where the record's next line belongs to the same text."""
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=separator, lineterminator="\n").writerow(texts)
    *lines, rest = buffer.getvalue().split("\n")
    assert rest == ""
    pattern = re.compile(open_line_pattern(separator, '"', '"'))
    # Lines after the first begin within a text: looked at together with those before.
    whole = ["\n".join(lines[: i + 1]) for i in range(len(lines))]
    assert [bool(pattern.search(text)) for text in whole] == [True] * (len(lines) - 1) + [False]


def test_a_long_line_takes_one_pass():
    """No stack and no time runs out over a megabyte of quotes and separators."""
    pattern = re.compile(open_line_pattern(",", '"', '"'))
    assert not pattern.search('"a""b",' * 150_000)
    assert pattern.search('"a""b",' * 150_000 + '"')
