"""A task with numbers, of which the first row fails, and a network in an ONNX file."""

import pyarrow as pa

import sparktorch_assets as sta

TASK = sta.MlTask(
    name="net",
    input="numbers",
    model=sta.ModelSpec(weights="net/m.onnx"),
    features=[sta.NumericFeature(columns=["a", "b"])],
    labels=["x", "y", "z"],
    max_failed_share=1,
)


def numbers(rows: int) -> pa.Table:
    return pa.table({"a": [None, *map(float, range(1, rows))], "b": [1.0] * rows})
