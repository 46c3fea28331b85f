"""docs/troubleshooting.md has an entry for every exception, and quotes messages as they are raised."""

import ast
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from dagster.components.testing import create_defs_folder_sandbox
from deltalake import write_deltalake
from fake_session import FakeSession
from page_blocks import blocks_run_by
from safetensors.torch import save_file

from sparktorch_assets import (
    AuditPolicy,
    Hooks,
    ImageFeature,
    InputTable,
    MlTask,
    ModelLoader,
    ModelSpec,
    NumericFeature,
    SparkSessionResource,
    StaticPartitions,
    errors,
    materialize_input,
    predict_frame,
    predict_map,
    score_partitions,
    score_table,
)
from sparktorch_assets.orchestration.commands.dev import require_free_port

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ENTRIES = dict(
    re.findall(
        r"^### (\w+)\n(.*?)(?=^###? |\Z)",
        PAGE.split("\n## Errors of this library\n")[1].split("\n## ")[0],
        re.DOTALL | re.MULTILINE,
    )
)
"""Class -> the text of its entry."""
BLOCKS = [" ".join(block.text.split()) for block in blocks_run_by(__file__)]
QUOTES = [(name, text) for name, _, text in (block.partition(": ") for block in BLOCKS) if name in ENTRIES]
OF_DAGSTER = {block for block in BLOCKS if block.partition(": ")[0] not in ENTRIES}
FRAME = pd.DataFrame({"id": [1, 2, 3], "x": [0.5, -1.0, 2.0]})


class FailingGpu(ModelLoader):
    def load_module(self, ml_task, device):
        raise RuntimeError("CUDA error: device-side assert triggered")


def network(name, **arguments):
    return ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": name} | arguments)


def linear(file, **sizes):
    return ModelSpec(weights=file, architecture="torch.nn:Linear", arguments=sizes)


def task(**fields):
    given = {"name": "risk", "model": network("Echo"), "features": [NumericFeature(columns=["x"])]}
    return MlTask(**(given | {"labels": ["low", "high"]} | fields))


def predict(frame=FRAME, **fields):
    return predict_frame(frame, task(**fields), model_loader=ModelLoader("models"))


def no_session():
    raise AssertionError("nothing is to be computed")


def score(one=None, *, session=no_session, source="trips", table="lake/risk"):
    return score_table(session, source, one or task(), output_table=table, model_loader=ModelLoader("models"))


class Overtaken(FakeSession):
    """A session in whose first job another run commits to the same table."""

    def run(self, pickled, end):
        found = super().run(pickled, end)
        score(task(labels=["left", "right"]), session=FakeSession())
        return found


def a_program():
    Path("models/risk.pt2").write_bytes(b"a program")
    score(task(model=ModelSpec(weights="risk.pt2")))


def three_logits():
    save_file(torch.nn.Linear(1, 3).state_dict(), "models/three.safetensors")
    predict(model=linear("three.safetensors", in_features=1, out_features=3))


def other_sizes():
    save_file(torch.nn.Linear(2, 2).state_dict(), "models/wide.safetensors")
    predict(model=linear("wide.safetensors", in_features=1, out_features=2))


def a_forgotten_return():
    Path("troubled_hooks.py").write_text("def clean(row):\n    row['x'] = abs(row['x'])\n")
    score(task(hooks=Hooks(row_preprocessor="troubled_hooks:clean")), session=FakeSession())


def a_foreign_table():
    write_deltalake("lake/own", pa.table({"x": [1]}))
    score(table="lake/own")


def a_source_without_files():
    table = InputTable(name="trips", source="data/trips/*.parquet", format="parquet", columns={"id": "long"})
    materialize_input(no_session, table, project_root=".", table_uri="lake/trips")


def a_failing_partition():
    pq.write_table(pa.Table.from_pandas(FRAME.assign(ds=["one", "one", "two"])), "days.parquet")
    days = StaticPartitions(column="ds", values=["one", "two"])
    score_partitions(
        FakeSession(),
        "days.parquet",
        task(model=network("FailsOnValue", value=2.0)),
        output_table="lake/days",
        model_loader=ModelLoader("models"),
        partitions=days.table_partitions(days.keys, {"ds": "string"}, "days"),
    )


def a_taken_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        require_free_port(taken.getsockname()[1])


CAUSES = {
    "a text for a number": lambda: task(max_failed_share="5 %"),
    "an unknown type": lambda: InputTable(name="trips", source="a.csv", format="csv", columns={"id": "integer"}),
    "a missing module": lambda: score(task(hooks=Hooks(row_preprocessor="my_project.hooks:clean"))),
    "a function object": lambda: score(task(hooks=Hooks(row_preprocessor=lambda row: row))),
    "an unknown task": lambda: list(predict_map(0, [], "rsik", model_loader=ModelLoader("models", tasks=[task()]))),
    "a missing column": lambda: predict(features=[NumericFeature(columns=["distanse"])]),
    "a column of texts": lambda: predict(FRAME.assign(x=["a", "b", "c"])),
    "a column that is there": lambda: predict(FRAME.assign(confidence=1.0)),
    "no weights": lambda: score(task(model=linear("risk.safetensors"))),
    "an untrusted program": a_program,
    "three logits for two labels": three_logits,
    "weights of other sizes": other_sizes,
    "every row fails": lambda: predict(pd.DataFrame({"x": [2.0] * 300}), model=network("FailsOnValue", value=2.0)),
    "a list from a row hook": lambda: predict(hooks=Hooks(row_preprocessor=lambda row: [row])),
    "another index": lambda: predict(
        hooks=Hooks(batch_preprocessor=lambda frame: frame[frame.x > 0].reset_index(drop=True))
    ),
    "columns left out": lambda: predict(hooks=Hooks(row_postprocessor=lambda row: {"id": row["id"]})),
    "no GPU": lambda: predict_frame(FRAME, task(), model_loader=ModelLoader("models", device="cuda")),
    "a failing GPU": lambda: predict_frame(FRAME, task(), model_loader=FailingGpu("models")),
    "a taken port": a_taken_port,
    "a variable that is not set": lambda: (
        SparkSessionResource(
            config_from_environment={"spark.hadoop.fs.s3a.secret.key": "NO_SUCH_VARIABLE"}
        ).spark_session
    ),
    "no input": lambda: score(source="lake/trips"),
    "no source files": a_source_without_files,
    "a foreign table": a_foreign_table,
    "another run": lambda: score(session=Overtaken()),
    "too few rows": lambda: score(task(audit=AuditPolicy(min_rows=10)), session=FakeSession(), table="lake/audited"),
    "a failing partition": a_failing_partition,
    "a failing row": lambda: score(task(model=network("FailsOnValue", value=2.0)), session=FakeSession()),
    "a forgotten return": a_forgotten_return,
}


