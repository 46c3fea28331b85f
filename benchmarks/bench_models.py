"""Models as people have them against the libraries that they come from: `make bench-models`.

Each row pairs the predictor with the reference library on the same rows in the same process, in turn, `--rounds` times
after one warm-up. The medians and the median of the pairwise ratios are printed, then one JSON line. No Spark: what
scoring a table costs beyond this is measured by `make bench-score`.

`ratio_to_reference` is a side's seconds over those of the fastest reference, so that 0.25 means four times faster.
"""

import argparse
import itertools
import json
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from minilm_texts import MINILM, lognormal_texts

from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.parts.writer import PartWriter
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import BatchPolicy, MlTask, ModelSpec, NumericFeature, TensorFeature, TextFeature
from sparktorch_assets.tasks.outputs import RegressionOutput

Timed = Callable[[], Any]


def predict(task: MlTask, table: pa.Table, models_root: Path) -> None:
    """Predict the table's rows and throw the result away."""
    batches = table.to_batches()
    rows = sum(batch.num_rows for batch in predict_map(0, batches, task, model_loader=ModelLoader(models_root)))
    assert rows == table.num_rows


def bert(rows: int, folder: Path) -> dict[str, Timed]:
    """A BERT of three layers with a classifier, against `transformers.pipeline` at several batch sizes."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, pipeline

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(MINILM)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=384, num_hidden_layers=3, num_attention_heads=12, intermediate_size=1536
    )
    model = BertForSequenceClassification(config).eval()
    for piece in (model, tokenizer):
        piece.save_pretrained(folder / "bert")
    texts = lognormal_texts(rows)
    task = MlTask(name="bert", model=ModelSpec(weights="bert"), features=[TextFeature(column="text", max_tokens=256)])
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")

    def reference(batch_size: int) -> Timed:
        return lambda: classify(texts, batch_size=batch_size, truncation=True, max_length=256)

    pairs = {f"pipeline, batches of {size}": reference(size) for size in (8, 32, 64)}
    return {"predict_map": lambda: predict(task, pa.table({"text": texts}), folder), **pairs}


def minilm(rows: int, folder: Path) -> dict[str, Timed]:
    """The real all-MiniLM-L6-v2, against `SentenceTransformer.encode`."""
    from sentence_transformers import SentenceTransformer

    (folder / "minilm").symlink_to(MINILM)
    texts = lognormal_texts(rows)
    task = MlTask(name="minilm", model=ModelSpec(weights="minilm"), features=[TextFeature(column="text")])
    model = SentenceTransformer(str(MINILM), device="cpu")
    return {
        "predict_map": lambda: predict(task, pa.table({"text": texts}), folder),
        "SentenceTransformer.encode": lambda: model.encode(texts, show_progress_bar=False),
    }


def onnx_mlp(rows: int, folder: Path) -> dict[str, Timed]:
    """An ONNX MLP over 16 numbers, against a loop over `session.run` with batches of the same size."""
    module = torch.nn.Sequential(
        torch.nn.Linear(16, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1)
    )
    x_NF = np.random.default_rng(0).random((rows, 16), dtype=np.float32)
    return onnx_pair(module, x_NF, folder / "mlp.onnx", batch_size=8_192)


def onnx_cnn(rows: int, folder: Path) -> dict[str, Timed]:
    """An ONNX CNN over 3 x 64 x 64 numbers, which are given as lists, against a loop over `session.run`."""
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 32, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(32, 64, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(64, 128, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(128, 1),
    )
    x_NCHW = np.random.default_rng(0).random((rows, 3, 64, 64), dtype=np.float32)
    return onnx_pair(module, x_NCHW, folder / "cnn.onnx", batch_size=64)


def onnx_pair(module: torch.nn.Module, values: np.ndarray, path: Path, *, batch_size: int) -> dict[str, Timed]:
    """The predictor on a tensor column, and onnxruntime alone on slices of the array."""
    import onnxruntime

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it says that torchvision is not there
    with warnings.catch_warnings():  # the exporter announces its own changes
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.from_numpy(values[:2]),),
            path,
            input_names=["x"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    flat = pa.array(values.reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(flat, values[0].size)
    task = MlTask(
        name="onnx",
        model=ModelSpec(weights=path.name),
        features=[TensorFeature(column="x", shape=values.shape[1:])],
        output=RegressionOutput(),
        batch=BatchPolicy(batch_size=batch_size),
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def reference() -> None:
        for start in range(0, len(values), batch_size):
            session.run(None, {"x": values[start : start + batch_size]})

    return {
        "predict_map": lambda: predict(task, pa.table({"x": lists}), path.parent),
        "InferenceSession.run": reference,
    }


def tensor(rows: int, folder: Path) -> dict[str, Timed]:
    """16 floats as one list per row, against the same as 16 columns: reading columns, the network being tiny."""
    torch.manual_seed(0)
    example = torch.rand(2, 16)
    exported = torch.export.export(
        torch.nn.Linear(16, 1).eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(exported, folder / "linear.pt2")
    values = np.random.default_rng(0).random((rows, 16), dtype=np.float32)
    columns = {f"x{column}": values[:, column].copy() for column in range(16)}
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 16).cast(pa.list_(pa.float32()))
    model = ModelSpec(weights="linear.pt2", trust_code=True)
    output, batch = RegressionOutput(), BatchPolicy(batch_size=8_192)
    kinds = {
        "tensor column": ([TensorFeature(column="x", shape=[16])], pa.table({"x": lists})),
        "numeric columns": ([NumericFeature(columns=tuple(columns))], pa.table(columns)),
    }
    return {
        name: partial(
            predict, MlTask(name="linear", model=model, features=features, output=output, batch=batch), table, folder
        )
        for name, (features, table) in kinds.items()
    }


def embeddings(rows: int, folder: Path) -> dict[str, Timed]:
    """A part of vectors of 384 floats, against `pyarrow.parquet.write_table` of the same array with the same encoding,
    compression and page checksums; both are flushed to disk."""
    vectors = np.random.default_rng(0).random((rows, 384), dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 384).cast(pa.list_(pa.float32()))
    table = pa.table({"embedding": column})
    numbers = itertools.count()

    def part() -> None:
        with PartWriter(Folder(str(folder)), f"{next(numbers):064x}", table.schema) as writer:
            for batch in table.to_batches(max_chunksize=8_192):
                writer.write(batch)
            written, _ = writer.finish(Tally(rows=rows, predicted=rows))
        (folder / written.path).unlink()

    def reference() -> None:
        path = folder / "reference.parquet"
        pq.write_table(
            table, path, compression="snappy", use_dictionary=False, write_statistics=False, write_page_checksum=True
        )
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.unlink()

    return {"PartWriter": part, "write_table": reference}


WORKLOADS: dict[str, tuple[Callable[[int, Path], dict[str, Timed]], int]] = {
    "bert": (bert, 6_000),
    "minilm": (minilm, 1_500),
    "onnx_mlp": (onnx_mlp, 400_000),
    "onnx_cnn": (onnx_cnn, 4_000),
    "tensor": (tensor, 2_000_000),
    "embeddings": (embeddings, 60_000),
}


def measure(sides: dict[str, Timed], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side in each round, after one round that does not count."""
    threads = torch.get_num_threads()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, run in sides.items():
            torch.set_num_threads(threads)
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def main() -> None:
    """Measure the workloads that the command line names, or all."""
    parser = argparse.ArgumentParser(description="Models as people have them against their own libraries.")
    parser.add_argument("--workloads", nargs="*", choices=[*WORKLOADS], default=[*WORKLOADS])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the numbers of rows")
    given = parser.parse_args()
    results = []
    print(f"{'workload':<12} {'name':<28} {'median_s':>9} {'ratio':>6}")
    for workload in given.workloads:
        make, rows = WORKLOADS[workload]
        with tempfile.TemporaryDirectory() as folder:
            seconds = measure(make(int(rows * given.scale), Path(folder)), given.rounds)
        ours, *references = seconds
        best = min(references, key=lambda name: statistics.median(seconds[name]))
        for name, taken in seconds.items():
            ratio = statistics.median(mine / other for mine, other in zip(taken, seconds[best], strict=True))
            median = statistics.median(taken)
            results.append({"workload": workload, "name": name, "median_s": median, "ratio_to_reference": ratio})
            print(
                f"{workload:<12} {name:<28} {median:>9.2f} {ratio:>6.2f}{'  (reference)' if name == best else ''}",
                flush=True,
            )
        assert ours == results[-len(seconds)]["name"]
    print(json.dumps({"benchmark": "models", "torch": torch.__version__, "results": results}))


if __name__ == "__main__":
    main()
