"""The user's own code reaches workers whose Python path lacks it: exactly what tasks need, in one version at a time."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from ship_project import Project
from ship_world import ROWS, World

from sparktorch_assets.errors import HostError, TaskError
from sparktorch_assets.orchestration.resources import SparkSessionResource
from sparktorch_assets.spark.session import shipped_code
from sparktorch_assets.spark.session.shipped_code import ships_code
from sparktorch_assets.spark.session.start import TOKEN

HERE = Path(__file__).parent


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project that only the driver can import, as it finds it in each test anew."""
    project = Project(tmp_path)
    project.write()
    for place in reversed(project.path):
        monkeypatch.syspath_prepend(place)
    yield project
    for name in [name for name in sys.modules if name.partition(".")[0] in Project.TOPS]:
        del sys.modules[name]


@pytest.fixture
def world(tmp_path, project, spark, monkeypatch):
    """A local session that ships code: its workers have the environment of this process, but not its `sys.path`."""
    spark.conf.set("spark.sparktorch.ship", "true")
    monkeypatch.setitem(spark.sparkContext.environment, "PYTHONPATH", str(project.on_workers))
    yield World(tmp_path, spark)
    spark.conf.unset("spark.sparktorch.ship")


@pytest.mark.slow
@pytest.mark.promise("O210")
@pytest.mark.parametrize(
    ("hook", "mark"),
    [
        ("shop.hooks:mark", "1 a"),
        ("acme.tones.hooks:mark", "namespace"),
        ("alone:mark", "alone"),
        ("zipped.hooks:mark", "zipped"),
        ("rival.hooks:mark", "project"),
    ],
    ids=["a package with data", "a namespace package", "a single file", "in an archive", "installed there as well"],
)
def test_what_a_task_names_is_brought_to_the_workers(hook, mark, world):
    """The network is in a package under `src/`, with relative imports. What is shipped wins over what is installed."""
    assert world.score(hook) == [[mark], ROWS]


@pytest.mark.slow
def test_a_second_task_finds_its_files_next_to_what_workers_have_imported_for_the_first(world):
    """Both find their data files through `shop.place`, which a worker imports once."""
    assert world.score("shop.hooks:mark", "first") == [["1 a"], ROWS]
    assert world.score("shop.late:mark", "second") == [["late"], ROWS]


@pytest.mark.slow
def test_assets_loaders_and_functions_bring_their_code(world):
    from shop.loader import ShopLoader
    from shop.wrapped import marking

    resource = SparkSessionResource(master="local[2]", ship=True)
    assert world.materialize(resource) == [["1 a"], ROWS]
    assert world.score("shop.hooks:mark", loader=ShopLoader) == [["1 a"], ROWS]
    assert world.predict(marking("a function")) == [["a function"], ROWS]
    assert world.predict(lambda row: marking("by value")(row | {"other": 1})) == [["by value"], ROWS]


@pytest.mark.slow
@pytest.mark.promise("O211")
def test_an_edit_is_shipped_once_and_runs_in_other_workers(world, project):
    """A module, then a data file; then the first version again. A comment changes nothing that is run."""
    sent = shipped_code._sent
    assert world.score("shop.hooks:mark") == [["1 a"], ROWS]
    before = len(sent[world.session])
    assert world.score("shop.hooks:mark", "the same") == [["1 a"], ROWS]
    assert len(sent[world.session]) == before
    project.edit("src/shop/rates.py", "RATE = 2\n")
    assert world.score("shop.hooks:mark") == [["2 a"], ROWS]
    project.edit("src/shop/word.txt", "b")
    assert world.score("shop.hooks:mark") == [["2 b"], ROWS]
    assert len(sent[world.session]) == before + 2
    project.edit("src/shop/rates.py", "RATE = 1  # as before\n")
    project.edit("src/shop/word.txt", "a")
    assert world.score("shop.hooks:mark", "reverted") == [["1 a"], ROWS]
    assert not [entry for entry in sys.path if "sparktorch-" in entry]


@pytest.mark.slow
@pytest.mark.promise("O211")
def test_an_edited_data_file_is_shipped_to_a_second_module_that_names_it(world, project):
    """The module itself is new to the workers, and the file is not: another module has brought it."""
    hook = """
        from pathlib import Path

        def mark(row):
            return row | {"mark": Path(__file__).with_name("mark.txt").read_text()}
    """
    for module in ("first_of_two", "second_of_two"):
        project.edit(f"{module}.py", hook)
    project.edit("mark.txt", "one")
    assert world.score("first_of_two:mark", "first") == [["one"], ROWS]
    project.edit("mark.txt", "two")
    assert world.score("second_of_two:mark", "second") == [["two"], ROWS]


