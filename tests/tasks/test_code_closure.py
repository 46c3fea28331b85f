"""The digest of code changes exactly when code changes that importing the named module may run."""

import importlib
import os
import subprocess
import sys
import tempfile
import types
import zipfile
import zipimport
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.code.closure import FILES, WHOLE, code_closure, piece_digest
from sparktorch_assets.tasks.code.import_path import import_path_code, named_module
from sparktorch_assets.tasks.code.module_finder import ModuleFinder

# Each way to import {target} from a module of the same package; {name} is its last part, {level} the dots to the top.
WAYS = (
    "import {target}",
    "import {target} as other",
    "from {target} import VALUE",
    "from {target} import *",
    "from {parent} import {name}",
    "from {level}{below} import {name}",
    "try:\n    import {target}\nexcept ImportError:\n    pass",
    "if True:\n    import {target}",
    "def later():\n    from {target} import VALUE\n    return VALUE",
    "class Box:\n    import {target} as inner",
    "import importlib\nimportlib.import_module('{target}')",
    "__import__('{target}')",
)
MODULES = ("pkg.a", "pkg.b", "pkg.sub.c", "pkg.sub.d", "pkg.sub.deep.e", "plain")


@st.composite
def trees(draw):
    """Module -> the modules that it imports, and how; cycles and modules that nobody imports among them."""
    tree = {}
    for module in MODULES:
        targets = draw(st.lists(st.sampled_from(MODULES), max_size=2, unique=True))
        tree[module] = [(target, draw(st.sampled_from(WAYS))) for target in targets if target != module]
    return tree


def statement(module, target, way):
    parent, _, name = target.rpartition(".")
    if not parent or (way.startswith("from {level}") and not module.startswith("pkg")):
        way = "import {target}" if "{parent}" in way or "{level}" in way else way
    level = "." * module.count(".") if module.startswith("pkg") else ""
    return way.format(
        target=target, parent=parent, name=name, level=level, below=parent.removeprefix("pkg").lstrip(".")
    )


def files_of(tree):
    """Path -> source. Packages below `pkg` have an `__init__`, but for `pkg.sub.deep`, a namespace package."""
    files = {"pkg/__init__.py": "VALUE = 0\n", "pkg/sub/__init__.py": "VALUE = 1\n"}
    for module, imports in tree.items():
        lines = [statement(module, target, way) for target, way in imports]
        files[module.replace(".", "/") + ".py"] = "\n".join([*lines, f"VALUE = {module!r}", ""])
    return files


