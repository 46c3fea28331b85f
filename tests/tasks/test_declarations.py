"""Declarations: a bad value cannot survive construction, a good one is cheap, frozen and comparable."""

import math
import pickle
import subprocess
import sys
from pathlib import PurePath

import numpy as np
import pytest

from sparktorch_assets.errors import InputSchemaError, TaskError
from sparktorch_assets.tasks import (
    BatchPolicy,
    CategoricalFeature,
    ClassificationOutput,
    CustomFeature,
    Execution,
    Hooks,
    ImageFeature,
    InputTable,
    MlTask,
    ModelSpec,
    NumericFeature,
    RowFilter,
    SequenceFeature,
    SlotPolicy,
    TextFeature,
)

MODEL = ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"})
TYPES = {"id": "int64", "x": "double", "name": "string", "image": "binary"}


def make(**changes):
    given = {
        "name": "t",
        "input": "table",
        "model": MODEL,
        "features": [NumericFeature(columns=["x"])],
        "labels": ["0", "1"],
    }
    return MlTask(**given | changes)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: make(name="Late Arrival"), "lower-case"),
        (lambda: make(input="../x"), "asset key"),
        (lambda: make(features=[], model=ModelSpec(weights="m.pt2")), "declare at least one group"),
        (lambda: make(labels=[]), "labels is empty"),
        (lambda: make(labels=["a", "a"]), "more than once"),
        (lambda: make(labels="ab"), r"labels='ab' stands alone; write a list: \['ab'\]"),
        (lambda: make(labels=[0, 1]), "quote it in YAML"),
        (lambda: make(output=ClassificationOutput(top_k=9)), "more than the"),
        (lambda: make(hook_columns={"band": "string"}), "there is no hook"),
        (lambda: make(hook_columns={"band": "text"}, hooks=Hooks(row_postprocessor=dict)), "Known: binary"),
        (lambda: make(max_failed_share=1.5), r"\[0, 1\]"),
        (lambda: make(max_dropped_share=-0.1), r"max_dropped_share=-0.1 must lie in \[0, 1\]"),
        (lambda: make(cron="daily"), "five fields"),
        (lambda: make(cron="0 3 * * *", timezone="Europe/Viena"), "timezone='Europe/Viena' is no .* 'Europe/Vienna'"),
        (lambda: make(cron="0 3 * * *", timezone="Europe"), "timezone='Europe' is no time zone"),
        (lambda: make(cron="0 3 * * *", timezone="../UTC"), "timezone='../UTC' is no time zone"),
        (lambda: make(timezone="Asia/Tokyo"), r"timezone='Asia/Tokyo' is the .* of `cron`, .* runtime_definitions\("),
        (lambda: make(labels=["x"], model=ModelSpec(weights="m.pt2")), r"\['x'\] is a single class.*Name both classes"),
        (lambda: make(labels={"a", "b"}), r"labels=.* \(set\); expected a list in which every item is a string"),
        (lambda: make(model="a.pt2"), r"model='a.pt2' \(str\); expected ModelSpec\(\.\.\.\)"),
        (lambda: make(model={"weights": "a.pt2"}), r"model=.* \(dict\); expected ModelSpec\("),
        (lambda: make(features=[{"kind": "numeric"}]), r"features\[0\]=.* \(dict\); expected NumericFeature\("),
        (lambda: make(features=NumericFeature(columns=["x"])), r"stands alone; write a list: \[NumericFeature"),
        (lambda: make(where=RowFilter(column="x", value=1)), r"where=.* stands alone; write a list: \[RowFilter"),
        (lambda: make(batch=512), r"MlTask 't': batch=512 \(int\); expected BatchPolicy\("),
        (lambda: make(execution="bf16"), r"execution='bf16' \(str\); expected Execution\("),
        (lambda: make(max_failed_share="x"), r"max_failed_share='x' \(str\); expected a number, without quotes"),
        (lambda: make(max_failed_share=True), r"max_failed_share=True \(bool\); expected a number"),
        (lambda: make(max_failed_rows=1.5), r"max_failed_rows=1.5 \(float\); expected a whole number or None"),
        (lambda: make(preview_rows=None), r"preview_rows=None \(NoneType\); expected a whole number"),
        (lambda: make(code_version=2), r"code_version=2 \(int\); expected a string \(quote it in YAML\)"),
        (lambda: make(cron=5), r"cron=5 \(int\); expected a string or None"),
        (lambda: make(max_failed_rows=np.int64(3)), r"\(numpy.int64\); expected a whole number.*`\.item\(\)`"),
        (
            lambda: NumericFeature(columns=["x"], fill="0"),
            r"fill='0' \(str\); expected a number or None, without quotes",
        ),
        (lambda: SequenceFeature(column="s", dtype="int64", fill=0.5), "fill=0.5 is not an int64"),
        (lambda: SequenceFeature(column="s", dtype="int64", fill=math.nan), "fill=nan is not an int64"),
        (lambda: ImageFeature(column="i", height=2, width=2, fill=128), r"ImageFeature.fill=128 must lie in \[0, 1\]"),
        (lambda: ImageFeature(column="i", height=2, width=2, mean="0.5"), r"mean='0.5' \(str\); expected a list"),
        (
            lambda: ImageFeature(column="i", height=2, width=2, mean=0.5),
            r"mean=0.5 stands alone; write a list: \[0.5\]",
        ),
        (lambda: ImageFeature(column="i", height=2, width=2, std=["a"]), r"std\[0\]='a' \(str\); expected a number"),
        (lambda: ImageFeature(column="i", height=2, width=2, std=[math.inf]), "every value must be finite"),
        (lambda: ImageFeature(column="i", height=2, width=2, channels=True), "channels=True; Known: 1, 3"),
        (lambda: ImageFeature(column="i", height=8.5, width=2), r"height=8.5 \(float\); expected a whole number"),
        (lambda: ImageFeature(column="i", height=2, width=2, resample="cubic"), "did you mean 'bicubic'"),
        (lambda: CategoricalFeature(columns=["c"], vocabulary={"c": "abc"}), r"\['c'\]='abc' \(str\); expected a list"),
        (lambda: CategoricalFeature(columns=["a"], vocabulary=["a"]), r"vocabulary\[0\]='a' .*expected a pair"),
        (lambda: CustomFeature(columns=["a"], encoder="json:loads", sequences="no"), "expected true or false, without"),
        (
            lambda: ModelSpec(weights="m.pt2", trust_code="no"),
            r"trust_code='no' \(str\); expected true or false, without",
        ),
        (lambda: ModelSpec(weights="m.pt2", trust_code=1), r"trust_code=1 \(int\); expected true or false"),
        (lambda: ModelSpec(weights=3), r"ModelSpec.weights=3 \(int\); expected a string, a path or None"),
        (lambda: ModelSpec(weights=""), "ModelSpec.weights holds an empty string"),
        (lambda: ModelSpec(weights="m.h5", format="keras"), "ModelSpec.format='keras'; Known: aotinductor, export"),
        (lambda: ModelSpec(weights="m.pt2", format="factory"), "no factory is named; set ModelSpec.factory"),
        (lambda: ModelSpec(weights="m.pt2", sha256=3), r"sha256=3 \(int\); expected a string or None"),
        (lambda: ModelSpec(weights="m.pt2", arguments="x"), r"arguments='x' \(str\); expected a mapping"),
        (lambda: ModelSpec(weights="m.pt2", arguments=[("a", 1), ("a", 2)]), "arguments names 'a' more than once"),
        (
            lambda: ModelSpec(weights="m.pt2", files="vocabulary.txt"),
            r"stands alone; write a list: \['vocabulary.txt'\]",
        ),
        (lambda: BatchPolicy(batch_timeout_s=math.inf), "batch_timeout_s=inf must be a number above 0"),
        (lambda: BatchPolicy(deduplicate="no"), r"deduplicate='no' \(str\); expected true or false"),
        (lambda: Execution(min_agreement="0.9"), r"min_agreement='0.9' \(str\); expected a number or None, without"),
        (lambda: Hooks(row_preprocessor=3), r"row_preprocessor=3 \(int\); expected a string, a function or None"),
        (lambda: InputTable(name="t", source=None, format="csv", columns={"a": "int"}), r"source=None \(NoneType\)"),
        (lambda: InputTable(name="t", source="a", format="csv", columns={"v": "list<float>"}), "CSV files cannot hold"),
        (lambda: InputTable(name="t", source="a", format="csv", columns=["a"]), r"columns\[0\]='a' .*expected a pair"),
        (lambda: NumericFeature(columns="x"), r"write a list: \['x'\]"),
        (lambda: CategoricalFeature(columns=["a", "b"], vocabulary={"a": ["1"]}), "no values for b"),
        (lambda: TextFeature(column="t", max_tokens=0), "above 0"),
        (lambda: ImageFeature(column="i", height=2, width=2, channels=3, mean=(0.1, 0.2)), "one per channel"),
        (lambda: ImageFeature(column="i", height=2, width=2, std=(0.0,)), "above 0"),
        (lambda: CustomFeature(columns=["a"], encoder="no_colon"), "package.module:attribute"),
        (lambda: SequenceFeature(column="s", dtype="int32"), "Known: float32, int64"),
        (lambda: SequenceFeature(column="s", max_length=0), "above 0"),
        (lambda: Execution(precision="int8-dynamic", compile="torch.compile"), "set compile='none'"),
        (ModelSpec, "neither weights nor factory"),
        (lambda: ModelSpec(weights="m.h5"), r"does not say what the format is; .* or ModelSpec\.factory to code"),
        (
            lambda: ModelSpec(weights="bert", architecture="a:B"),
            r"If it is a folder, name the file in it, or set ModelSpec\.factory",
        ),
        (lambda: ModelSpec(weights="bert", arguments={"size": 3}), r"arguments is given, .* drop arguments"),
        (lambda: ModelSpec(weights="m.safetensors"), "architecture"),
        (lambda: ModelSpec(factory="a:b", sha256="0" * 64), "no weights are named"),
        (lambda: ModelSpec(weights="m.pt2", sha256="abc"), "64 lower-case"),
        (lambda: ModelSpec(weights="m.pt2", arguments={"a": {"b": 1}}), "mapping inside a value"),
        (lambda: RowFilter(column="a", op="=", value=1), "Known: !=, <"),
        (lambda: RowFilter(column="a", op="in", value="b"), "needs a list"),
        (lambda: RowFilter(column="a", value=None), "needs one value"),
        (lambda: BatchPolicy(batch_size=0), "above 0"),
        (lambda: SlotPolicy(models_per_gpu=0), "above 0"),
        (lambda: SlotPolicy(device="gpu"), "auto, cpu or cuda"),
        (lambda: Hooks(row_preprocessor="nope"), "package.module:attribute"),
        (lambda: InputTable(name="t", source="a/*", format="xml", columns={"a": "int"}), "Known: csv, json, parquet"),
        (lambda: InputTable(name="t", source="a/*", format="csv", columns={"a": "integer"}), "did you mean"),
    ],
)
def test_bad_value_is_refused_with_the_way_out(build, message):
    """What cannot work is refused where it is written, and the message says what to write instead."""
    with pytest.raises(TaskError, match=message):
        build()


