"""Workers live on between jobs, with the code that they imported: no job runs other code than it was planned with."""

import dataclasses
import importlib
import os
import sys
from pathlib import Path

import pytest
from pyspark import SparkFiles
from test_score import TASK, lake, session  # noqa: F401  (fixtures)

from sparktorch_assets.errors import HostError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.ml_predict import spark_ml_predict
from sparktorch_assets.tasks import Hooks

HOOK = """
from {0}_helper import Limits, VALUE
from pathlib import Path

WORD = (Path(__file__).parent / "{0}_word.txt").read_text()

def mark(row, limits=Limits()):
    return row | {{"mark": f"{{VALUE}} {{limits.high}} {{WORD}}"}}
"""
HELPER = """
from dataclasses import dataclass

VALUE = "{value}"

@dataclass
class Limits:
    high: int = {high}
"""


class Code:
    """A hook `<name>_hook`, its helper and its data file, where the driver and the workers import from."""

    def __init__(self, name):
        self.name, self.folder = name, Path(SparkFiles.getRootDirectory())
        self.task = dataclasses.replace(
            TASK, hooks=Hooks(row_postprocessor=f"{name}_hook:mark"), hook_columns={"mark": "string"}
        )

    def write(self, *, value="one", high=1, word="a"):
        (self.folder / f"{self.name}_hook.py").write_text(HOOK.format(self.name))
        (self.folder / f"{self.name}_helper.py").write_text(HELPER.format(value=value, high=high))
        (self.folder / f"{self.name}_word.txt").write_text(word)

    @property
    def files(self):
        return sorted(self.folder.glob(f"{self.name}_*"))


def marks(lake, task):  # noqa: F811
    report = lake.score(task)
    return report.shards_new, {row["mark"] for row in lake.rows()}


@pytest.mark.slow
@pytest.mark.promise("M14")
@pytest.mark.parametrize("same_times", [False, True], ids=["", "same times"])
def test_an_edit_below_a_hook_is_run_and_scores_everything(same_times, lake):  # noqa: F811
    """The hook's own file stays. Its helper changes: a value, a dataclass' default, a data file; also where size and time
    stay, so that Python takes the old bytecode for the new text. With and without another code version."""
    code = Code(f"below{same_times:d}")
    for number in range(2):
        lake.write(f"file{number}", 20)

    def write(**changes):
        code.write(**changes)
        for path in code.files if same_times else ():
            os.utime(path, (1e9, 1e9))

    write()
    assert marks(lake, code.task) == (2, {"one 1 a"})
    write(value="two")
    assert marks(lake, code.task) == (2, {"two 1 a"})
    write(value="two", high=2)
    assert marks(lake, code.task) == (2, {"two 2 a"})
    write(value="two", high=2, word="b")
    assert marks(lake, code.task) == (2, {"two 2 b"})
    write(value="six", high=2, word="b")
    assert marks(lake, dataclasses.replace(code.task, code_version="2")) == (2, {"six 2 b"})
    assert lake.score(dataclasses.replace(code.task, code_version="2")).changed is False
    write(value="one")
    assert marks(lake, code.task) == (0, {"one 1 a"})  # the first version's parts are still there


LAMBDA = "import {0}_helper\nhook = lambda row: row | {{'mark': {0}_helper.VALUE}}"


@pytest.mark.slow
def test_a_lambda_of_a_notebook_runs_with_the_helper_as_it_is_now(session):  # noqa: F811
    """It travels by value, and the module that it refers to by name: a worker may have imported an older one."""
    code = Code("noted")
    frame = session.range(8).selectExpr("id", "1.0D AS a", "2.0D AS b")
    task = dataclasses.replace(code.task, hooks=Hooks(row_postprocessor="noted_hook:mark"))
    found = []
    for value in ("one", "two"):
        code.write(value=value)
        sys.modules.pop("noted_helper", None)  # as the user's importlib.reload
        importlib.invalidate_caches()
        notebook = {"__name__": "__main__"}
        exec(LAMBDA.format("noted"), notebook)
        predicted = spark_ml_predict(
            session, frame, task, row_postprocessor=notebook["hook"], model_loader=ModelLoader(".")
        )
        found.append({row["mark"] for row in predicted.collect()})
    assert found == [{"one"}, {"two"}]


EDITS_ITSELF = """
from pathlib import Path

def mark(row):
    helper = Path(__file__).parent / "edited_helper.py"
    if "one" in helper.read_text():
        helper.write_text("VALUE = 'two'")
    import edited_helper
    return row | {"mark": edited_helper.VALUE}
"""


def test_code_that_changes_while_a_run_imports_it_ends_the_run(lake):  # noqa: F811
    """The helper is imported late, in a version that was not planned; nothing is committed. The next run is planned with it."""
    folder = Path(SparkFiles.getRootDirectory())
    (folder / "edited_hook2.py").write_text(EDITS_ITSELF)
    (folder / "edited_helper.py").write_text("VALUE = 'one'")
    lake.write("one", 20)
    task = dataclasses.replace(
        TASK, hooks=Hooks(row_postprocessor="edited_hook2:mark"), hook_columns={"mark": "string"}
    )
    with pytest.raises(HostError, match=r"module 'edited_helper' on .* is not what this job was planned with"):
        lake.score(task)
    assert not lake.table.joinpath("_delta_log").exists()
    assert marks(lake, task) == (1, {"two"})
