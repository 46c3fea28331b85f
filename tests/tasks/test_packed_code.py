"""An archive of code holds what a task runs and nothing else, and another process can import it."""

import json
import os
import py_compile
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from sparktorch_assets.errors import HostError
from sparktorch_assets.tasks.code.closure import code_closure
from sparktorch_assets.tasks.code.imported_code import check_code
from sparktorch_assets.tasks.code.packed_code import pack_code
from sparktorch_assets.tasks.code.unpacked_code import import_from

ROOT = Path(__file__).parents[2]

ON_A_WORKER = """
import importlib, json, sys
from pathlib import Path
from sparktorch_assets.tasks.code.imported_code import check_code
from sparktorch_assets.tasks.code.unpacked_code import import_from

for archive, folder, starts, code, module, value in json.load(sys.stdin):
    import_from(Path(archive), Path(folder), starts, ())
    check_code(code)
    imported = importlib.import_module(module)
    check_code(code)
    assert imported.VALUE == value, imported.VALUE
    assert imported.__file__.startswith(folder), imported.__file__
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes files of a project; the paths name those that are on the driver's path."""
    monkeypatch.syspath_prepend(tmp_path / "project")

    def write(files):
        for name, text in files.items():
            path = tmp_path / "project" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def shipment(tmp_path, module, value, group="one"):
    """What a worker is told about a module's code."""
    code = code_closure(module)
    packed = pack_code(code)
    archive = tmp_path / f"{packed.digest}.zip"
    archive.write_bytes(packed.content)
    return str(archive), str(tmp_path / f"sparktorch-code-{group}"), packed.starts, code, module, value


