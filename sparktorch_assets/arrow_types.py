"""Arrow's types by the names that declarations use."""

import pyarrow as pa

_PLAIN = {
    "string": pa.string(),
    "boolean": pa.bool_(),
    "byte": pa.int8(),
    "short": pa.int16(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


def arrow_type(text: str, item: str = "item") -> pa.DataType:
    """The type of that name; lists and structs of types are written as `list<float>` and `struct<a: string, b: int>`.

    Args:
        text: the name.
        item: the name of lists' items: `item` in Arrow, `element` in Delta.

    >>> arrow_type("list<struct<class: string, confidence: float>>")
    ListType(list<item: struct<class: string, confidence: float>>)
    """
    if text.startswith("list<"):
        return pa.list_(pa.field(item, arrow_type(text.removeprefix("list<")[:-1], item)))
    if text.startswith("struct<"):
        fields = (part.split(": ", 1) for part in text.removeprefix("struct<")[:-1].split(", "))
        return pa.struct([(name, arrow_type(kind, item)) for name, kind in fields])
    return _PLAIN[text]
