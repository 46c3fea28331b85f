"""Disks of their own, and a look at what is left."""

import os

import pytest
from programs import MUST_HAVE

from sparktorch_assets.errors import HostError
from sparktorch_assets.testing.faults import small_disk


def skip_or_fail(reason: str) -> None:
    """Skip the test; fail it where nothing may be skipped."""
    if os.environ.get(MUST_HAVE):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def disk(tmp_path):
    """A disk of 2 MB at `disk` in the test's folder; only root can mount one."""
    try:
        mounted = small_disk(tmp_path / "disk")
        with mounted as made:
            yield made
    except HostError as error:
        skip_or_fail(str(error))
