"""Digests: whatever changes predictions changes them, whatever does not leaves them."""

import dataclasses
import functools
import sys

import pytest

from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.tasks import BatchPolicy, CategoricalFeature, Hooks, MlTask, ModelSpec, NumericFeature, RowFilter
from sparktorch_assets.tasks.digest import model_digest, task_digest
from sparktorch_assets.tasks.hooks import HOOKS
from sparktorch_assets.tasks.model_files import file_sha256

TASK = MlTask(
    name="t",
    input="table",
    model=ModelSpec(weights="m.pt2", trust_code=True),
    features=[NumericFeature(columns=["x"])],
    labels=["0", "1"],
)


@pytest.mark.parametrize(
    "change",
    [
        {"features": [NumericFeature(columns=["y"])]},
        {"features": [NumericFeature(columns=["x"], fill=0.0)]},
        {"labels": ["1", "0"]},
        {"where": [RowFilter(column="x", op=">", value=1)]},
        {"keep_columns": ["x"]},
        {"extras": ["scores"]},
        {"output_prefix": "p_"},
        {"code_version": "2"},
        {"hooks": Hooks(row_preprocessor="json:loads")},
    ],
)
def test_what_changes_the_table_changes_the_digest(change):
    """Features, labels, filters, columns, hooks and the code version each count."""
    assert task_digest(dataclasses.replace(TASK, **change)) != task_digest(TASK)


@pytest.mark.parametrize(
    "change",
    [{"description": "x"}, {"cron": "0 1 * * *"}, {"batch": BatchPolicy(batch_size=7)}, {"max_failed_share": 0.5}],
)
def test_what_does_not_change_the_table_does_not_change_the_digest(change):
    """Descriptions, schedules, batch sizes and limits leave predictions as they are."""
    assert task_digest(dataclasses.replace(TASK, **change)) == task_digest(TASK)


def test_hook_code_counts_but_comments_do_not(tmp_path, monkeypatch):
    """A changed line in the hook's module, also in a function that it calls, counts; comments and layout do not."""
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "a_users_hooks.py"
    task = dataclasses.replace(TASK, hooks=Hooks(row_preprocessor="a_users_hooks:clean"))

    def digest(source):
        module.write_text(source)
        sys.modules.pop("a_users_hooks", None)
        return task_digest(task)

    first = digest("def helper(row):\n    return row\ndef clean(row):\n    return helper(row)\n")
    commented = digest(
        "# a comment\ndef helper(row):\n    return row  # same\n\n\ndef clean(row):\n    return helper(row)\n"
    )
    changed = digest("def helper(row):\n    return None\ndef clean(row):\n    return helper(row)\n")
    assert first == commented
    assert first != changed
    assert "a_users_hooks" not in sys.modules, "the user's module was imported"


def marked(row):
    return row


class Marks:
    def __call__(self, row):
        return row

    def mark(self, row):
        return row


@pytest.mark.parametrize(
    "hook",
    [marked, lambda row: row, functools.partial(marked), Marks(), Marks().mark, functools.lru_cache(marked), len],
)
@pytest.mark.parametrize("field", HOOKS)
def test_hooks_that_are_function_objects_are_refused_with_the_way_out(hook, field):
    """A function's code has no name to go by: defaults, closures, wrapped functions and globals would go unseen."""
    task = dataclasses.replace(TASK, hooks=Hooks(**{field: hook}))
    with pytest.raises(TaskError, match=rf"Hooks\.{field} is a function object .*'my_module:my_function'"):
        task_digest(task)


def test_model_digest_follows_every_file(tmp_path):
    """Weights and vocabularies count by content; touching a file without changing it does not."""
    (tmp_path / "m.pt2").write_bytes(b"weights")
    (tmp_path / "v.json").write_text('{"c": ["a"]}')
    task = dataclasses.replace(TASK, features=[*TASK.features, CategoricalFeature(columns=["c"], vocabulary="v.json")])
    first = model_digest(task, tmp_path)
    (tmp_path / "m.pt2").write_bytes(b"weights")
    assert model_digest(task, tmp_path) == first
    (tmp_path / "v.json").write_text('{"c": ["b"]}')
    assert model_digest(task, tmp_path) != first


def test_missing_weights_name_what_lies_beside_them(tmp_path):
    """The error names the path, the nearest file and where the path is configured."""
    (tmp_path / "model.pt2").write_bytes(b"")
    with pytest.raises(ModelError, match=r"there is no file .*m\.pt2; .*model\.pt2.*models_root"):
        model_digest(TASK, tmp_path)


def test_altered_weights_are_refused(tmp_path):
    """A file whose sha256 is not the declared one is refused with both digests."""
    (tmp_path / "m.pt2").write_bytes(b"weights")
    wrong = "0" * 64
    task = dataclasses.replace(TASK, model=ModelSpec(weights="m.pt2", sha256=wrong))
    with pytest.raises(ModelError, match=f"{file_sha256(tmp_path / 'm.pt2')}.*{wrong}"):
        model_digest(task, tmp_path)