def test_tasks_are_values():
    """Equal declarations are equal, hashable and survive pickling (Spark ships them to workers)."""
    task = make(hooks=Hooks(row_preprocessor="json:loads"), where=[RowFilter(column="x", op="in", value=[1, 2])])
    again = make(hooks=Hooks(row_preprocessor="json:loads"), where=[RowFilter(column="x", op="in", value=[1, 2])])
    assert task == again
    assert hash(task) == hash(again)
    assert pickle.loads(pickle.dumps(task)) == task


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": [NumericFeature(columns=["y"])]}, "features needs column 'y'.*Known: id, image, name, x"),
        ({"features": [NumericFeature(columns=["name"])]}, "'name' has type string"),
        ({"features": [TextFeature(column="x")]}, "'x' has type double; it must be string"),
        ({"features": [SequenceFeature(column="x")]}, "'x' has type double; it must be a list of numbers"),
        ({"features": [ImageFeature(column="name", height=1, width=1)]}, "must be binary"),
        ({"keep_columns": ["idd"]}, "did you mean 'id'"),
        ({"where": [RowFilter(column="z", value=1)]}, "where needs column 'z'"),
    ],
)
def test_input_is_checked_before_anything_runs(changes, message):
    """A missing column names those that are there; a wrong type names the type and the remedy."""
    task = make(**changes)
    with pytest.raises(InputSchemaError, match=message):
        task.check_input(TYPES)


