"""A cluster of three hosts for each file of tests."""

import pytest
from hosts import hosts, why_not_apart
from standalone import standalone


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, request):
    """A standalone cluster: a master on the host `driver`, a worker with one core each on the hosts `worker1` and
    `worker2`."""
    reason, reporter = why_not_apart(), request.config.pluginmanager.get_plugin("terminalreporter")
    if reason and reporter is not None:
        reporter.write_line(f"\nall hosts of the cluster are this one, on loopback: {reason}")
    folder = tmp_path_factory.mktemp("cluster")
    with hosts(["driver", "worker1", "worker2"], folder) as found, standalone(found, folder) as running:
        yield running
