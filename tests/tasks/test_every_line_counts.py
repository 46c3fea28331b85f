"""Each piece of a user's code counts, wherever it stands in the closure; comments and layout do not. In every process alike."""

import ast
import copy
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from answers_world import CODE, TASK, World

from sparktorch_assets.tasks.code.closure import code_closure
from sparktorch_assets.tasks.code.module_source import read_source

MODULES = [name for name in CODE if name.endswith(".py")]


def digest(text):
    return read_source("module.py", text.encode()).digest


def changed(node):
    """Forms of a syntax node that mean something else, or are at least written as other code."""
    if isinstance(node, ast.Constant):
        yield ast.Constant("other" if node.value != "other" else "another")
    if isinstance(node, ast.Name):
        yield ast.Name(node.id + "_", node.ctx)
    if isinstance(node, ast.Attribute):
        yield ast.Attribute(node.value, node.attr + "_", node.ctx)
    if isinstance(node, ast.arg):
        yield ast.arg(node.arg + "_", node.annotation)
    if isinstance(node, ast.alias):
        yield ast.alias(node.name, "renamed_")
    if isinstance(node, ast.keyword):
        yield ast.keyword((node.arg or "") + "_", node.value)
    if isinstance(node, ast.operator):
        yield ast.Mod() if not isinstance(node, ast.Mod) else ast.Add()
    if isinstance(node, ast.cmpop):
        yield ast.Is() if not isinstance(node, ast.Is) else ast.IsNot()
    if isinstance(node, ast.boolop):
        yield ast.Or() if isinstance(node, ast.And) else ast.And()
    if isinstance(node, ast.unaryop):
        yield ast.Invert()
    if isinstance(node, ast.stmt):
        yield ast.Pass()
        yield ast.If(ast.Constant(value=True), [node], [])
    if isinstance(node, ast.Return):
        yield ast.Expr(node.value)
    if isinstance(node, ast.Try) and node.orelse:
        yield ast.Try([*node.body, *node.orelse], node.handlers, [], node.finalbody)
    if isinstance(node, ast.FunctionDef):
        yield ast.AsyncFunctionDef(**vars(node))


def mutants(text):
    """Every module that differs from this one in one node."""
    tree = ast.parse(text)
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            for at, child in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(child, ast.AST):
                    continue
                for other in changed(child):
                    if isinstance(value, list):
                        setattr(parent, field, [*value[:at], other, *value[at + 1 :]])
                    else:
                        setattr(parent, field, other)
                    yield ast.unparse(ast.fix_missing_locations(copy.deepcopy(tree)))
                    setattr(parent, field, value)


@pytest.mark.parametrize("module", MODULES)
def test_every_node_of_a_modules_syntax_counts(module):
    """A constant, a name, an operator, a statement, the place of a statement: any other gives another digest."""
    text = CODE[module]
    different = [mutant for mutant in mutants(text) if ast.dump(ast.parse(mutant)) != ast.dump(ast.parse(text))]
    assert len(different) >= 2 * len([node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]) - 2
    digests = {digest(mutant) for mutant in different}
    assert digest(text) not in digests
    assert len(digests) == len({ast.dump(ast.parse(mutant)) for mutant in different})


@pytest.mark.promise("T14", "M15")
@pytest.mark.parametrize("module", MODULES)
def test_comments_blank_lines_and_layout_do_not_count(module):
    text = CODE[module]
    lines = text.splitlines()
    inner = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant)
        for line in range(node.lineno, node.end_lineno)
    }
    for number in range(len(lines) + 1):
        if number not in inner:  # within a string that spans lines
            assert digest("\n".join([*lines[:number], "", "  # a comment", *lines[number:]])) == digest(text)
    commented = [
        line + "  # a comment" if line.strip() and at + 1 not in inner else line for at, line in enumerate(lines)
    ]
    for other in (
        ast.unparse(ast.parse(text)),
        "\n".join(commented),
        text.replace("    ", "\t"),
        text.replace("\n", "\r\n"),
        "\ufeff" + text,
        "# coding: utf-8\n" + text,
        text.replace(" = ", "  =\\\n  ").replace("return ", "return  "),
    ):
        assert digest(other) == digest(text)


