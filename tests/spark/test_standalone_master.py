"""A standalone master that does not answer is named before a JVM starts."""

import socket

import pytest
from servers import free_ports

from sparktorch_assets.errors import HostError
from sparktorch_assets.spark.session import standalone_master
from sparktorch_assets.spark.session.standalone_master import require_standalone_master


@pytest.mark.promise("O205")
@pytest.mark.parametrize(
    "address", ["127.0.0.1:{port}", "user:c4n4ry@127.0.0.1:{port}", "127.0.0.1:{port},127.0.0.1:1"]
)
def test_a_master_that_does_not_listen_is_named(monkeypatch, address):
    monkeypatch.setattr(standalone_master, "_WAIT_S", 0.1)
    master = "spark://" + address.format(port=free_ports(1)[0])
    with pytest.raises(
        HostError, match=r"no standalone master can be reached at 'spark://.*Connection refused"
    ) as caught:
        require_standalone_master(master)
    assert "c4n4ry" not in str(caught.value)


def test_one_of_several_masters_is_enough():
    """The others stand by."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        require_standalone_master(f"spark://127.0.0.1:{free_ports(1)[0]},127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize(
    "master", ["local[2]", "yarn", "k8s://https://host:443", "local-cluster[2,1,1024]", "spark://odd"]
)
def test_other_masters_are_not_asked(master):
    require_standalone_master(master)
