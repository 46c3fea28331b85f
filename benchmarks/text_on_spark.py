"""The usual ways to run the text encoder on Spark, for bench_predict: batches of 64 in arrival order."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

BATCH_ROWS = 64
MAX_TOKENS = 256


def padded(texts: list[str]) -> Any:
    """Byte ids (B, T), padded to the longest of the batch."""
    import torch

    ids = [np.frombuffer(text.encode(), dtype=np.uint8)[:MAX_TOKENS].astype(np.int64) + 1 for text in texts]
    result = torch.zeros(len(ids), max(map(len, ids)), dtype=torch.int64)
    for i, row in enumerate(ids):
        result[i, : len(row)] = torch.from_numpy(row)
    return result


def bring_up() -> Any:
    """The encoder on one thread: Spark runs a task on every core."""
    import torch
    from networks import build

    torch.set_num_threads(1)
    return build(None, torch.device("cpu"), "text")


def map_in_arrow(frame: Any) -> None:
    """By hand: a model a partition."""

    def predict(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import torch

        model = bring_up()
        for batch in batches:
            for start in range(0, batch.num_rows, BATCH_ROWS):
                part = batch.slice(start, BATCH_ROWS)
                ids = padded(part.column(0).to_pylist())
                with torch.inference_mode():
                    best = model(ids, ids > 0).softmax(1).max(1)
                added = [pa.array([str(i) for i in best.indices.tolist()]), pa.array(best.values.numpy())]
                yield pa.RecordBatch.from_arrays(
                    [*part.columns, *added], names=["text", "predicted_class", "confidence"]
                )

    result = frame.mapInArrow(predict, "text string, predicted_class string, confidence float")
    result.write.format("noop").mode("overwrite").save()


def predict_batch_udf(frame: Any) -> None:
    """Spark's own way."""
    from pyspark.ml.functions import predict_batch_udf as make
    from pyspark.sql.types import FloatType, LongType, StructField, StructType

    def make_predict() -> Callable[[Any], Any]:
        import torch

        model = bring_up()

        def predict(texts: Any) -> Any:
            ids = padded(list(texts))
            with torch.inference_mode():
                best = model(ids, ids > 0).softmax(1).max(1)
            return {"predicted_class": best.indices.numpy(), "confidence": best.values.numpy()}

        return predict

    kind = StructType([StructField("predicted_class", LongType()), StructField("confidence", FloatType())])
    udf = make(make_predict, return_type=kind, batch_size=BATCH_ROWS)
    frame.withColumn("p", udf("text")).write.format("noop").mode("overwrite").save()