@pytest.mark.promise("M14")
@pytest.mark.parametrize("module", [module for module in MODULES if CODE[module]])
def test_a_line_in_any_module_of_the_closure_changes_the_fingerprint(module, tmp_path):
    """Hooks and their helpers, the factory, the encoder, a network that an argument names, a package's `__init__`."""
    world = World(tmp_path)
    before = world.fingerprint()
    path = world.code / module
    path.write_text(f"# a comment\n{path.read_text()}\n\n# another\n")
    assert world.fingerprint() == before
    path.write_text(path.read_text() + "ADDED = 1\n")
    assert world.fingerprint() != before


def test_a_data_file_of_the_code_changes_the_fingerprint_and_the_answers(tmp_path):
    world = World(tmp_path)
    before, answers = world.fingerprint(), world.answers()
    (world.code / "answers_code" / "bonus.txt").write_text("6")
    assert world.fingerprint() != before
    assert world.answers() != answers


@pytest.mark.parametrize(
    "module", ["answers_code/hooks.py", "answers_code/helper.py", "answers_code/model.py", "answers_nets.py"]
)
def test_mutants_that_change_answers_change_the_fingerprint(module, tmp_path):
    """A sample, run: where the rows differ or the code fails, the fingerprint differs."""
    world = World(tmp_path)
    before, answers = world.fingerprint(), world.answers()
    found = [mutant for mutant in mutants(CODE[module]) if "async" not in mutant]  # nobody would await it
    differing = 0
    for mutant in random.Random(8).sample(found, min(12, len(found))):
        (world.code / module).write_text(mutant)
        try:
            differs = world.answers() != answers
        except Exception:  # noqa: BLE001  (code that cannot run has no answers)
            differs = True
        differing += differs
        assert not differs or world.fingerprint() != before
    assert differing > 0


PROGRAM = """
import dataclasses, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from answers_world import TASK, World
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.table import plan_table

class Scaled(ModelLoader):
    pass

Scaled.__module__ = "answers_nets"
def made(root):
    loader = ModelLoader(root)
    loader.kinds, loader.place = {{"one", "two", "three"}}, root / "start.txt"
    return loader

root = Path({root!r})
model = dataclasses.replace(TASK.model, arguments={{"kinds": {{"a", "b", "c", "d"}}, "network": "answers_nets:Net"}})
plan = plan_table(
    str(root / "in.parquet"), dataclasses.replace(TASK, model=model), output_table=str(root / "out"),
    model_loader=made(root / "models"),
)
assert not {{"answers_code", "answers_nets"}} & sys.modules.keys()
print([shard.fingerprint for shard in plan.new])
"""


@pytest.mark.slow
def test_fingerprints_are_the_same_in_every_process_folder_and_checkout(tmp_path):
    """Whatever the hash seed and the working directory, and wherever the project lies."""
    World(tmp_path / "checkout 0")
    found = set()
    for seed in range(5):
        root = tmp_path / f"checkout {seed}"
        if seed:
            shutil.copytree(tmp_path / "checkout 0", root)
        program = PROGRAM.format(tests=str(Path(__file__).parent), root=str(root))
        path = os.pathsep.join([str(root / "code"), str(Path.cwd())])
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": str(seed), "PYTHONPATH": path},
            cwd=root if seed % 2 else tmp_path, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1, found


@pytest.mark.promise("T12")
def test_planning_needs_no_torch_so_that_its_version_cannot_count(tmp_path):
    """docs/decisions/0005 says why it does not."""
    world = World(tmp_path)
    program = (
        "import sys\n"
        "from sparktorch_assets.predict.loader import ModelLoader\n"
        "from sparktorch_assets.spark.score.table import plan_table\n"
        "from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature\n"
        "task = MlTask(name='t', input='i', labels=['no', 'yes'], features=[NumericFeature(columns=['x'])],\n"
        "    model=ModelSpec(weights='start.txt', factory='answers_code.model:build', trust_code=True))\n"
        f"plan = plan_table({str(tmp_path / 'in.parquet')!r}, task, output_table={str(tmp_path / 'out')!r},\n"
        f"    model_loader=ModelLoader({str(world.models)!r}))\n"
        "print(len(plan.new), 'torch' in sys.modules)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(world.code), str(Path.cwd())])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["1", "False"]


def test_code_is_read_and_not_run(tmp_path):
    world = World(tmp_path)
    with world.importable():
        code_closure("answers_code.hooks")
        assert "answers_code" not in sys.modules
    assert TASK.hooks.row_postprocessor == "answers_code.hooks:mark"