def test_collision_names_the_way_out():
    """A kept column is never overwritten: the error proposes a prefix, and with the prefix it works."""
    types = TYPES | {"confidence": "double"}
    with pytest.raises(InputSchemaError, match="output_prefix"):
        make().check_input(types)
    make(output_prefix="t_").check_input(types)
    make(keep_columns=["id"]).check_input(types)


def test_only_needed_columns_are_read():
    """Kept, feature and filter columns; all of them where a preprocessor may look at any."""
    task = make(keep_columns=["id"], where=[RowFilter(column="name", value="a")])
    assert task.read_columns(list(TYPES)) == ("id", "x", "name")
    hooked = make(keep_columns=["id"], hooks=Hooks(row_preprocessor="json:loads"))
    assert hooked.read_columns(list(TYPES)) == tuple(TYPES)


@pytest.mark.promise("M61")
@pytest.mark.parametrize(
    ("limit", "dropped", "rows", "too_many"),
    [(0.5, 50, 100, False), (0.5, 51, 100, True), (0.0, 1, 100, True), (1.0, 100, 100, False), (0.0, 0, 0, False)],
)
def test_dropped_rows_have_a_limit(limit, dropped, rows, too_many):
    """A hook that forgets `return` drops every row: the message asks for it. An empty input has nothing to drop."""
    message = make(max_dropped_share=limit).check_drops(dropped, rows)
    assert (message is not None) == too_many
    assert not message or f"dropped {dropped} of {rows} rows" in message
    assert not message or "forget to return the row" in message


