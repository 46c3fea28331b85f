"""What follows from a declaration alone is found once; what follows from files, code and mutable values is not kept."""

import dataclasses
import gc
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from sparktorch_assets.predict.frame import predict_frame
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.tasks import CategoricalFeature, CustomFeature, Hooks, MlTask, ModelSpec
from sparktorch_assets.tasks.digest import model_digest, task_digest
from sparktorch_assets.tasks.files.model_files import named_files
from sparktorch_assets.tasks.per_declaration import PerDeclaration

ENTRIES = 50_000
SMALL_BYTES = 300_000
"""Less than one object per entry takes."""


def wide(entries, **given):
    """A task whose vocabulary has these entries."""
    return MlTask(
        name="t",
        model=ModelSpec(factory="wide_nets:build", trust_code=True),
        features=[CategoricalFeature(columns=["c"], vocabulary={"c": entries})],
        labels=["0", "1"],
        **given,
    )


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A module whose model answers from the index of a category, and a hook."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "wide_nets.py").write_text(
        "import torch\n"
        "class Parity(torch.nn.Module):\n"
        "    def forward(self, c_BK):\n"
        "        return torch.nn.functional.one_hot(c_BK[:, 0] % 2, 2).float()\n"
        "def build(path, device):\n"
        "    return Parity()\n"
        "def keep(row):\n"
        "    return row\n"
    )
    return tmp_path


def bytes_made(work):
    """The most bytes that the objects take which `work` makes."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.promise("M237")
def test_a_large_vocabulary_is_walked_once_per_declaration(nets):
    """The second time, a digest and the key of the model's cache make nothing that is as large as the vocabulary; the
    first time shows that it would be noticed."""
    task, loader = (
        wide([f"v{index}" for index in range(ENTRIES)], hooks=Hooks(row_postprocessor="wide_nets:keep")),
        ModelLoader(nets),
    )
    for find in (task_digest, loader.cache_key):
        assert bytes_made(lambda find=find: find(task)) > SMALL_BYTES
        assert bytes_made(lambda find=find: find(task)) < SMALL_BYTES
    partition = dataclasses.replace(task, name="other", keep_columns=["c"], hooks=Hooks())
    assert bytes_made(lambda: loader.cache_key(partition)) < SMALL_BYTES, "the features are the same objects"
    (nets / "wide_nets.py").write_text((nets / "wide_nets.py").read_text().replace("return row", "return None"))
    assert task_digest(task) != task_digest(dataclasses.replace(task, hooks=Hooks()))


@pytest.mark.promise("M237")
def test_texts_among_arguments_are_gathered_once(nets):
    """A vocabulary may also be an argument of an encoder. The files that it names are looked up each time."""
    entries = [f"v{index}" for index in range(ENTRIES)]
    feature = CustomFeature(columns=["c"], encoder="wide_nets:build", arguments={"known": entries})
    task = dataclasses.replace(wide(["a"]), features=[feature])
    assert named_files(task, nets) == []
    assert bytes_made(lambda: named_files(task, nets)) < SMALL_BYTES
    (nets / "v17").write_text("1")
    (nets / "v3").mkdir()
    assert named_files(task, nets) == ["v3", "v17"]
    assert named_files(task, nets / "missing") == []


def test_files_are_found_among_many_texts_as_among_few(tmp_path):
    """Whatever way a text takes to the file: by dots, absolute, in other letters, over a link that leads elsewhere."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    for path in (root / "m.pt", root / "sub" / "v.json", root / "größe", outside / "o.bin"):
        path.write_text("1")
    (root / "link").symlink_to(outside)
    odd = [
        *("m.pt", "M.PT", "./m.pt", "sub", "sub/", "sub/v.json", "sub/../m.pt", "../root/m.pt", "größe", "link", "link/o.bin"),
        *("", ".", "..", "../outside/o.bin", "a\0b", "m.pt/x", "missing", "sub/missing", str(root / "m.pt"), str(root)),
    ]  # fmt: skip

    def found(texts):
        feature = CustomFeature(columns=["c"], encoder="json:loads", arguments={"known": texts})
        return named_files(dataclasses.replace(wide(["a"]), features=[feature]), root)

    few = found(odd)
    assert {"m.pt", "./m.pt", "sub/v.json", "größe", "link/o.bin", "../root/m.pt"} <= set(few)
    assert found([*odd, *(f"word {number}" for number in range(2_000))]) == few