def reached(tree, root):
    """What importing `root` runs, by the tree that the files were written from."""
    found, waiting = set(), [root]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += [target for target, _ in tree.get(module, ())]
    for module in list(found):
        parts = module.split(".")[:-1]
        found |= {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
    return found


def path_of(module, files):
    plain = module.replace(".", "/") + ".py"
    return plain if plain in files else module.replace(".", "/") + "/__init__.py"


def write(root, files, zipped):
    if zipped:
        with zipfile.ZipFile(root / "code.zip", "w") as archive:
            for folder in sorted({str(parent) for name in files for parent in Path(name).parents} - {"."}):
                archive.writestr(f"{folder}/", "")  # without these, Python finds no namespace package there
            for name, text in files.items():
                archive.writestr(name, text)
        return str(root / "code.zip")
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


@pytest.mark.promise("M14")
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(tree=trees(), zipped=st.booleans(), data=st.data())
def test_an_edit_changes_the_digest_where_the_code_is_reached_and_nowhere_else(tree, zipped, data):
    """Over packages with every kind of import: one statement counts in reached modules, a comment never does."""
    files = files_of(tree)
    edited = data.draw(st.sampled_from(sorted(files)))
    is_reached = edited in {path_of(module, files) for module in reached(tree, "pkg.a")}
    comment = files | {edited: f"# a comment\n\n{files[edited]}\n# another"}
    code = files | {edited: files[edited] + "ADDED = 1\n"}
    digests = []
    for version in (files, comment, code, files):
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(write(Path(folder), version, zipped))
            digests.append(code_closure("pkg.a"))
    first, commented, changed, again = digests
    assert first == commented == again  # each of them lay in another folder
    assert (changed != first) == is_reached
    assert not {"pkg", "plain"} & sys.modules.keys()


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"pkg/__init__.py": "from .net import Net", "pkg/net.py": "Net = 1"}, id="re-export"),
        pytest.param({"pkg/__init__.py": "from . import net\nNet = net.Net", "pkg/net.py": "Net = 1"}, id="sub-module"),
        pytest.param({"pkg/__init__.py": "__all__ = ['net']", "pkg/net.py": "", "user.py": "from pkg import *"}, id="__all__"),
        pytest.param(
            {"pkg/__init__.py": "def __getattr__(name):\n    import importlib\n    return importlib.import_module('.' + name, __name__)",
             "pkg/net.py": "Net = 1"}, id="lazy re-export"),
        pytest.param(
            {"pkg/__init__.py": "import importlib, pkgutil\nfor m in pkgutil.iter_modules(__path__): importlib.import_module(m.name)",
             "pkg/net.py": "Net = 1"}, id="discovered plug-in"),
        pytest.param({"pkg/__init__.py": "import other", "other.py": "from helper import x", "pkg/net.py": "", "helper.py": "x = 1"}, id="plain sibling"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("zipped", [False, True])
def test_indirect_ways_to_reach_a_module_count(files, zipped, tmp_path, monkeypatch):
    """Re-exports, star imports, imports by a computed name, siblings that are no package."""
    root = "user" if "user.py" in files else "pkg"
    last = "helper.py" if "helper.py" in files else "pkg/net.py"
    monkeypatch.syspath_prepend(write(tmp_path, files, zipped))
    first = code_closure(root)
    write(tmp_path, files | {last: "Net = 2"}, zipped)
    assert code_closure(root) != first


@pytest.mark.promise("M14")
@pytest.mark.parametrize(
    ("reads", "file"),
    [
        ("open(Path(__file__).with_name('words.txt'))", "pkg/sub/words.txt"),
        ("open(Path(__file__).parent / 'tables' / 'words.txt')", "pkg/sub/tables/words.txt"),
        ("open(Path(__file__).parents[1] / 'tables/words.txt')", "pkg/tables/words.txt"),
        ("open(Path(__file__).parents[2] / 'tables' / 'words.txt')", "tables/words.txt"),
        ("open(os.path.join(os.path.dirname(__file__), f'words_{x}.txt'))", "pkg/sub/words_de.txt"),
        ("Path(__file__).parent.glob('*.txt')", "pkg/sub/words.txt"),
        ("list((Path(__file__).parent / 'tables').iterdir())", "pkg/sub/tables/deep/words"),
        ("Path(__file__).with_suffix('.json')", "pkg/sub/hooks.json"),
        ("importlib.resources.files('pkg.tables').joinpath('words.txt')", "pkg/tables/words.txt"),
        ("importlib.resources.files(__package__) / 'words.txt'", "pkg/sub/words.txt"),
        ("pkgutil.get_data('pkg', 'tables/words.txt')", "pkg/tables/words.txt"),
        ("open(HERE / 'words.txt')", "pkg/words.txt"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("zipped", [False, True])
def test_data_files_that_code_names_count(reads, file, zipped, tmp_path, monkeypatch):
    """Beside the module, above it up to where imports start, or in a folder that is named; through whatever finds them."""
    files = {
        "pkg/__init__.py": "from pathlib import Path\nHERE = Path(__file__).parent",
        "pkg/sub/__init__.py": "",
        "pkg/sub/hooks.py": f"from pkg import HERE\ndef clean(row):\n    return {reads}",
    }
    monkeypatch.syspath_prepend(write(tmp_path, files, zipped))
    without = code_closure("pkg.sub.hooks")
    write(tmp_path, files | {file: "one", "pkg/sub/other.bin": "x"}, zipped)
    first = code_closure("pkg.sub.hooks")
    write(tmp_path, files | {file: "two", "pkg/sub/other.bin": "x"}, zipped)
    changed = code_closure("pkg.sub.hooks")
    assert len({str(without), str(first), str(changed)}) == 3
    assert {piece for piece in changed if changed[piece] != first[piece]} == {"pkg.sub.hooks" + FILES}
    write(tmp_path, files | {file: "two", "pkg/sub/other.bin": "y"}, zipped)
    assert code_closure("pkg.sub.hooks") == changed, "a file that nobody names counts"


HERE = "from pathlib import Path\nHERE = Path(__file__).parent\n"
REACHES_PLUG = {
    "import_module under another name": "from importlib import import_module as load\nload('pkg.plug')",
    "import_module in a variable": "import importlib\nload = importlib.import_module\nload('pkg.plug')",
    "import_module by getattr": "import importlib\ngetattr(importlib, 'import_module')('pkg.plug')",
    "import_module as a default": "import importlib\ndef load(name, by=importlib.import_module):\n    return by(name)",
    "import_module by map": "from importlib import import_module\nlist(map(import_module, ['pkg.plug']))",
    "import_module by keyword": "from importlib import import_module\nimport_module(name='.plug', package='pkg')",
    "import_module of another's package": "from importlib import import_module\nimport_module('.plug', 'pkg')",
    "import_module of an argument": "from importlib import import_module\ndef load(name):\n    return import_module(name)",
    "__import__ in a variable": "load = __import__\nload('pkg.plug')",
    "__import__ with a list": "__import__('pkg', globals(), locals(), ['plug'])",
    "resolve_name": "import pkgutil\npkgutil.resolve_name('pkg.plug:VALUE')",
    "run_module": "import runpy\nrunpy.run_module('pkg.plug')",
    "run_path": HERE + "import runpy\nrunpy.run_path(str(HERE / 'plug.py'))",
    "run_path by a part": HERE + "import runpy\ndef run(name):\n    runpy.run_path(f'{HERE}/{name}.py')",
    "spec_from_file_location": HERE + "from importlib import util\nutil.spec_from_file_location('x', HERE / 'plug.py')",
    "a loader": HERE + "from importlib.machinery import SourceFileLoader as Load\nLoad('x', str(HERE.joinpath(NAME)))",
    "exec": HERE + "exec((HERE / 'plug.py').read_text())",
    "exec by a part": HERE + "def run(name):\n    exec((HERE / name).read_text())",
    "compile": HERE + "import builtins\nCODE = builtins.compile((HERE / NAME).read_text(), NAME, 'exec')",
    "iter_modules": "import pkgutil, pkg\nfor m in pkgutil.iter_modules(pkg.__path__):\n    m.module_finder.find_spec(m.name).loader.load_module()",
    "sys.path": HERE + "import sys\nsys.path.insert(0, str(HERE))\nimport plug",
    "path of sys": HERE + "from sys import path\npath.append(str(HERE))\nimport plug",
    "addsitedir": HERE + "import site\nsite.addsitedir(HERE)\nimport plug",
    "star import": "from pkg import *",
}  # fmt: skip
"""Each way to run `pkg/plug.py` from `pkg/hooks.py`, without a statement that names it."""


@pytest.mark.promise("M70", "M71", "M15")
@pytest.mark.parametrize("way", REACHES_PLUG)
@pytest.mark.parametrize("zipped", [False, True])
def test_code_that_is_found_at_run_time_counts(way, zipped, tmp_path, monkeypatch):
    """An edit of it changes the digest, and a comment in it does not, unless a string spells out the file's name."""
    files = {
        "pkg/__init__.py": "__all__ = []\n__all__.append('plug')",
        "pkg/hooks.py": REACHES_PLUG[way],
        "pkg/plug.py": "VALUE = 1",
    }
    monkeypatch.syspath_prepend(write(tmp_path, files, zipped))
    first = code_closure("pkg.hooks")
    write(tmp_path, files | {"pkg/plug.py": "VALUE = 1  # a comment"}, zipped)
    assert (code_closure("pkg.hooks") != first) == ("plug.py" in REACHES_PLUG[way])
    write(tmp_path, files | {"pkg/plug.py": "VALUE = 2"}, zipped)
    assert code_closure("pkg.hooks") != first
    assert "pkg" not in sys.modules


@pytest.mark.promise("M70")
@pytest.mark.parametrize(
    ("files", "edited"),
    [
        ({"hooks.py": "import settings, importlib\nfor name in settings.NAMES: importlib.import_module(name)",
          "settings.py": "NAMES = ['plugs.one']", "plugs/one.py": ""}, "plugs/one.py"),
        ({"hooks.py": "import importlib\ndef load(name): return importlib.import_module(f'plugs.{name}')", "plugs/one.py": ""}, "plugs/one.py"),
        ({"hooks.py": "import importlib\ndef load(name): return importlib.import_module(f'plug_{name}')", "plug_one.py": ""}, "plug_one.py"),
        ({"hooks.py": "import pkgutil, plugs\nNAMES = list(pkgutil.walk_packages(plugs.__path__))",
          "plugs/__init__.py": "", "plugs/group/one.py": ""}, "plugs/group/one.py"),
        ({"hooks.py": "from pathlib import Path\nfrom settings import NAME\nopen(Path(__file__).parent / 'data' / NAME)",
          "settings/__init__.py": "NAME = 'words.txt'", "data/words.txt": ""}, "data/words.txt"),
        ({"hooks.py": "from settings import HERE\nopen(HERE / 'words.txt')",
          "settings/__init__.py": "from pathlib import Path\nHERE = Path(__file__).parent", "settings/words.txt": ""}, "settings/words.txt"),
        ({"hooks.py": "from pathlib import Path\nopen(Path(__file__).with_name('.words'))", ".words": ""}, ".words"),
        ({"hooks.py": "from pathlib import Path\nfrom ctypes import CDLL\nCDLL(Path(__file__).with_name('fast.so'))", "fast.so": ""}, "fast.so"),
        ({"hooks.py": "import os\nopen(os.path.join(os.path.dirname(os.fsencode(__file__)), b'words.txt'))", "words.txt": ""}, "words.txt"),
        ({"hooks.py": "import os\nopen(os.path.dirname(globals()['__file__']) + '/words.txt')", "words.txt": ""}, "words.txt"),
        ({"hooks.py": "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parent / 'lib.zip'))\nimport v", "lib.zip": ""}, "lib.zip"),
        ({"hooks.py": "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parent / 'lib'))\nimport v", "lib/v.py": "import u", "lib/u.py": ""}, "lib/u.py"),
    ],
)  # fmt: skip
def test_what_modules_name_only_together_counts(files, edited, tmp_path, monkeypatch):
    """One module holds the name, another imports or opens what it names."""
    monkeypatch.syspath_prepend(write(tmp_path, files, zipped=False))
    first = code_closure("hooks")
    (tmp_path / edited).write_text("X = 2")
    assert code_closure("hooks") != first
    assert code_closure("hooks") == code_closure("hooks")


@pytest.mark.parametrize(
    "code",
    [
        "import re\nre.compile(NAME)", "from re import compile\ncompile(NAME)", "model.eval()", "eval('1 + 1')", "exec(NAME)",
        "import importlib\nimportlib.import_module('json')", "from importlib import import_module\nimport_module('json')",
        "import os\nos.path.join(NAME)", "import sys\nsys.modules[NAME]", "import importlib\nimportlib.reload(NAME)",
        "from pathlib import Path\nHERE = Path(__file__)\nfrom re import compile\ncompile(NAME)",
        "import sys\nf'{sys.path!r}'", "import sys\n'lib' in sys.path", "import sys\nfor place in sys.path:\n    print(place)",
        "class Mine(ModelLoader):\n    def load_module(self, task, device):\n        return super().load_module(task, device)",
    ],
)  # fmt: skip
def test_code_that_imports_nothing_more_does_not_count_its_neighbours(code, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write(
        tmp_path, {"pkg/__init__.py": "", "pkg/hooks.py": code, "pkg/other.py": "", "pkg/words.txt": ""}, zipped=False
    )
    assert list(code_closure("pkg.hooks")) == ["pkg", "pkg.hooks"]


def test_digests_of_code_without_such_idioms_stay_as_they_are(tmp_path, monkeypatch):
    """Tables that exist are not scored again by an upgrade of this library."""
    monkeypatch.syspath_prepend(tmp_path)
    files = {
        "golden/__init__.py": "from .helper import LIMIT", "golden/words.txt": "one\n",
        "golden/helper.py": "from pathlib import Path\nLIMIT = 3\nWORDS = Path(__file__).with_name('words.txt').read_text()",
    }  # fmt: skip
    write(tmp_path, files, zipped=False)
    assert {piece: digest[:12] for piece, digest in code_closure("golden.helper").items()} == {
        "golden": "291db0a464bb", "golden.helper": "b9c5e50e6f3c", "golden.helper:files": "4bfc9a9f8c7d",
    }  # fmt: skip


def test_looking_for_pip_exchanges_no_module(tmp_path, monkeypatch):
    """setuptools' finder does that where it is asked about `pip`, which a string may name."""
    kept = types.ModuleType("distutils")
    monkeypatch.setitem(sys.modules, "distutils", kept)
    monkeypatch.syspath_prepend(
        write(tmp_path, {"hooks.py": "import importlib\nimportlib.import_module(NAME, 'pip')"}, zipped=False)
    )
    assert list(code_closure("hooks")) == ["hooks"]
    assert sys.modules["distutils"] is kept


def test_links_to_folders_above_have_an_end(tmp_path, monkeypatch):
    """In a folder of data that is read, and in a package whose modules all count."""
    monkeypatch.syspath_prepend(tmp_path)
    code = f"{HERE}import importlib\nDATA = HERE / 'data'\ndef load(name):\n    return importlib.import_module(name)"
    write(tmp_path, {"pkg/__init__.py": "", "pkg/hooks.py": code, "pkg/data/words.txt": ""}, zipped=False)
    (tmp_path / "pkg" / "data" / "again").symlink_to(tmp_path / "pkg")
    (tmp_path / "pkg" / "data" / "here").symlink_to(tmp_path / "pkg" / "data")
    assert {"pkg", "pkg.hooks", "pkg.hooks:files"} <= code_closure("pkg.hooks").keys()


def test_files_beside_code_that_never_asks_where_it_lies_do_not_count(tmp_path, monkeypatch):
    """`data.csv` in a message, or as a path that starts elsewhere, is no file of the code's."""
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, {"hooks.py": "NAME = 'data.csv'", "data.csv": "1"}, zipped=False)
    assert list(code_closure("hooks")) == ["hooks"]


def test_a_projects_own_modules_are_followed_although_installed_packages_lie_beside_them(tmp_path, monkeypatch):
    """As where dependencies are shipped in the project's folder (`pip install --target .`)."""
    monkeypatch.syspath_prepend(tmp_path)
    files = {
        "hooks.py": "import helper, shipped", "helper.py": "X = 1", "shipped/__init__.py": "Y = 1",
        "shipped-1.0.dist-info/RECORD": "shipped/__init__.py,sha256=x,5\n",
    }  # fmt: skip
    write(tmp_path, files, zipped=False)
    assert list(code_closure("hooks")) == ["helper", "hooks"]
    assert list(code_closure("shipped")) == ["shipped" + WHOLE]


def test_a_package_has_one_digest_installed_and_in_an_archive(tmp_path, monkeypatch):
    """It may be installed on the driver and be shipped to the workers."""
    site, archive = tmp_path / "site-packages", tmp_path / "archive"
    site.mkdir(), archive.mkdir()
    files = {"wheel/__init__.py": "", "wheel/hooks.py": "X = 1", "wheel/sub/deep.py": "Y = 1"}
    digests = []
    for path in (write(site, files, zipped=False), write(archive, files, zipped=True)):
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(path)
            digests.append(piece_digest("wheel" + WHOLE, ModuleFinder()))
    assert digests[0] == digests[1] is not None


def test_an_optional_module_counts_once_it_is_there(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, {"hooks.py": "try:\n    import extra\nexcept ImportError:\n    extra = None\n"}, zipped=False)
    assert list(code_closure("hooks")) == ["hooks"]
    write(tmp_path, {"extra.py": "X = 1"}, zipped=False)
    assert list(code_closure("hooks")) == ["extra", "hooks"]


@pytest.mark.promise("M16")
def test_installed_packages_count_whole_where_they_are_named_and_not_where_they_are_imported(tmp_path, monkeypatch):
    """`numpy` under a hook is `code_version`'s affair; a wheel of one's own, named by a path, counts with all its files."""
    site, project = tmp_path / "site-packages", tmp_path / "project"
    site.mkdir(), project.mkdir()
    monkeypatch.syspath_prepend(site), monkeypatch.syspath_prepend(project)
    write(site, {"wheel/__init__.py": "", "wheel/hooks.py": "X = 1", "wheel/other.py": "Y = 1"}, zipped=False)
    write(project, {"hooks.py": "import wheel, numpy, json"}, zipped=False)
    named, imported = code_closure("wheel.hooks"), code_closure("hooks")
    assert (list(named), list(imported)) == (["wheel" + WHOLE], ["hooks"])
    write(site, {"wheel/other.py": "Y = 2"}, zipped=False)
    assert code_closure("wheel.hooks") != named
    assert code_closure("hooks") == imported
    assert (code_closure("json"), code_closure("math")) == ({}, {})


def test_this_librarys_own_modules_are_not_followed():
    """Its arithmetic has a version of its own; only the module that a task names counts."""
    assert list(code_closure("sparktorch_assets.testing")) == ["sparktorch_assets.testing"]


def test_the_same_code_has_one_digest_in_every_process_and_place(tmp_path):
    """Whatever the hash seed, the checkout's folder, and whether its modules are imported already."""
    files = {
        "pkg/__init__.py": "from .hooks import clean",
        "pkg/hooks.py": "def clean(r):\n    return r if r in {'A', 'B'} else {1, 2}",
    }
    found = set()
    for seed, early in (("1", ""), ("2", "import pkg"), ("3", "")):
        folder = tmp_path / seed
        folder.mkdir()
        program = (
            f"{early}\nfrom sparktorch_assets.tasks.code.closure import code_closure\nprint(code_closure('pkg.hooks'))"
        )
        environment = os.environ | {
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": f"{write(folder, files, zipped=False)}:{Path.cwd()}",
        }
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_odd_sources_have_digests(tmp_path, monkeypatch):
    """Deep nesting, huge integers, other encodings, broken syntax: a digest each, and never an error of ours."""
    monkeypatch.syspath_prepend(tmp_path)
    sources = {
        "deep": ("x = " + "+".join(["1"] * 5000)).encode(),
        "huge": b"x = 0x" + b"f" * 9000,
        "latin": "# coding: latin-1\nx = '\xe4'".encode("latin-1"),
        "broken": b"def (",
        "nulls": b"x = '\0'",
        "beyond": b"from ...... import x",
        "odd": b"__import__('no module!')\n__import__('')\n__import__()",
    }
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_bytes(source)
        first = code_closure(name)
        assert list(first) == [name]
        (tmp_path / f"{name}.py").write_bytes(source + b"\ny = 1")
        assert code_closure(name) != first
    importlib.invalidate_caches()


def test_the_running_script_and_missing_modules_are_refused_with_the_way_out():
    with pytest.raises(TaskError, match="put the code into a module of its own"):
        import_path_code("__main__:clean", "Hooks.row_preprocessor")
    with pytest.raises(TaskError, match=r"Hooks.row_preprocessor='no_such:x': module 'no_such' is not installed here"):
        import_path_code("no_such:x", "Hooks.row_preprocessor")


def test_an_archive_is_read_again_only_where_it_has_changed(tmp_path, monkeypatch):
    """Spark's workers have pyspark's archive on their path: reading its directory for every shard would cost most."""
    read: list[str] = []
    real = zipimport.zipimporter.invalidate_caches
    monkeypatch.setattr(
        zipimport.zipimporter, "invalidate_caches", lambda finder: (read.append(finder.archive), real(finder))[1]
    )
    archive = write(tmp_path, {"zipped.py": "VALUE = 1\n"}, zipped=True)
    monkeypatch.syspath_prepend(archive)
    first = code_closure("zipped")
    code_closure("zipped")
    read.clear()
    assert code_closure("zipped") == first
    assert read == []
    write(tmp_path, {"zipped.py": "VALUE = 22\n"}, zipped=True)
    assert code_closure("zipped") != first
    assert set(read) == {archive}


@pytest.mark.promise("M14")
@pytest.mark.parametrize(
    ("text", "module"),
    [
        ("pkg.nets:Net", "pkg.nets"), ("pkg.nets.Net", "pkg.nets"), ("pkg.nets", "pkg.nets"), ("pkg.Net", "pkg"), ("pkg:Net", "pkg"),
        ("plain:Net", "plain"), ("plain.json", None), ("pkg", None), ("pkg.nets.Net.", None), ("no_such.nets:Net", None),
        ("torch.nn.ReLU", None), ("json:loads", None), ("sparktorch_assets.testing:build", None), ("a b.c", None), ("", None),
    ],
)  # fmt: skip
def test_a_string_names_a_users_module_or_none(text, module, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, {"pkg/__init__.py": "", "pkg/nets.py": "", "plain.py": ""}, zipped=False)
    assert named_module(text) == module