def test_a_wrong_option_is_not_shown():
    """Options may hold a secret: the message says where it stands, and not what it is."""
    for options in ("hunter2", {"password": object()}, {"password": ["hunter2"]}, ["hunter2"], {"nullValue": None}):
        with pytest.raises(TaskError, match=r"InputTable 't': options.* \(\w+\); expected") as refused:
            InputTable(name="t", source="a", format="csv", columns={"a": "int"}, options=options)
        assert "hunter2" not in str(refused.value)


def test_a_path_object_and_its_text_declare_the_same():
    """Wherever a file is named, so that a table is not scored anew for the difference."""

    def declared(path):
        categorical = CategoricalFeature(columns=["c"], vocabulary=path("v.json"))
        text = TextFeature(column="t", tokenizer=path("t.json"))
        model = ModelSpec(weights=path("a/m.pt2"), files=[path("f")])
        return make(model=model, features=[categorical, text]), InputTable(
            name="t", source=path("in/*.csv"), format="csv", columns={"a": "int"}
        )

    assert repr(declared(PurePath)) == repr(declared(str))
    assert declared(PurePath)[0].files == ("a/m.pt2", "f", "v.json", "t.json")


def test_lists_may_be_any_ordered_collection():
    """Tuples, generators, dictionary views and arrays: each is read once, and frozen."""
    expected = make(labels=["a", "b"])
    for labels in (("a", "b"), iter("ab"), {"a": 0, "b": 1}.keys(), np.array(["a", "b"])):
        assert make(labels=labels) == expected


def test_declaring_needs_the_standard_library_alone():
    """Declaring a task imports neither torch, pyarrow, Spark nor Dagster."""
    code = (
        "import sys\n"
        "from sparktorch_assets import MlTask, ModelSpec, NumericFeature\n"
        "MlTask(name='t', input='i', model=ModelSpec(weights='m.pt2'), features=[NumericFeature(columns=['x'])],"
        " labels=['a', 'b'])\n"
        "print([m for m in ('torch', 'pyarrow', 'pyspark', 'dagster', 'numpy', 'pandas') if m in sys.modules])\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("found", "numbers"),
    [
        ("list<item: float>", True),
        ("list<element: int64 not null>", True),
        ("large_list<item: double>", True),
        ("fixed_size_list<item: float>[3]", True),
        ("list<item: decimal128(10, 2)>", True),
        ("list<item: bool>", True),
        ("list<item: null>", True),
        ("list<item: string>", False),
        ("list<item: list<item: float>>", False),
        ("list<item: struct<a: double>>", False),
        ("struct<a: list<item: float>>", False),
    ],
)
def test_a_sequence_is_a_list_of_numbers(found, numbers):
    task = MlTask(
        name="t",
        model=ModelSpec(factory="m:f"),
        features=[SequenceFeature(column="s")],
        labels=["a", "b"],
        keep_columns=[],
    )
    if numbers:
        task.check_input({"s": found})
    else:
        with pytest.raises(InputSchemaError, match="must be a list of numbers"):
            task.check_input({"s": found})