@pytest.fixture(scope="module")
def raised(tmp_path_factory):
    """Cause -> the exception, in a folder with a table of three rows and no models, on a host without a GPU."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("project")
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.delenv("NO_SUCH_VARIABLE", raising=False)
        (folder / "models").mkdir()
        (folder / "trips").mkdir()
        pq.write_table(pa.Table.from_pandas(FRAME), folder / "trips" / "a.parquet")
        for cause, function in CAUSES.items():
            with pytest.raises(errors.SparktorchError) as caught:
                function()
            found[cause] = caught.value
    return found


def quotes_of(error):
    """The quotes of the page that are this error's message: an ellipsis stands for what was left out, and a port is
    whatever was free."""
    return {(name, quote) for name, quote in QUOTES if name == type(error).__name__ and is_quote(quote, str(error))}


def is_quote(quote, message):
    pattern = re.escape(_PORT.sub("PORT", quote)).replace(r"\.\.\.", ".+?")
    return re.fullmatch(pattern, _PORT.sub("PORT", " ".join(message.split())))


_PORT = re.compile(r"(?<=port )\d+|(?<=PORT=)\d+")


def templates():
    """(class, pattern) of each message that the source spells out where it raises it."""
    for path in sorted((ROOT / "sparktorch_assets").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name) and node.func.id in ENTRIES:
                (text, *_) = node.args
                parts = list(ast.iter_child_nodes(text)) if isinstance(text, ast.JoinedStr) else [text]
                fixed = [part.value if isinstance(part, ast.Constant) else None for part in parts]
                if sum(len(part) for part in fixed if part) > 20:
                    yield node.func.id, "".join(".*" if part is None else re.escape(part) for part in fixed)


def test_every_exception_has_an_entry():
    public = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert ENTRIES.keys() == public
    assert {name for name, _ in QUOTES} == public, "an entry quotes no message"


@pytest.mark.parametrize("cause", CAUSES)
def test_what_is_raised_is_on_the_page(cause, raised):
    assert len(quotes_of(raised[cause])) == 1, raised[cause]


def test_what_the_page_quotes_is_raised(raised):
    """Or is spelled out where the source raises it, if that takes a cluster, a full disk or no Java."""
    found = {quote for error in raised.values() for quote in quotes_of(error)}
    spelled = list(templates())
    invented = [
        quote
        for quote in set(QUOTES) - found
        if not any(name == quote[0] and re.fullmatch(pattern, quote[1]) for name, pattern in spelled)
    ]
    assert not invented


@pytest.mark.parametrize(
    ("frame", "fields"),
    [
        (FRAME.assign(x=[None, 1.0, 2.0]), {}),
        (FRAME, {"model": network("NotFiniteOnValue", value=2.0)}),
        (FRAME, {"model": network("FailsOnValue", value=2.0)}),
        (FRAME, {"hooks": Hooks(row_preprocessor=lambda row: row | {"x": row["x"] / (row["id"] - 1)})}),
        (FRAME.assign(photo=b"no image"), {"features": [ImageFeature(column="photo", height=4, width=4)]}),
    ],
    ids=["null", "not finite", "network", "hook", "image"],
)
def test_reasons_of_failed_rows_are_on_the_page(frame, fields):
    reason, *_ = predict(frame, **fields)["prediction_error"].dropna()
    assert f"| `{reason}` |" in PAGE


def test_a_misspelt_key_is_refused_as_the_page_says():
    text = "type: sparktorch_assets.MlTaskComponent\n\nattributes:\n  input: trips\n  max_faild_share: 0.02\n"
    text += "  model: {weights: risk.pt2}\n  features: [{kind: numeric, columns: [x]}]\n  labels: [low, high]\n"
    with create_defs_folder_sandbox() as sandbox:
        (sandbox.defs_folder_path / "risk").mkdir()
        (sandbox.defs_folder_path / "risk" / "defs.yaml").write_text(text)
        with sandbox.build_component_tree() as tree, pytest.raises(Exception) as caught:
            tree.load_component(sandbox.defs_folder_path / "risk")
    refused = caught.value
    while refused.__cause__ is not None:
        refused = refused.__cause__
    assert [quote for quote in OF_DAGSTER if is_quote(quote, str(refused))], refused


def test_dg_outside_of_a_project_says_what_the_page_says(tmp_path):
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")  # its first use prints a notice
    command = "import sys; from dagster_dg_cli.cli.entrypoint import main; sys.argv = ['dg', 'check', 'defs']; main()"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", command],
        cwd=tmp_path,
        env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert [quote for quote in OF_DAGSTER if is_quote(quote, done.stdout + done.stderr)], done.stderr