def start_worker(*shipments):
    worker = subprocess.Popen(
        [sys.executable, "-c", ON_A_WORKER], env={"PYTHONPATH": str(ROOT)}, text=True, stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    worker.stdin.write(json.dumps(shipments))
    return worker


def names(packed):
    return [name.partition("/")[2] for name in zipfile.ZipFile(BytesIO(packed.content)).namelist()]


READS = "from pathlib import Path\nVALUE = (Path(__file__).parent / 'word.txt').read_text()\n"


@pytest.mark.promise("O210")
def test_an_archive_holds_the_modules_that_are_reached_and_the_data_files_that_they_name(write):
    """Not the rest of the package, nor what is installed."""
    write(
        {
            "packed_a/__init__.py": "",
            "packed_a/hooks.py": "import numpy\nfrom .sub import VALUE\n" + READS,
            "packed_a/sub/__init__.py": "from packed_b import VALUE\n",
            "packed_a/unused.py": "",
            "packed_a/word.txt": "a",
            "packed_a/.env": "PASSWORD=a",
            "packed_a/other.txt": "b",
            "packed_b.py": "import json\nVALUE = 1\n",
        }
    )
    packed = pack_code(code_closure("packed_a.hooks"))
    assert names(packed) == [
        "packed_a/__init__.py", "packed_a/hooks.py", "packed_a/sub/__init__.py", "packed_a/word.txt", "packed_b.py",
    ]  # fmt: skip
    assert packed.packages == ("numpy",)


def test_what_is_installed_is_not_packed():
    assert pack_code(code_closure("numpy.linalg")) is None
    assert pack_code(code_closure("sparktorch_assets.testing")) is None


@pytest.mark.promise("O211")
def test_the_same_code_gives_the_same_bytes(write, tmp_path):
    write({"packed_c/__init__.py": "", "packed_c/hooks.py": READS, "packed_c/word.txt": "a"})
    code = code_closure("packed_c.hooks")
    first = pack_code(code)
    os.utime(tmp_path / "project" / "packed_c" / "hooks.py", (1e9, 1e9))
    assert pack_code(list(reversed(code))) == first
    write({"packed_c/word.txt": "b"})
    assert pack_code(code).digest != first.digest


LAYOUTS = {
    "a package with data": (
        "worked_a.hooks",
        {"worked_a/__init__.py": "", "worked_a/hooks.py": READS, "worked_a/word.txt": "1"},
    ),
    "a single file, and data next to it": ("worked_b", {"worked_b.py": READS, "word.txt": "1"}),
    "a namespace package": (
        "worked_c.x.hooks",
        {"worked_c/x/hooks.py": "from .v import VALUE", "worked_c/x/v.py": "VALUE = '1'"},
    ),
    "data that modules name together": (
        "worked_d.hooks",
        {
            "worked_d/__init__.py": "from pathlib import Path\nHERE = Path(__file__).parent / 'words'\n",
            "worked_d/hooks.py": "from . import HERE\nVALUE = (HERE / 'one.txt').read_text()\n",
            "worked_d/words/one.txt": "1",
        },
    ),
    "imports by computed names": (
        "worked_e.hooks",
        {
            "worked_e/__init__.py": "",
            "worked_e/hooks.py": "import importlib\nVALUE = importlib.import_module(f'{__package__}.' + 'v' * 2).VALUE\n",
            "worked_e/vv.py": "VALUE = '1'",
        },
    ),
    "a file that is run": (
        "worked_f",
        {
            "worked_f.py": "import runpy\nfrom pathlib import Path\n"
            "VALUE = runpy.run_path(str(Path(__file__).with_name('worked_g.py')))['V']\n",
            "worked_g.py": "V = '1'",
        },
    ),
    "a package named like one of the standard library": (
        "worked_h.json.hooks",
        {"worked_h/__init__.py": "", "worked_h/json/__init__.py": "", "worked_h/json/hooks.py": "VALUE = '1'"},
    ),
    "names and texts that are not ASCII": ("wörked", {"wörked.py": READS.replace("word", "wört"), "wört.txt": "1"}),
}


@pytest.mark.promise("O210")
def test_a_worker_imports_what_is_packed_and_its_digests_agree(write, tmp_path):
    """One worker gets all of it, one after the other, into one folder."""
    shipments = []
    for module, files in LAYOUTS.values():
        write(files)
        shipments.append(shipment(tmp_path, module, "1"))
    for path in (tmp_path / "project").iterdir():
        path.rename(tmp_path / f"hidden-{path.name}")
    _, said = start_worker(*shipments).communicate(timeout=60)
    assert said == ""


def test_compiled_modules_are_packed(write, tmp_path):
    write({"worked_i.py": "VALUE = '1'"})
    source = tmp_path / "project" / "worked_i.py"
    py_compile.compile(source, source.with_suffix(".pyc"))
    source.unlink()
    _, said = start_worker(shipment(tmp_path, "worked_i", "1")).communicate(timeout=60)
    assert said == ""


def test_workers_that_unpack_at_once_do_not_disturb_each_other(write, tmp_path):
    write({f"worked_j/m{number}.py": f"N = {number}\n" * 1000 for number in range(50)})
    imports = "".join(f"from . import m{number}\n" for number in range(50))
    write({"worked_j/__init__.py": "", "worked_j/hooks.py": imports + "VALUE = '1'"})
    given = shipment(tmp_path, "worked_j.hooks", "1")
    workers = [start_worker(given) for _ in range(4)]
    assert [worker.communicate(timeout=60)[1] for worker in workers] == [""] * 4


@pytest.mark.promise("O211")
def test_another_version_is_imported_from_its_own_folder_only(write, tmp_path):
    """Also if the worker has the older one on its path; here, without having imported it."""
    write({"worked_k/__init__.py": "", "worked_k/hooks.py": "VALUE = 'old'", "worked_l.py": "VALUE = '1'"})
    old = shipment(tmp_path, "worked_k.hooks", "old", "one")
    other = shipment(tmp_path, "worked_l", "1", "one")
    write({"worked_k/hooks.py": "VALUE = 'new'"})
    new = shipment(tmp_path, "worked_k.hooks", "new", "two")
    _, said = start_worker(other, new).communicate(timeout=60)
    assert said == ""
    _, said = start_worker(old, new).communicate(timeout=60)
    assert "HostError: this Python process" in said
    assert "has already imported another version of module 'worked_k.hooks'" in said


@pytest.mark.promise("O212")
@pytest.mark.parametrize("copy", ["VALUE = 'installed'", "VALUE = 'shipped'  # equal but for this comment"])
def test_a_module_that_was_imported_from_another_copy_is_compared(copy, write, tmp_path, monkeypatch):
    """Before it was shipped, something else in this process had imported the copy that is installed here."""
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "worked_m.py").write_text(copy)
    write({"worked_m.py": "VALUE = 'shipped'"})
    archive, folder, starts, code, *_ = shipment(tmp_path, "worked_m", "shipped")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site-packages"), *sys.path])
    import worked_m

    import_from(Path(archive), Path(folder), starts, ())
    try:
        if worked_m.VALUE == "shipped":
            check_code(code)
            return
        with pytest.raises(
            HostError, match=r"module 'worked_m', from .*site-packages/worked_m\.py; .*-code-one/\d+/worked_m\.py"
        ):
            check_code(code)
    finally:
        del sys.modules["worked_m"]


def test_an_archive_that_is_no_archive_is_named(tmp_path):
    (tmp_path / "a.zip").write_text("cut off")
    with pytest.raises(HostError, match=r"cannot be unpacked from .*a\.zip into .*File is not a zip file"):
        import_from(tmp_path / "a.zip", tmp_path / "sparktorch-code-x", (), ())
