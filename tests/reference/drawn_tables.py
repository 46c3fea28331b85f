"""Tables to draw: columns of every type that Delta holds under odd names, rows with nulls and extremes, and files of them in
whatever physical types and layouts a writer may choose.

A value is a plain Python value; of a timestamp or a date it is the number of microseconds or days since 1970, because
Python knows neither year 0 nor year 10000.
"""

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from avoided import AVOIDED
from hypothesis import strategies as st
from PIL import Image
from reference import Day, Time

UTC_US, NAIVE_US = pa.timestamp("us", "UTC"), pa.timestamp("us")
_INT96_RANGE = range(-(2**63) // 1000 + 1, 2**63 // 1000)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A logical type: one that Delta has."""

    arrow: pa.DataType
    values: st.SearchStrategy
    """Without nulls."""
    written: tuple[pa.DataType, ...] = ()
    """Other types that a Parquet file may hold it in, and that come out as `arrow`."""


def _integers(bits: int, low: int | None = None) -> st.SearchStrategy:
    low, high = -(2 ** (bits - 1)) if low is None else low, 2 ** (bits - 1) - 1
    return st.integers(-3, 13) | st.integers(low, high) | st.sampled_from([low, high])


_FLOATS_64 = st.sampled_from([float("nan"), float("inf"), float("-inf"), -0.0, 13.0, 0.5, 1e308]) | st.floats(-20, 20)
_FLOATS_32 = st.floats(-20, 20, width=32) | st.sampled_from(
    [float("nan"), float("-inf"), -0.0, 13.0, 0.1328125, 2.0**127]
)
_CHARACTERS = st.characters(exclude_categories=["Cs"])
_TEXTS = st.sampled_from(["", "a", "b", "ü", "a" * 70, "z" * 80, "\U0010ffff" * 66, "%20", "true", "x\x00y"]) | st.text(
    _CHARACTERS, max_size=6
)
_TIMES = (st.integers(-(2**40), 2**51) | st.sampled_from([0, -1, 1999, 253402300799999999, -62135596800000000])).map(
    Time
)
_BEYOND_PYTHON = st.sampled_from([253402300800000000, -62135596800000001]).map(Time)
_DATES = (st.integers(-20_000, 60_000) | st.sampled_from([0, 2932896, -719162])).map(Day)


def _decimals(precision: int, scale: int) -> st.SearchStrategy:
    most = 10**precision - 1
    return (st.integers(-most, most) | st.integers(-500, 500) | st.sampled_from([most, -most])).map(
        lambda digits: Decimal((int(digits < 0), tuple(map(int, str(abs(digits)))), -scale))
    )


def _encoded(mode: str, size: tuple[int, int], levels: list[int], kind: str) -> bytes:
    """An image of a few pixels."""
    image = Image.new("RGB", size)
    for place, level in enumerate(levels):
        image.putpixel((place % size[0], place // size[0] % size[1]), (level, 255 - level, level // 2))
    encoded = io.BytesIO()
    image.convert(mode).save(encoded, kind)
    return encoded.getvalue()


def _broken(encoded: bytes, at: int) -> st.SearchStrategy:
    """Half of a file, and one with another byte in the midst."""
    at %= len(encoded)
    changed = encoded[:at] + bytes([encoded[at] ^ 0x55]) + encoded[at + 1 :]
    return st.sampled_from([encoded[:at], changed])


_IMAGES = st.builds(
    _encoded,
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA"]),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    levels=st.lists(st.sampled_from([0, 51, 128, 255]), min_size=1, max_size=4),
    kind=st.sampled_from(["PNG", "PNG", "TIFF"]),
)

KINDS = {
    "bool": Kind(arrow=pa.bool_(), values=st.booleans()),
    "int8": Kind(arrow=pa.int8(), values=_integers(8)),
    "int16": Kind(arrow=pa.int16(), values=_integers(16)),
    "uint8": Kind(arrow=pa.int16(), values=st.integers(0, 255), written=(pa.uint8(),)),
    "int32": Kind(arrow=pa.int32(), values=_integers(32)),
    "uint16": Kind(arrow=pa.int32(), values=st.integers(0, 2**16 - 1), written=(pa.uint16(),)),
    "int64": Kind(arrow=pa.int64(), values=_integers(64)),
    "uint32": Kind(arrow=pa.int64(), values=st.integers(0, 2**32 - 1), written=(pa.uint32(),)),
    "uint64": Kind(
        arrow=pa.decimal128(20, 0), values=st.integers(0, 2**64 - 1).map(Decimal), written=(pa.uint64(),)
    ),
    "float32": Kind(arrow=pa.float32(), values=_FLOATS_32),
    "float64": Kind(arrow=pa.float64(), values=_FLOATS_64),
    "decimal": Kind(arrow=pa.decimal128(10, 2), values=_decimals(10, 2)),
    "wide decimal": Kind(arrow=pa.decimal128(38, 5), values=_decimals(38, 5)),
    "string": Kind(
        arrow=pa.string(), values=_TEXTS, written=(pa.large_string(), pa.dictionary(pa.int32(), pa.string()))
    ),
    "binary": Kind(arrow=pa.binary(), values=st.binary(max_size=5), written=(pa.large_binary(),)),
    "fixed binary": Kind(
        arrow=pa.binary(), values=st.binary(min_size=3, max_size=3), written=(pa.binary(3),)
    ),
    "image": Kind(
        arrow=pa.binary(), values=_IMAGES | st.tuples(_IMAGES, st.integers(0)).flatmap(lambda one: _broken(*one))
    ),
    "date": Kind(arrow=pa.date32(), values=_DATES),
    "date64": Kind(arrow=pa.date32(), values=_DATES, written=(pa.date64(),)),
    "instant": Kind(arrow=UTC_US, values=_TIMES | _BEYOND_PYTHON),
    "instant ms": Kind(
        arrow=UTC_US, values=st.integers(-(2**40), 2**41).map(lambda ms: Time(ms * 1000)), written=(pa.timestamp("ms", "UTC"),)
    ),
    "instant ns": Kind(arrow=UTC_US, values=st.integers(-(2**50), 2**51).map(Time), written=(pa.timestamp("ns", "Europe/Berlin"),)),
    "local time": Kind(arrow=NAIVE_US, values=_TIMES),
    "int list": Kind(
        arrow=pa.list_(pa.int64()),
        values=st.lists(st.none() | st.integers(-3, 12), max_size=4),
        written=(pa.large_list(pa.int64()),),
    ),
    "float list": Kind(
        arrow=pa.list_(pa.float32()), values=st.lists(st.none() | st.floats(-9, 9, width=16), max_size=4)
    ),
    "struct": Kind(
        arrow=pa.struct([("a", pa.int64()), ("b", pa.string())]),
        values=st.fixed_dictionaries({"a": st.none() | _integers(64), "b": st.none() | _TEXTS}),
    ),
    "map": Kind(
        arrow=pa.map_(pa.string(), pa.int64()),
        values=st.dictionaries(st.text("ab", max_size=2), st.none() | st.integers(), max_size=2).map(
            lambda pairs: [(key, None if value is None else value % 2**60) for key, value in pairs.items()]
        ),
    ),
    "nested": Kind(
        arrow=pa.list_(pa.struct([("a", pa.float64()), ("c", pa.list_(pa.bool_()))])),
        values=st.lists(
            st.fixed_dictionaries({"a": st.none() | st.floats(-2, 2), "c": st.none() | st.lists(st.booleans(), max_size=2)}),
            max_size=2,
        ),
    ),
}  # fmt: skip
FREQUENT = ("string", "int64", "float64", "bool", "instant", "decimal", "image")
WITHOUT_DELTA_WRITER = ("uint64",)
NUMBERS = ("bool", "int8", "int16", "uint8", "int32", "uint16", "int64", "uint32", "float32", "float64")
NAMES = [
    "c d",
    "a.b",
    "ü",
    'q"t',
    "semi;colon",
    "back`tick",
    "0",
    "select",
    "per%cent",
    "a=b",
    "😀",
    "it's",
    "{x}",
    "a,b",
]
PARTITION_VALUES = {"safe": ["1", "b_2", "2013-01-01"], "odd": ["a b", "ü", "50%", "x=y", "#1", "a/b", "é:é"]}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the input."""

    name: str
    kind: str
    physical: pa.DataType
    """What its files hold."""

    @property
    def arrow(self) -> pa.DataType:
        return KINDS[self.kind].arrow


@st.composite
def columns(draw: st.DrawFn, least: Sequence[str] = ()) -> list[Column]:
    """`id`, which tells rows apart; one column of each kind in `least`; some more."""
    kinds = [*least, *draw(st.lists(st.sampled_from(FREQUENT) | st.sampled_from(sorted(KINDS)), max_size=4))]
    names = draw(st.permutations(NAMES))[: len(kinds)]
    found = [Column(name="id", kind="int64", physical=pa.int64())]
    for name, kind in zip(names, kinds, strict=True):
        physical = draw(st.sampled_from([KINDS[kind].arrow, *KINDS[kind].written]))
        if kind == "uint64":
            physical = pa.uint64()
        if kind in ("uint8", "uint16", "uint32"):
            physical = KINDS[kind].written[0]
        found.append(Column(name=name, kind=kind, physical=physical))
    return found


@st.composite
def rows(draw: st.DrawFn, held: Sequence[Column], *, most: int = 7) -> list[dict[str, Any]]:
    """Rows without an `id`."""
    others = {column.name: KINDS[column.kind].values for column in held if column.name != "id"}
    nullable = {name: st.none() | values for name, values in others.items()}
    least = draw(st.sampled_from([0, 3, 3]))
    return draw(st.lists(st.fixed_dictionaries(nullable), min_size=least, max_size=most))


def table_of(found: Sequence[dict[str, Any]], held: Sequence[Column], *, physical: bool = False) -> pa.Table:
    """Rows as an Arrow table, in the logical or in the files' types."""
    arrays = []
    for column in held:
        values, kind = [row.get(column.name) for row in found], column.arrow
        if pa.types.is_timestamp(kind):
            array = pa.array(values, pa.int64()).cast(kind)
        elif kind == pa.date32():
            array = pa.array(values, pa.int32()).cast(kind)
        elif pa.types.is_struct(kind):
            array = pa.array(values, kind)
        else:
            array = pa.array(values, kind)
        if physical and column.physical != kind:
            array = (
                array.cast(column.physical)
                if not pa.types.is_dictionary(column.physical)
                else array.dictionary_encode()
            )
        arrays.append(array)
    kinds = [array.type for array in arrays]
    return pa.Table.from_arrays(arrays, schema=pa.schema(list(zip([c.name for c in held], kinds, strict=True))))


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a file is written."""

    writer: str = "pyarrow"
    group_rows: int = 1
    dictionary: bool = True
    statistics: bool = True
    int96: bool = False
    backwards: bool = False
    """Columns in another order."""
    page_version: str = "1.0"
    narrow: bool = False
    """Numbers in the smallest types that hold them."""
    lacks_columns: bool = False
    """Without the columns that are null in all rows."""
    always: frozenset[str] = frozenset({"id"})
    """Columns that it has all the same."""


FORMS = st.builds(
    Form,
    writer=st.sampled_from(["pyarrow", "pyarrow", "polars", "spark"]),
    group_rows=st.integers(1, 4),
    dictionary=st.booleans(),
    statistics=st.booleans(),
    int96=st.booleans(),
    backwards=st.booleans(),
    page_version=st.sampled_from(["1.0", "2.0"]),
    narrow=st.booleans(),
    lacks_columns=st.sampled_from([False, False, True]),
)


def write_file(path: Path, table: pa.Table, form: Form, spark: Any = None) -> None:
    """Write one Parquet file, under a temporary name first, as careful writers do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if form.backwards:
        table = table.select(table.column_names[::-1])
    if form.narrow:
        for place, column in enumerate(table.columns):
            narrowed = _narrowed(column)
            table = table.set_column(place, table.schema.field(place).with_type(narrowed.type), narrowed)
    temporary = path.with_name(f".{path.name}.writing")
    if form.writer == "spark" and spark is not None and all(map(_spark_keeps, table.schema.types)):
        folder = path.with_name(f".{path.name}.spark")
        spark.createDataFrame(table).coalesce(1).write.parquet(str(folder))
        (written,) = folder.glob("*.parquet")
        written.rename(temporary)
        shutil.rmtree(folder)
    elif form.writer == "polars" and all(map(_polars_keeps, table.schema.types)):
        pl.from_arrow(table).write_parquet(temporary, row_group_size=form.group_rows, statistics=form.statistics)
    else:
        pq.write_table(
            table,
            temporary,
            row_group_size=form.group_rows,
            use_dictionary=form.dictionary,
            write_statistics=form.statistics,
            data_page_version=form.page_version,
            use_deprecated_int96_timestamps=form.int96 and _fits_int96(table),
        )
    temporary.rename(path)


def _polars_keeps(kind: pa.DataType) -> bool:
    """Whether polars writes the type that it is given: it makes structs of maps, and its own types of others."""
    if pa.types.is_nested(kind):
        return pa.types.is_list(kind) and _polars_keeps(kind.value_type)
    return not (
        pa.types.is_map(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_dictionary(kind)
        or kind == pa.date64()
        or getattr(kind, "tz", None) not in (None, "UTC")
        or pa.types.is_unsigned_integer(kind)
    )


def _narrowed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    narrower = {pa.int64(): (pa.int8(), pa.int32()), pa.int32(): (pa.int16(),), pa.float64(): (pa.float32(),)}
    for kind in (pa.null(), *narrower.get(column.type, ())):
        try:
            found = column.cast(kind)
        except pa.ArrowException:
            continue
        if found.cast(column.type).equals(column):
            return found
    return column


def _spark_keeps(kind: pa.DataType) -> bool:
    return not (pa.types.is_unsigned_integer(kind) or pa.types.is_dictionary(kind) or kind in (NAIVE_US, pa.date64()))


def _fits_int96(table: pa.Table) -> bool:
    """INT96 holds nanoseconds, and instants alone: a local time is read as one."""
    for column in table.columns:
        if pa.types.is_timestamp(column.type):
            if column.type.tz is None:
                return False
            if column.type.tz != "UTC" and "instants of different time zones in one column" in AVOIDED:
                return False
            low = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64()).to_pylist()
            if not all(value is None or value in _INT96_RANGE for value in low):
                return False
    return True
