"""No process runs code of another digest than the one that it is asked for."""

import importlib
import os
import py_compile
import sys

import pytest

from sparktorch_assets.errors import HostError
from sparktorch_assets.tasks.code.closure import code_closure
from sparktorch_assets.tasks.code.imported_code import check_code


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes `checked_hook` and its `checked_helper`, forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(value):
        (tmp_path / "checked_hook.py").write_text("from checked_helper import VALUE\n")
        (tmp_path / "checked_helper.py").write_text(f"VALUE = {value!r}\n")
        return code_closure("checked_hook")

    yield write
    sys.modules.pop("checked_hook", None)
    sys.modules.pop("checked_helper", None)


def test_a_process_that_imported_another_version_refuses_the_new_one_and_still_takes_the_old_one(module):
    """The hook's own file did not change, its helper did."""
    old = module("old")
    check_code(old)
    import checked_hook

    check_code(old)
    new = module("new")
    with pytest.raises(HostError, match=r"another version of module 'checked_helper'.*start a new session"):
        check_code(new)
    check_code(old)  # a stream that began before the edit goes on
    assert checked_hook.VALUE == "old"


def test_code_that_is_not_what_was_planned_is_refused_before_it_is_imported(module):
    planned = module("planned")
    module("edited since")
    with pytest.raises(HostError, match=r"module 'checked_helper' on .* is not what this job was planned with"):
        check_code(planned)
    assert "checked_helper" not in sys.modules


def test_code_that_changes_while_it_is_imported_is_found_by_the_second_check(module):
    planned = module("planned")
    check_code(planned)
    module("changed")
    import checked_hook  # noqa: F401

    with pytest.raises(HostError, match="changed meanwhile"):
        check_code(planned)


def test_a_module_that_the_user_reloads_is_taken_as_it_is_now(module):
    first = module("one")
    import checked_hook

    check_code(first)
    second = module("two")
    importlib.reload(sys.modules["checked_helper"])
    importlib.reload(checked_hook)
    check_code(second)
    assert checked_hook.VALUE == "two"


@pytest.mark.promise("T13")
def test_a_raised_code_version_takes_another_process():
    """It vouches for what no digest sees, such as a library that was upgraded in place."""
    check_code({"a task of this test:code_version": "1"})
    check_code({"a task of this test:code_version": "1"})
    with pytest.raises(HostError, match="code of task 'a task of this test' under another code_version"):
        check_code({"a task of this test:code_version": "2"})


@pytest.mark.parametrize("mode", ["TIMESTAMP", "UNCHECKED_HASH"])
def test_bytecode_that_python_would_take_for_another_text_is_dropped(mode, module, tmp_path):
    """Equal size and time (two edits within a second, times that a deployment sets): Python would run the old code."""
    helper = tmp_path / "checked_helper.py"
    module("old")
    os.utime(helper, (1e9, 1e9))
    py_compile.compile(helper, invalidation_mode=py_compile.PycInvalidationMode[mode])
    edited = module("new")
    os.utime(helper, (1e9, 1e9))
    check_code(edited)
    assert importlib.import_module("checked_hook").VALUE == "new"


def test_data_files_are_compared_each_time(tmp_path, monkeypatch):
    """A module is imported once; a file that it names may be read with every batch."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "checked_reader.py").write_text(
        "from pathlib import Path\nWORDS = Path(__file__).with_name('words.txt')"
    )
    (tmp_path / "words.txt").write_text("old")
    old = code_closure("checked_reader")
    check_code(old)
    import checked_reader

    check_code(old)
    checked_reader.WORDS.write_text("new")
    with pytest.raises(HostError, match="the data files that module 'checked_reader' names on .* is not what"):
        check_code(old)
    with pytest.raises(HostError, match=r"already imported another version of the data files .* start a new session"):
        check_code(code_closure("checked_reader"))
    sys.modules.pop("checked_reader")


@pytest.mark.promise("M70")
@pytest.mark.parametrize("edited", ["checked_lib/v.py", "checked_words.txt"])
def test_files_that_run_as_code_are_compared_each_time(edited, tmp_path, monkeypatch):
    """They are imported under names by which the process cannot know them again, or under none."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "checked_lib").mkdir()
    (tmp_path / "checked_lib" / "v.py").write_text("VALUE = 1")
    (tmp_path / "checked_words.txt").write_text("one")
    (tmp_path / "checked_settings.py").write_text("NAME = 'checked_words.txt'")
    (tmp_path / "checked_runner.py").write_text(
        "import runpy\nfrom pathlib import Path\nfrom checked_settings import NAME\nHERE = Path(__file__).parent\n"
        "WORDS = (HERE / NAME).read_text()\n"
        "VALUE = runpy.run_path(str(HERE / 'checked_lib' / ('v' + '.py')))['VALUE']\n"
    )
    old = code_closure("checked_runner")
    check_code(old)
    importlib.import_module("checked_runner")
    check_code(old)
    (tmp_path / edited).write_text("VALUE = 2")
    with pytest.raises(
        HostError, match="already imported another version of the files that module 'checked_runner' and"
    ):
        check_code(
            {piece: digest for piece, digest in code_closure("checked_runner").items() if piece.endswith("together")}
        )
    sys.modules.pop("checked_runner"), sys.modules.pop("checked_settings")