@pytest.mark.slow
@pytest.mark.promise("O212")
def test_a_worker_that_has_another_copy_is_an_error_that_names_it(world):
    """Not shipped, a copy that is installed there is refused; shipped, one that a worker has imported already."""
    world.session.conf.set("spark.sparktorch.ship", "false")
    installed = r"worker/site-packages/rival/hooks\.py"
    with pytest.raises(
        HostError, match=rf"module 'rival.hooks' on .*{installed}\) is not what this job was planned with"
    ):
        world.score("rival.hooks:mark")
    world.session.conf.set("spark.sparktorch.ship", "true")
    package = "rival"

    def imports(row):
        module = __import__("importlib").import_module(f"{package}.hooks")  # no code shows it, so it is not shipped
        return row | {"mark": module.__name__}

    assert world.predict(imports) == [["rival.hooks"], ROWS]
    shipped = r"sparktorch-code-.*/rival/hooks\.py"
    with pytest.raises(HostError, match=rf"another version of module 'rival.hooks', from .*{installed};.*{shipped}"):
        world.score("rival.hooks:mark")


@pytest.mark.slow
@pytest.mark.promise("O213")
def test_what_a_worker_lacks_is_named(world, project, monkeypatch):
    """A module that is not shipped, and an installed package, which never is."""
    world.session.conf.set("spark.sparktorch.ship", "false")
    with pytest.raises(HostError, match=r"module 'alone' cannot be found on .*spark\.sparktorch\.ship=true"):
        world.score("alone:mark")
    world.session.conf.set("spark.sparktorch.ship", "true")
    monkeypatch.syspath_prepend(project.on_driver)
    with pytest.raises(
        TaskError, match=r"module 'only_here' is not installed here.* its Python lacks: only_here\. Install"
    ):
        world.score("needs:mark")


def test_a_setting_that_is_neither_true_nor_false_is_refused_before_the_job(world):
    assert ships_code(world.session)
    world.session.conf.set("spark.sparktorch.ship", "maybe")
    with pytest.raises(HostError, match=r"^spark\.sparktorch\.ship='maybe' must be true or false$"):
        world.score("alone:mark")
    world.session.conf.unset("spark.sparktorch.ship")
    assert not ships_code(world.session)


@pytest.mark.parametrize(
    ("master", "ships"),
    [
        ("local[*]", False),
        ("local-cluster[2,1,1024]", True),
        ("spark://a:7077", True),
        ("yarn", True),
        ("k8s://b", True),
    ],
)
def test_clusters_ship_and_local_sessions_do_not(master, ships):
    conf = SimpleNamespace(get=lambda key, default: master if key == "spark.master" else default)
    assert ships_code(SimpleNamespace(conf=conf)) is ships


EXPECTED = {
    "table": [["1 a"], ROWS],
    "another": [["late"], ROWS],
    "rival": [["project"], ROWS],
    "asset": [["1 a"], ROWS],
    "script": [["by value 1"], ROWS],
}


def run(root: Path, place: str, **variables: str) -> dict:
    (root / "cwd").mkdir()
    done = subprocess.run(
        [sys.executable, HERE / "ship_session.py", root, place],
        env=os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parent}:{HERE.parents[1]}"} | variables,
        cwd=root / "cwd",
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(420)
@pytest.mark.promise("O214")
@pytest.mark.usefixtures("no_work_folder")
def test_a_cluster_ships_without_being_asked(tmp_path):
    said = run(tmp_path, "local-cluster[2,1,1024]")
    assert {name: said[name] for name in EXPECTED} == EXPECTED
    assert said["edited"] == [["2 a"], ROWS]
    assert said["not shipped"][0] == HostError.__name__


@pytest.fixture
def server(tmp_path):
    """A Connect server in a process of its own, whose workers have the library and what is installed: its port and
    the variables of clients."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {TOKEN: "a token of this test"}
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sparktorch_assets.spark.session.server", "--port", str(port), "--master", "local[2]",
             "--memory", "1g"],
            env=os.environ | variables | {"PYTHONPATH": f"{HERE.parents[1]}:{Project(tmp_path).on_workers}"},
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )  # fmt: skip
    try:
        while not _answers(port):
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            time.sleep(0.2)
        yield port, variables
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(420)
@pytest.mark.promise("O214")
def test_a_connect_server_ships_without_being_asked(server, tmp_path):
    """An edit runs in workers that have not imported what was edited, and is refused by those that have: they are the
    session's, and Spark may have replaced them meanwhile."""
    port, variables = server
    said = run(tmp_path, f"sc://localhost:{port}", **variables)
    assert {name: said[name] for name in EXPECTED} == EXPECTED
    found, message = said["edited"]
    if found != ["2 a"]:
        assert found == HostError.__name__
        assert "another version of module 'shop.rates'" in message
        assert "start a new session" in message
    assert said["not shipped"][0] == HostError.__name__