@pytest.mark.promise("M238")
def test_a_list_that_changes_after_the_declaration_changes_nothing(nets):
    """Neither what is predicted, nor what was found out about it."""
    entries = ["a", "b", "c"]
    pairs = [["c", entries]]
    task = wide(entries)
    of_pairs = dataclasses.replace(task, features=[CategoricalFeature(columns=["c"], vocabulary=pairs)])
    loader, rows = ModelLoader(nets), pd.DataFrame({"c": ["a", "b", "c"]})
    digests = task_digest(task), task_digest(of_pairs), loader.cache_key(task)
    answers = predict_frame(rows, task, model_loader=loader)
    entries.insert(0, "new")
    pairs.append(["d", ["x"]])
    assert (task_digest(task), task_digest(of_pairs), loader.cache_key(task)) == digests
    pd.testing.assert_frame_equal(predict_frame(rows, task, model_loader=loader), answers)
    assert task_digest(wide(entries)) != digests[0]


@dataclass
class Settings:
    width: int = 1


@dataclass(frozen=True)
class Held:
    inside: object


@pytest.mark.promise("M238")
@pytest.mark.parametrize(
    ("value", "change"),
    [
        (lambda: {1}, lambda value: value.add(2)),
        (Settings, lambda value: setattr(value, "width", 2)),
        (lambda: Held([1]), lambda value: value.inside.append(2)),
        (lambda: ({1},), lambda value: value[0].add(2)),
    ],
)
def test_what_can_change_inside_of_arguments_is_looked_at_each_time(value, change, nets):
    """A set, and a dataclass of the user's own, are handed on as they are."""
    given = value()
    feature = CustomFeature(columns=["c"], encoder="wide_nets:build", arguments={"given": given})
    model = ModelSpec(factory="wide_nets:build", arguments={"given": given}, trust_code=True)
    task = dataclasses.replace(wide(["a"]), features=[feature], model=model)
    loader = ModelLoader(nets)

    def digests():
        return [task_digest(task), model_digest(task, nets), loader.cache_key(task)]

    first = digests()
    assert digests() == first
    change(given)
    assert all(one != other for one, other in zip(digests(), first, strict=True))


@pytest.mark.promise("M238")
def test_code_and_files_that_change_are_seen_behind_the_same_declaration(nets):
    """They are not the declaration's."""
    (nets / "v.json").write_text("1")
    task = dataclasses.replace(
        wide(["a"], hooks=Hooks(row_postprocessor="wide_nets:keep")),
        model=ModelSpec(factory="wide_nets:build", arguments={"path": "v.json"}, trust_code=True),
    )
    loader = ModelLoader(nets)

    def digests():
        return [task_digest(task), model_digest(task, nets), loader.cache_key(task)]

    first = digests()
    (nets / "v.json").write_text("22")
    second = digests()
    assert (second[0] == first[0], second[1] == first[1], second[2] == first[2]) == (True, False, False)
    (nets / "wide_nets.py").write_text((nets / "wide_nets.py").read_text().replace("% 2", "% 3"))
    third = digests()
    assert all(one != other for one, other in zip(third, second, strict=True))


def test_what_is_remembered_goes_with_the_declaration():
    """A later one, at the same place in memory, gets its own answer."""
    asked = []
    find = PerDeclaration(lambda held, other: asked.append(held.inside) or (held.inside, other))
    for number in range(1_000):
        held = Held(number)
        assert find(held, 1) == find(held, 1) == (number, 1)
        assert find(held, 2) == (number, 2), "another argument is another question"
    assert asked == [number for number in range(1_000) for _ in range(2)]
    assert len(find._found) == 1
    mutable = Held([1])
    assert find(mutable, 1) == ([1], 1)
    mutable.inside.append(2)
    assert find(mutable, 1) == ([1, 2], 1)
    assert len(asked) == 2_002


def test_digests_are_those_of_a_declaration_that_nobody_has_looked_at(nets: Path):
    """Equal declarations have equal digests, remembered or not."""
    task, twin = wide(["a", "b"]), wide(["a", "b"])
    first = task_digest(task), ModelLoader(nets).cache_key(task)
    assert (task_digest(task), ModelLoader(nets).cache_key(task)) == first
    assert (task_digest(twin), ModelLoader(nets).cache_key(twin)) == first
    other = wide(["b", "a"])
    assert task_digest(other) != first[0]
    assert ModelLoader(nets).cache_key(other) != first[1]
