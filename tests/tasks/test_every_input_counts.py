"""A fingerprint changes exactly when an answer may: a table of everything that a task can declare, and of every file.

The table is held against the dataclasses: a field that has no entry fails the test, so that none is forgotten.
"""

import dataclasses
import hashlib
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.parquet as pq
import pytest
from answers_world import FILES, TABLE, TASK, World, replaced, tokenizer

from sparktorch_assets.errors import TaskError
from sparktorch_assets.lake import shards
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.inputs.sources import find_sources
from sparktorch_assets.spark.score.table import plan_table
from sparktorch_assets.tasks import (
    AudioFeature,
    AuditPolicy,
    BatchPolicy,
    CategoricalFeature,
    ChallengerOf,
    ClassificationOutput,
    ColumnsOutput,
    CustomFeature,
    DetectionOutput,
    EmbeddingOutput,
    Execution,
    GenerationOutput,
    Hooks,
    ImageFeature,
    InputTable,
    MlTask,
    ModelSpec,
    MultilabelOutput,
    NumericFeature,
    RegressionOutput,
    RowFilter,
    SequenceFeature,
    SlotPolicy,
    SourceColumn,
    StaticPartitions,
    TensorFeature,
    TextFeature,
    TokenClassificationOutput,
    promote,
)
from sparktorch_assets.tasks.ml_task import OutputColumn
from sparktorch_assets.tasks.outputs import Output
from sparktorch_assets.tasks.partitions import Partitions


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A change of one field: what it may do to the answers, and whether that is shown by computing them."""

    may: bool
    """Whether an answer may change; so must the fingerprint."""
    after: Any
    """The task with the field changed."""
    before: Any = TASK
    shown: bool = True
    """Compute the answers of both: they differ, or are the same."""


def may(after, before=TASK, shown=True):
    return Entry(may=True, after=after, before=before, shown=shown)


def cannot(after, before=TASK, shown=True):
    return Entry(may=False, after=after, before=before, shown=shown)


NESTED = "its own fields have entries"
PINNED = hashlib.sha256(FILES["start.txt"].encode()).hexdigest()
ONE_FILE = {"sha256": PINNED, "files": (), "arguments": {"scale": 0.01, "network": "answers_nets:Net"}}
FOLDER = ModelSpec(weights="folder", factory="answers_code.model:build_folder", trust_code=True)
BARE = replace(TASK, hooks=Hooks(), hook_columns=())
BOTH = Hooks(row_preprocessor="answers_code.hooks:shift", row_postprocessor="answers_code.hooks:mark")
PREPARED = replace(TASK, hooks=BOTH)
"""A preprocessor may change the type of every column."""
FILTERED = RowFilter(column="id", op="<=", value=5)
STATES = ModelSpec(weights="start.txt", format="state_dict", architecture="answers_code.model:Network")


SURE = replace(BARE, output=ClassificationOutput(threshold=0.0, below="unsure"))
LABELLED = replace(BARE, output=MultilabelOutput())
NUMBERS = replace(BARE, output=RegressionOutput(names=["a", "b"]), labels=())
VECTOR = replace(BARE, output=EmbeddingOutput(length=2), labels=())
# The network of the table gives neither spans nor boxes: the tests of both outputs show what their options change.
SPANS = replace(BARE, output=TokenClassificationOutput(), features=[TASK.features[2]])
BOXES = replace(BARE, output=DetectionOutput(), features=[TASK.features[4]])
NAMED = replace(BARE, output=ColumnsOutput(columns={"a": "list<float>"}), labels=())

# A complete declaration, for which no file of the folder is read.
WRITTEN = replace(
    BARE,
    model=ModelSpec(weights="writer"),
    features=[replace(TASK.features[2], tokenizer="tokenizer.json")],
    output=GenerationOutput(max_new_tokens=4, clean_up_tokenization_spaces=False),
    labels=(),
)
DRAWN = replace(WRITTEN, output=replace(WRITTEN.output, do_sample=True))


def output(before, **changes):
    return replace(before, output=replace(before.output, **changes))


def task(**changes):
    return replace(TASK, **changes)


def audited(**changes):
    return replace(TASK, audit=AuditPolicy(**changes))


def model(**changes):
    return replace(TASK, model=replace(TASK.model, **changes))


CHALLENGE = ChallengerOf(task="champion", join_on=["id"])
CHALLENGER = task(challenger_of=CHALLENGE)

ENTRIES: dict[tuple[type, str], list[Any]] = {
    (MlTask, "name"): [cannot(task(name="another"))],
    (MlTask, "input"): [cannot(task(input="another/table"))],
    (MlTask, "model"): [NESTED],
    (MlTask, "features"): [NESTED, may(task(features=TASK.features[::-1])), may(task(features=TASK.features[:2]))],
    (MlTask, "labels"): [may(task(labels=["yes", "no"])), may(task(labels=["no", "maybe"]))],
    (MlTask, "batch"): [NESTED],
    (MlTask, "execution"): [NESTED],
    (MlTask, "where"): [NESTED, may(task(where=[])), may(task(where=[FILTERED, RowFilter(column="c", value="a")]))],
    (MlTask, "keep_columns"): [may(task(keep_columns=["id", "x"])), may(task(keep_columns=[]))],
    (MlTask, "hooks"): [NESTED],
    (MlTask, "output"): [may(task(output=ClassificationOutput(scores=True)))],
    (MlTask, "hook_columns"): [may(task(hook_columns={"mark": "string", "more": "int"}))],
    (MlTask, "output_prefix"): [may(task(output_prefix="p_"), BARE)],
    (MlTask, "truth"): [may(task(truth="id"), shown=False)],  # receipts count what is compared
    (MlTask, "max_failed_share"): [cannot(task(max_failed_share=0.9))],
    (MlTask, "max_failed_rows"): [cannot(task(max_failed_rows=5))],
    (MlTask, "max_dropped_share"): [cannot(task(max_dropped_share=1.0))],
    (MlTask, "audit"): [NESTED],
    # They decide whether predictions are published, and change none.
    (AuditPolicy, "history"): [cannot(audited(history=1))],
    (AuditPolicy, "max_class_share_psi"): [cannot(audited(max_class_share_psi=0.2))],
    (AuditPolicy, "max_class_share_distance"): [cannot(audited(max_class_share_distance=0.2))],
    (AuditPolicy, "max_confidence_psi"): [cannot(audited(max_confidence_psi=0.2))],
    (AuditPolicy, "max_confidence_distance"): [cannot(audited(max_confidence_distance=0.2))],
    (AuditPolicy, "max_number_psi"): [
        cannot(replace(NUMBERS, audit=AuditPolicy(max_number_psi=0.2)), NUMBERS, shown=False)
    ],
    (AuditPolicy, "max_number_distance"): [
        cannot(replace(NUMBERS, audit=AuditPolicy(max_number_distance=0.2)), NUMBERS, shown=False)
    ],
    (AuditPolicy, "max_null_share"): [cannot(audited(max_null_share=0.2))],
    (AuditPolicy, "min_rows"): [cannot(audited(min_rows=1))],
    (AuditPolicy, "canaries"): [cannot(audited(canaries="canaries.parquet"), shown=False)],
    (AuditPolicy, "canary_tolerance"): [cannot(audited(canary_tolerance=0.1))],
    (AuditPolicy, "allowed_models"): [cannot(audited(allowed_models=["0" * 64]), shown=False)],
    (AuditPolicy, "checks"): [cannot(audited(checks=["json:loads"]), shown=False)],
    (MlTask, "preview_rows"): [cannot(task(preview_rows=0))],
    (MlTask, "code_version"): [may(task(code_version="2"), shown=False)],  # the user says so
    (MlTask, "cron"): [cannot(task(cron="0 3 * * *"))],
    (MlTask, "timezone"): [cannot(task(cron="0 3 * * *", timezone="Asia/Tokyo"), task(cron="0 3 * * *"))],
    (MlTask, "description"): [cannot(task(description="Something else."))],
    (MlTask, "challenger_of"): [NESTED, cannot(CHALLENGER, TASK)],
    (MlTask, "promoted"): [may(promote(task(promoted="other"), replace(model(weights="other.txt"), name="other")))],
    (ChallengerOf, "task"): [cannot(task(challenger_of=replace(CHALLENGE, task="another")), CHALLENGER)],
    (ChallengerOf, "join_on"): [cannot(task(challenger_of=replace(CHALLENGE, join_on=["x"])), CHALLENGER)],
    # A partition is part of its own fingerprints, which the plan adds: the declaration alone changes no answer.
    (MlTask, "partitions"): [NESTED, cannot(task(partitions=StaticPartitions(column="c", values=["a"])))],
    (ModelSpec, "weights"): [may(model(weights="other.txt"))],
    (ModelSpec, "format"): [
        may(task(model=replace(STATES, format="pickle", trust_code=True)), task(model=STATES), shown=False)
    ],
    (ModelSpec, "architecture"): [
        may(task(model=replace(STATES, architecture="answers_code.model:Halved")), task(model=STATES), shown=False)
    ],
    (ModelSpec, "arguments"): [
        may(model(arguments={"scale": 0.02, "lookup": "lookup.txt", "network": "answers_nets:Net"})),
        may(model(arguments={"scale": 0.01, "lookup": "other.txt", "network": "answers_nets:Net"}), shown=False),
        may(model(arguments={"scale": 0.01, "network": "answers_nets:Net"})),
        may(model(arguments={"scale": 0.01, "lookup": "lookup.txt", "network": "answers_code.model:Halved"})),
    ],
    (ModelSpec, "factory"): [may(model(factory="answers_code.model:build_halved"))],
    (ModelSpec, "files"): [may(model(files=["side.txt", "unlisted.txt"]), shown=False)],  # the user says that it is read
    (ModelSpec, "sha256"): [cannot(model(sha256=PINNED))],
    (ModelSpec, "trust_code"): [cannot(model(**ONE_FILE, trust_code=False), model(**ONE_FILE))],
    # The network of the table takes no names.
    (NumericFeature, "argument"): [may(replaced(TASK, 0, argument="a"), shown=False)],
    (NumericFeature, "columns"): [may(replaced(TASK, 0, columns=["y", "x"])), may(replaced(TASK, 0, columns=["x"]))],
    (NumericFeature, "fill"): [may(replaced(TASK, 0, fill=9.0)), may(replaced(TASK, 0, fill=None))],
    (CategoricalFeature, "argument"): [may(replaced(TASK, 1, argument="a"), shown=False)],
    (CategoricalFeature, "columns"): [
        may(replaced(TASK, 1, columns=["t"], vocabulary={"t": ["two"]}), replaced(TASK, 1, vocabulary={"c": ["two"]}))
    ],
    (CategoricalFeature, "vocabulary"): [
        may(replaced(TASK, 1, vocabulary="vocabulary2.json")),
        may(replaced(TASK, 1, vocabulary={"c": ["b"]}), replaced(TASK, 1, vocabulary={"c": ["a"]})),
    ],
    (CategoricalFeature, "fill"): [may(replaced(TASK, 1, fill="b")), may(replaced(TASK, 1, fill=None))],
    (TextFeature, "argument"): [may(replaced(TASK, 2, argument="a", mask_argument="m"), shown=False)],
    (TextFeature, "mask_argument"): [may(replaced(TASK, 2, mask_argument="m"), shown=False)],
    (TextFeature, "column"): [may(replaced(TASK, 2, column="t2"))],
    (TextFeature, "tokenizer"): [may(replaced(TASK, 2, tokenizer="tokenizer2.json")), may(replaced(TASK, 2, tokenizer="bytes"))],
    (TextFeature, "max_tokens"): [may(replaced(TASK, 2, max_tokens=1))],
    (TextFeature, "fill"): [may(replaced(TASK, 2, fill="one")), may(replaced(TASK, 2, fill=None))],
    (TextFeature, "pair"): [may(replaced(TASK, 2, pair="t2"))],
    (TextFeature, "template"): [may(replaced(TASK, 2, template="two {text}"))],
    (TextFeature, "truncation_side"): [
        may(replaced(TASK, 2, max_tokens=1, truncation_side="left"), replaced(TASK, 2, max_tokens=1))
    ],
    (TextFeature, "padding_id"): [may(replaced(TASK, 2, padding_id=3), shown=False)],  # the network masks padding
    (TextFeature, "type_ids"): [may(replaced(TASK, 2, type_ids=True))],
    (TextFeature, "type_ids_argument"): [
        may(replaced(TASK, 2, type_ids=True, type_ids_argument="a"), replaced(TASK, 2, type_ids=True), shown=False)
    ],
    (SequenceFeature, "argument"): [may(replaced(TASK, 3, argument="a", mask_argument="m"), shown=False)],
    (SequenceFeature, "mask_argument"): [may(replaced(TASK, 3, mask_argument="m"), shown=False)],
    (SequenceFeature, "column"): [may(replaced(TASK, 3, column="s2"))],
    (SequenceFeature, "dtype"): [may(replaced(TASK, 3, dtype="int64"), shown=False)],  # of whole numbers both are the same
    (SequenceFeature, "max_length"): [may(replaced(TASK, 3, max_length=1))],
    (SequenceFeature, "fill"): [may(replaced(TASK, 3, fill=9.0)), may(replaced(TASK, 3, fill=None))],
    (ImageFeature, "argument"): [may(replaced(TASK, 4, argument="a"), shown=False)],
    (ImageFeature, "column"): [may(replaced(TASK, 4, column="i2"))],
    (ImageFeature, "height"): [may(replaced(TASK, 4, height=3))],
    (ImageFeature, "width"): [may(replaced(TASK, 4, width=3))],
    (ImageFeature, "channels"): [may(replaced(TASK, 4, channels=3))],
    (ImageFeature, "mean"): [may(replaced(TASK, 4, mean=(5.0,)))],
    (ImageFeature, "std"): [may(replaced(TASK, 4, std=(0.01,)))],
    (ImageFeature, "resample"): [may(replaced(TASK, 4, resample="nearest", width=2), replaced(TASK, 4, width=2))],
    (ImageFeature, "fill"): [may(replaced(TASK, 4, fill=1.0)), may(replaced(TASK, 4, fill=None))],
    (ImageFeature, "shortest_side"): [may(replaced(TASK, 4, shortest_side=8))],
    (ImageFeature, "crop_offset"): [may(replaced(TASK, 4, shortest_side=7, crop_offset="down"), replaced(TASK, 4, shortest_side=7))],
    (ImageFeature, "exif_orientation"): [may(replaced(TASK, 4, exif_orientation=True), shown=False)],  # none has a tag
    (ImageFeature, "background"): [may(replaced(TASK, 4, background=1.0), shown=False)],  # none is transparent
    (ImageFeature, "jpeg_reducing_gap"): [may(replaced(TASK, 4, jpeg_reducing_gap=2.0), shown=False)],  # none is large
    (ImageFeature, "read"): [may(replaced(PREPARED, 4, read="uri"), PREPARED, shown=False)],
    (ImageFeature, "folder"): [
        may(replaced(TASK, 4, column="c", read="uri", folder="/a"), replaced(TASK, 4, column="c", read="uri"), shown=False)
    ],
    (AudioFeature, "column"): [may(replaced(TASK, 7, column="w2"))],
    (AudioFeature, "sample_rate"): [may(replaced(TASK, 7, sample_rate=2_000))],
    (AudioFeature, "max_seconds"): [may(replaced(TASK, 7, max_seconds=0.004))],
    (AudioFeature, "normalize"): [may(replaced(TASK, 7, normalize=True))],
    (AudioFeature, "fill"): [may(replaced(TASK, 7, fill=None)), may(replaced(TASK, 7, fill=0.5), shown=False)],
    (AudioFeature, "read"): [may(replaced(PREPARED, 7, read="uri"), PREPARED, shown=False)],
    (AudioFeature, "folder"): [
        may(replaced(TASK, 7, column="c", read="uri", folder="/a"), replaced(TASK, 7, column="c", read="uri"), shown=False)
    ],
    (AudioFeature, "argument"): [may(replaced(TASK, 7, argument="a", mask_argument="m"), shown=False)],
    (AudioFeature, "mask_argument"): [may(replaced(TASK, 7, mask_argument="m"), shown=False)],
    (TensorFeature, "column"): [may(replaced(TASK, 6, column="v2"))],
    (TensorFeature, "shape"): [may(replaced(TASK, 6, shape=[2, 1]), shown=False)],  # the network flattens it
    (TensorFeature, "dtype"): [may(replaced(TASK, 6, dtype="bool"))],
    (TensorFeature, "fill"): [may(replaced(TASK, 6, fill=0.5)), may(replaced(TASK, 6, fill=None))],
    (TensorFeature, "argument"): [may(replaced(TASK, 6, argument="a"), shown=False)],
    (CustomFeature, "argument"): [may(replaced(TASK, 5, argument="a"), shown=False)],
    (CustomFeature, "mask_argument"): [
        may(replaced(TASK, 5, encoder="answers_code.encoder:Lists", sequences=True, mask_argument="m"), replaced(TASK, 5, encoder="answers_code.encoder:Lists", sequences=True), shown=False)
    ],
    (CustomFeature, "columns"): [may(replaced(TASK, 5, columns=["y"]))],
    (CustomFeature, "encoder"): [
        may(replaced(TASK, 5, encoder="answers_code.encoder:Lists"), shown=False)  # goes with `sequences`
    ],
    (CustomFeature, "arguments"): [may(replaced(TASK, 5, arguments={"offset": 3.5}))],
    (CustomFeature, "sequences"): [may(replaced(TASK, 5, encoder="answers_code.encoder:Lists", sequences=True))],
    (BatchPolicy, "batch_size"): [cannot(task(batch=BatchPolicy(batch_size=2)))],
    (BatchPolicy, "max_tokens"): [cannot(task(batch=BatchPolicy(max_tokens=4)))],
    (BatchPolicy, "max_bytes"): [cannot(task(batch=BatchPolicy(max_bytes=100)))],
    (BatchPolicy, "window_rows"): [cannot(task(batch=BatchPolicy(window_rows=2)))],
    (BatchPolicy, "window_bytes"): [cannot(task(batch=BatchPolicy(window_bytes=100)))],
    (BatchPolicy, "deduplicate"): [cannot(task(batch=BatchPolicy(deduplicate=True)))],
    (BatchPolicy, "batch_timeout_s"): [cannot(task(batch=BatchPolicy(batch_timeout_s=60.0)))],
    (Execution, "precision"): [may(task(execution=Execution(precision="bf16")))],
    # Rounding alone in theory; other kernels, with faults of their own, in fact (docs/decisions/0005).
    (Execution, "compile"): [may(task(execution=Execution(compile="torch.compile")), shown=False)],
    (Execution, "channels_last"): [may(task(execution=Execution(channels_last=True)), shown=False)],
    (Execution, "min_agreement"): [cannot(task(execution=Execution(min_agreement=0.1)))],
    (Hooks, "row_preprocessor"): [may(task(hooks=BOTH))],
    (Hooks, "batch_preprocessor"): [may(task(hooks=replace(TASK.hooks, batch_preprocessor="answers_code.hooks:shift_frame")))],
    (Hooks, "row_postprocessor"): [may(TASK, BARE)],
    (Hooks, "batch_postprocessor"): [may(task(hooks=replace(TASK.hooks, batch_postprocessor="answers_code.hooks:without_third")))],
    (RowFilter, "column"): [may(task(where=[replace(FILTERED, column="x")]))],
    (RowFilter, "op"): [may(task(where=[replace(FILTERED, op="<")]))],
    (RowFilter, "value"): [may(task(where=[replace(FILTERED, value=4)]))],
    (ClassificationOutput, "scores"): [may(output(SURE, scores=True), SURE)],
    (ClassificationOutput, "embedding"): [may(output(SURE, embedding=True), SURE, shown=False)],  # the network gives none
    (ClassificationOutput, "top_k"): [may(output(SURE, top_k=2), SURE), may(output(SURE, top_k=2), output(SURE, top_k=1))],
    (ClassificationOutput, "threshold"): [may(output(SURE, threshold=1.0), SURE)],
    (ClassificationOutput, "below"): [may(output(SURE, threshold=1.0, below="?"), output(SURE, threshold=1.0))],
    (MultilabelOutput, "threshold"): [may(output(LABELLED, threshold=1.0), LABELLED)],
    (MultilabelOutput, "thresholds"): [may(output(LABELLED, thresholds={"no": 1.0}), LABELLED)],
    (RegressionOutput, "names"): [may(output(NUMBERS, names=["b", "a"]), NUMBERS)],
    (RegressionOutput, "quantiles"): [may(output(NUMBERS, names=["value"], quantiles=[0.1, 0.5]), NUMBERS)],
    (RegressionOutput, "length"): [may(output(NUMBERS, names=["value"], length=2), NUMBERS)],
    (RegressionOutput, "scale"): [may(output(NUMBERS, scale=2.0), NUMBERS)],
    (RegressionOutput, "offset"): [may(output(NUMBERS, offset=2.0), NUMBERS)],
    (RegressionOutput, "exp"): [may(output(NUMBERS, exp=True), NUMBERS)],
    # The counts in receipts, from which the check is made.
    (RegressionOutput, "minimum"): [may(output(NUMBERS, minimum=0.0), NUMBERS, shown=False)],
    (RegressionOutput, "maximum"): [may(output(NUMBERS, maximum=0.0), NUMBERS, shown=False)],
    (EmbeddingOutput, "length"): [may(output(VECTOR, length=3), VECTOR, shown=False)],  # refused
    (EmbeddingOutput, "pooling"): [may(output(VECTOR, pooling="cls"), VECTOR, shown=False)],  # refused
    (EmbeddingOutput, "normalize"): [may(output(VECTOR, normalize=True), VECTOR)],
    (EmbeddingOutput, "dimensions"): [may(output(VECTOR, dimensions=1), VECTOR)],
    (TokenClassificationOutput, "aggregation"): [may(output(SPANS, aggregation="max"), SPANS, shown=False)],
    (TokenClassificationOutput, "ignore_labels"): [may(output(SPANS, ignore_labels=()), SPANS, shown=False)],
    (DetectionOutput, "min_score"): [may(output(BOXES, min_score=0.1), BOXES, shown=False)],
    (DetectionOutput, "max_boxes"): [may(output(BOXES, max_boxes=1), BOXES, shown=False)],
    (DetectionOutput, "scoring"): [
        may(output(BOXES, scoring="sigmoid"), BOXES, shown=False), cannot(output(BOXES, scoring="softmax"), BOXES, shown=False)
    ],
    # There is no such network here: tests/predict/test_generation.py shows what the options do.
    (GenerationOutput, "max_new_tokens"): [may(output(WRITTEN, max_new_tokens=5), WRITTEN, shown=False)],
    (GenerationOutput, "min_new_tokens"): [may(output(WRITTEN, min_new_tokens=1), WRITTEN, shown=False)],
    (GenerationOutput, "num_beams"): [may(output(WRITTEN, num_beams=2), WRITTEN, shown=False)],
    (GenerationOutput, "length_penalty"): [may(output(WRITTEN, length_penalty=0.0), WRITTEN, shown=False)],
    (GenerationOutput, "early_stopping"): [may(output(WRITTEN, early_stopping=False), WRITTEN, shown=False)],
    (GenerationOutput, "repetition_penalty"): [may(output(WRITTEN, repetition_penalty=1.0), WRITTEN, shown=False)],
    (GenerationOutput, "no_repeat_ngram_size"): [may(output(WRITTEN, no_repeat_ngram_size=0), WRITTEN, shown=False)],
    (GenerationOutput, "do_sample"): [may(DRAWN, WRITTEN, shown=False)],
    (GenerationOutput, "temperature"): [may(output(DRAWN, temperature=1.0), DRAWN, shown=False)],
    (GenerationOutput, "top_k"): [may(output(DRAWN, top_k=0), DRAWN, shown=False)],
    (GenerationOutput, "top_p"): [may(output(DRAWN, top_p=0.5), DRAWN, shown=False)],
    (GenerationOutput, "seed"): [may(output(DRAWN, seed=1), DRAWN, shown=False)],
    (GenerationOutput, "clean_up_tokenization_spaces"): [
        may(output(WRITTEN, clean_up_tokenization_spaces=True), WRITTEN, shown=False)
    ],
    (GenerationOutput, "max_cut_share"): [cannot(output(WRITTEN, max_cut_share=0.1), WRITTEN, shown=False)],
    (ColumnsOutput, "columns"): [
        may(output(NAMED, columns={"b": "list<float>"}), NAMED), may(output(NAMED, columns={"a": "list<double>"}), NAMED, shown=False)
    ],
    (OutputColumn, "name"): [may(replace(BARE, output_prefix="p_"), BARE)],
    (OutputColumn, "type"): [may(task(hook_columns={"mark": "binary"}), shown=False)],  # the hook's text does not fit
}  # fmt: skip

SOURCE = InputTable(
    name="rows", source=["in/*.csv"], format="csv", columns={"a": "int", "b": "string"}, options={"header": True}
)
SOURCE_ENTRIES = {
    "name": cannot(replace(SOURCE, name="another"), SOURCE),
    "source": may(replace(SOURCE, source=["more/*.csv"]), SOURCE),
    "format": may(replace(SOURCE, format="json", source=["in/a.csv"]), SOURCE),
    "columns": may(replace(SOURCE, columns={"a": "long", "b": "string"}), SOURCE),
    "options": may(replace(SOURCE, options={"header": False}), SOURCE),
    "max_rejected_share": cannot(replace(SOURCE, max_rejected_share=0.5), SOURCE),
    "max_vanished_share": cannot(replace(SOURCE, max_vanished_share=1.0), SOURCE),
    "description": cannot(replace(SOURCE, description="Something else."), SOURCE),
    "partitions": cannot(replace(SOURCE, partitions=StaticPartitions(column="b", values=["x"])), SOURCE),
}
COLUMN_ENTRIES = {
    "type": may(replace(SOURCE, columns={"a": SourceColumn(type="long"), "b": "string"}), SOURCE),
    "description": cannot(
        replace(SOURCE, columns={"a": SourceColumn(type="int", description="x"), "b": "string"}), SOURCE
    ),
}

SLOT_ENTRIES = {
    "device": SlotPolicy(device="cpu"),
    "models_per_gpu": SlotPolicy(models_per_gpu=3),
    "gpus_per_worker": SlotPolicy(gpus_per_worker=0),
    "workers": SlotPolicy(workers=2),
    "slots": SlotPolicy(slots=3),
}
"""Where a model runs cannot change an answer."""

OUTPUT_KINDS = typing.get_args(Output)
PARTITION_KINDS = typing.get_args(Partitions)
"""What a partition takes is part of the fingerprints of its parts: the plan adds it, as it does for `score_table`."""
KINDS = tuple(kind for kind, field in ENTRIES if field in ("columns", "column") and kind.__name__.endswith("Feature"))


def declared_fields():
    """Every field of every dataclass that a declaration can hold."""
    found, waiting = {}, [MlTask, OutputColumn, InputTable, SlotPolicy]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            if kind not in found:
                found[kind] = [field.name for field in dataclasses.fields(kind)]
                waiting += typing.get_type_hints(kind).values()
        else:
            waiting += typing.get_args(kind)
    return {(kind, field) for kind, names in found.items() for field in names}


def test_every_field_has_an_entry():
    """A new field decides about answers, or it does not; whoever adds it says which."""
    entries = set(ENTRIES) | {(kind, "kind") for kind in (*KINDS, *OUTPUT_KINDS)}
    entries |= {(kind, field.name) for kind in PARTITION_KINDS for field in dataclasses.fields(kind)}
    entries |= {(InputTable, field) for field in SOURCE_ENTRIES} | {(SlotPolicy, field) for field in SLOT_ENTRIES}
    entries |= {(SourceColumn, field) for field in COLUMN_ENTRIES}
    name = lambda item: f"{item[0].__name__}.{item[1]}"  # noqa: E731
    missing, gone = sorted(map(name, declared_fields() - entries)), sorted(map(name, entries - declared_fields()))
    assert not missing, (
        f"{', '.join(missing)}: decide whether an answer may change with it. If it may, put it into task_digest or "
        f"model_digest (tasks/digest.py) and give it an entry `may(...)` in {__file__}; if it cannot, an entry `cannot(...)`"
    )
    assert not gone, f"{', '.join(gone)}: there is no such field any more; delete its entry in {__file__}"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


CHANGES = [
    pytest.param(entry, id=f"{kind.__name__}.{field}-{number}")
    for (kind, field), given in ENTRIES.items()
    for number, entry in enumerate(given)
    if entry is not NESTED
]


def test_the_task_of_the_table_predicts_every_row(world):
    """An entry that breaks it, and so changes answers to failures, would prove little."""
    answers = world.answers()
    assert [row["id"] for row in answers] == [1, 2, 3, 4, 5]
    assert {row["prediction_error"] for row in answers} == {None}
    assert len({row["confidence"] for row in answers}) == 5


@pytest.mark.promise("T5", "T13", "T14")
@pytest.mark.parametrize("entry", CHANGES)
def test_the_fingerprint_changes_exactly_when_an_answer_may(entry, world):
    before, after = world.fingerprint(entry.before), world.fingerprint(entry.after)
    assert (before != after) == entry.may


@pytest.mark.promise("M32")
@pytest.mark.parametrize("entry", [param for param in CHANGES if param.values[0].shown])
def test_what_the_table_says_of_answers_is_so(entry, world):
    """Computed before and after the change."""
    before, after = world.answers(entry.before), world.answers(entry.after)
    assert (before != after) == entry.may


@pytest.mark.parametrize(
    "entry",
    [*SOURCE_ENTRIES.values(), *COLUMN_ENTRIES.values()],
    ids=[*SOURCE_ENTRIES, *map("column_{}".format, COLUMN_ENTRIES)],
)
def test_an_input_tables_parts_are_named_by_what_decides_about_their_rows(entry, tmp_path):
    for name in ("in/a.csv", "more/a.csv"):
        World.write(tmp_path / name, "a,b\n1,x\n")
    before, after = (
        [file.fingerprint for file in find_sources(table, tmp_path)] for table in (entry.before, entry.after)
    )
    assert (before != after) == entry.may


@pytest.mark.parametrize("field", SLOT_ENTRIES)
def test_slots_change_no_answer_and_no_plan_knows_them(field, world):
    assert world.answers(slots=SLOT_ENTRIES[field]) == world.answers()
    assert not {"slots", "batch_size", "run_id"} & inspect.signature(plan_table).parameters.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_a_feature_is_its_class(kind):
    """Another kind is refused: it would make one class encode as another."""
    feature = next(feature for feature in TASK.features if type(feature) is kind)
    with pytest.raises(TaskError, match=rf"{kind.__name__}.kind='other'; it is always '{feature.kind}'"):
        replace(feature, kind="other")


@pytest.mark.parametrize("before", [SURE, LABELLED, NUMBERS, VECTOR, NAMED], ids=lambda task: task.output.kind)
def test_the_kind_of_an_output_counts(before, world):
    """The columns alone may be the same."""
    others = [after for after in (TASK, SURE, LABELLED, NUMBERS, VECTOR, NAMED) if after is not before]
    assert world.fingerprint(before) not in [world.fingerprint(after) for after in others]
    assert {row["prediction_error"] for row in world.answers(before)} == {None}


FILE_CHANGES: dict[str, tuple[bool, str, MlTask]] = {
    "start.txt": (True, "0.7", TASK),
    "side.txt": (True, "0.7", TASK),
    "lookup.txt": (True, "0.7", TASK),
    "vocabulary.json": (True, '{"c": ["c"]}', TASK),
    "tokenizer.json": (True, tokenizer("three", "two", "one"), TASK),
    "folder/deep/start.txt": (True, "0.7", task(model=FOLDER)),
    "folder/deep/more.txt": (True, "0.7", task(model=FOLDER)),
    "folder/.hidden": (False, "0.7", task(model=FOLDER)),
    "folder/__pycache__/x.pyc": (False, "0.7", task(model=FOLDER)),
    "unlisted.txt": (False, "0.7", TASK),
    "other.txt": (False, "0.7", TASK),
}


@pytest.mark.promise("M11", "M12")
@pytest.mark.parametrize("name", FILE_CHANGES)
def test_every_file_of_the_model_counts_and_no_other(name, tmp_path):
    """Weights, vocabularies, tokenizers, `files`, a file that an argument names, a file deep in a folder."""
    changes, content, task = FILE_CHANGES[name]
    world = World(tmp_path)
    before, answers = world.fingerprint(task), world.answers(task)
    world.write(world.models / name, content)
    assert (world.fingerprint(task) != before) == changes
    if name != "folder/deep/more.txt":  # a new file, which this factory does not open
        assert (world.answers(task) != answers) == changes


def test_a_file_that_is_rewritten_as_it_was_changes_nothing(world):
    before = world.fingerprint()
    for path in [*world.models.rglob("*.txt"), *world.code.rglob("*.py")]:
        path.write_text(path.read_text())
    assert world.fingerprint() == before


@pytest.mark.promise("T5")
def test_the_rows_count_by_the_files_that_hold_them(tmp_path):
    world = World(tmp_path)
    before = world.fingerprint()
    pq.write_table(TABLE.slice(1), tmp_path / "in.parquet")
    assert world.fingerprint() != before


def test_the_librarys_own_arithmetic_has_a_version(world, monkeypatch):
    before = world.fingerprint()
    monkeypatch.setattr(shards, "_FORMAT", shards._FORMAT + 1)
    assert world.fingerprint() != before


class Scaled(ModelLoader):
    """A user's loader with a state."""

    scale: Any = 1


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        (lambda loader: setattr(loader, "scale", 2), True),
        (lambda loader: setattr(loader, "device", "cpu"), False),
        (lambda loader: setattr(loader, "tasks", {"other": TASK}), False),
        (lambda loader: None, False),
    ],
)
def test_a_loader_counts_by_its_class_and_state(change: Callable[[Any], None], changes, world):
    def made(models):
        loader = Scaled(models)
        change(loader)
        return loader

    before = world.fingerprint(loader=Scaled)
    assert before != world.fingerprint()
    assert (world.fingerprint(loader=made) != before) == changes


@pytest.mark.parametrize("change", [{"name": "another"}, {"input": "another/table"}])
def test_a_loader_of_the_users_may_go_by_the_tasks_name(change, world):
    """A registry's loader does; a plain one opens what the task says."""
    assert world.fingerprint(task(**change), loader=Scaled) != world.fingerprint(loader=Scaled)
