"""Folders in shared places: used only where nobody else can have put something into them."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sparktorch_assets.errors import HostError
from sparktorch_assets.predict.batches.shared_limits import SharedLimits
from sparktorch_assets.predict.model import device, gpu_lease
from sparktorch_assets.predict.model.gpu_lease import take_lease
from sparktorch_assets.private_folder import PrivateFolder, _warn_once, require_private, temporary_folder
from sparktorch_assets.spark.session import java
from sparktorch_assets.spark.session import start as session

NOBODY = 65533


def of_another_user(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make another user's folder")
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)


def open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def open_to_the_group(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o770)


def a_link_to_a_folder(folder: Path) -> None:
    target = folder.with_name("target")
    target.mkdir(mode=0o700)
    folder.symlink_to(target)


def a_dangling_link(folder: Path) -> None:
    folder.symlink_to(folder.with_name("nowhere"))


def a_file(folder: Path) -> None:
    folder.touch()


PLANTED = [of_another_user, open_to_all, open_to_the_group, a_link_to_a_folder, a_dangling_link, a_file]
planted = pytest.mark.parametrize("plant", PLANTED)


@pytest.fixture(autouse=True)
def _a_new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(gpu_lease, "_held", {})
    _warn_once.cache_clear()


@planted
def test_a_planted_folder_is_neither_read_nor_written(tmp_path: Path, plant: Callable[[Path], None]):
    plant(tmp_path / "shared")
    before = sorted(tmp_path.rglob("*"))
    folder = PrivateFolder(tmp_path / "shared")
    for use in (lambda: folder.read("a"), lambda: folder.replace("a", b""), lambda: folder.open_lock("a")):
        with pytest.raises(PermissionError, match="shared"):
            use()
    with pytest.raises(PermissionError, match="shared"):
        require_private(tmp_path / "shared")
    assert sorted(tmp_path.rglob("*")) == before


def a_link_of_another_user(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make another user's link")
    a_link_to_a_folder(folder)
    os.lchown(folder, NOBODY, NOBODY)


@pytest.mark.parametrize("plant", [of_another_user, open_to_all, a_link_of_another_user])
def test_a_folder_that_somebody_could_replace_is_not_used(tmp_path: Path, plant: Callable[[Path], None]):
    """Whoever can rename a folder above it can put another one in its place at any time."""
    plant(tmp_path / "above")
    with pytest.raises(PermissionError, match=r"replace .*above/shared"):
        PrivateFolder(tmp_path / "above" / "shared").replace("a", b"")


def test_the_temporary_directory_and_group_folders_above_are_fine(tmp_path: Path):
    """There the sticky bit keeps names safe; a user's own group is the default of many systems."""
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    (tmp_path / "sticky" / "group").mkdir()
    (tmp_path / "sticky" / "group").chmod(0o775)
    PrivateFolder(tmp_path / "sticky" / "group" / "shared").replace("a", b"")


def test_a_missing_folder_is_made_for_this_user_alone(tmp_path: Path):
    folder = PrivateFolder(tmp_path / "shared")
    folder.replace("a", b"1")
    folder.open_lock("b").close()
    assert folder.read("a") == b"1"
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.path.iterdir()} == {0o600}


def test_links_inside_the_folder_are_not_followed(tmp_path: Path):
    """They may be left from before the folder was private; what they point at stays as it is."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o700)
    for name in ("read", "replaced", "locked"):
        (shared / name).symlink_to(victim)
    folder = PrivateFolder(shared)
    with pytest.raises(OSError, match="symbolic link"):
        folder.read("read")
    with pytest.raises(OSError, match="symbolic link"):
        folder.open_lock("locked")
    folder.replace("replaced", b"new")
    assert folder.read("replaced") == b"new"
    assert victim.read_text() == "precious"


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path):
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o700)
    os.mkfifo(shared / "a")
    with pytest.raises(PermissionError, match="not a regular file"):
        PrivateFolder(shared).read("a")


@planted
def test_limits_of_a_planted_folder_are_not_believed(
    tmp_path: Path, plant: Callable[[Path], None], caplog: pytest.LogCaptureFixture
):
    """No sharing, one warning that names the folder, and the run goes on."""
    folder = tmp_path / f"sparktorch-memory-{os.getuid()}"
    plant(folder)
    if folder.is_dir():
        (folder / "model.json").write_text(json.dumps({"0": 1}))
    shared = SharedLimits("model")
    with caplog.at_level(logging.WARNING):
        assert shared.read() == {}
        shared.write({0: 4})
        assert shared.read() == {}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert folder.name in caplog.text


@planted
def test_no_gpu_is_leased_from_a_planted_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Path], None]
):
    """The slot's number chooses the GPU then."""
    plant(tmp_path / f"sparktorch-gpu-{os.getuid()}")
    assert take_lease(("0", "1"), 1, tmp_path / f"sparktorch-gpu-{os.getuid()}", wait=True) is None
    monkeypatch.setattr(device, "gpus_visible", lambda: 2)
    chosen = device.choose_device("auto", models_per_gpu=1, partition_index=3)
    assert (chosen.gpu, chosen.lease) == (1, None)


@planted
def test_no_script_in_a_planted_folder_becomes_java(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Path], None]
):
    """The wrapper of the wheel's Java lies in the temporary directory where there is no home folder."""
    plant(temporary_folder())
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no/such/folder")
    with pytest.raises(HostError, match=r"no folder could hold it.*sparktorch_assets-\d+"):
        java._wrap(tmp_path / "java", "25")


@planted
@pytest.mark.parametrize("depth", [0, 1, 2], ids=["cache", "home", "bin"])
@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "HOME"])
def test_no_script_in_a_planted_cache_becomes_java(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Path], None], depth: int, variable: str
):
    """The cache of the user may lie in a place that others can write to as well; the temporary directory is taken then."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "user"))
    good = java._wrap(tmp_path / "java", "25")
    assert good.is_relative_to(tmp_path / "user")
    planted_at = [good.parent, good, good / "bin"][depth]
    shutil.rmtree(planted_at)
    plant(planted_at)
    assert java._wrap(tmp_path / "java", "25").is_relative_to(temporary_folder())


@planted
def test_no_tables_are_kept_in_a_planted_folder(plant: Callable[[Path], None]):
    plant(temporary_folder())
    with pytest.raises(
        HostError, match=r"not this user's alone: .*sparktorch_assets-\d+.*set spark\.sql\.warehouse\.dir"
    ):
        session.prepare_host("local[1]", {})
