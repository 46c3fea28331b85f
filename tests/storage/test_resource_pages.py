"""What Dagster's UI asks its server about the resources contains a secret's variable, not its value."""

import json
import os
import sys
from pathlib import Path

import pytest
from servers import Server, eventually, free_ports, graphql

LOCATION = Path(__file__).with_name("stored_location.py")
CANARY = "s3cr3t-c4n4ry-of-the-lake"
RESOURCES = """query {
  repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } }
}"""
PAGE = """query($selector: ResourceSelector!) {
  topLevelResourceDetailsOrError(resourceSelector: $selector) {
    ... on ResourceDetails {
      name
      description
      configFields { name configTypeKey description defaultValueAsJson }
      configuredValues { key value type }
    }
  }
}"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.promise("T152")
def test_the_pages_of_resources_show_the_variable(tmp_path: Path):
    (port,) = free_ports(1)
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path), "CANARY_SECRET": CANARY, "HOME": str(tmp_path)}
    command = ["-m", "dagster_webserver", "-f", LOCATION, "-h", "127.0.0.1", "-p", port]
    server = Server(
        [sys.executable, "-W", "ignore", *command], log=tmp_path / "webserver.log", env=environment, cwd=tmp_path
    )
    try:
        address = f"http://127.0.0.1:{port}"
        (found,) = eventually(
            lambda: graphql(address, RESOURCES)["repositoriesOrError"].get("nodes"), seconds=240, servers=[server]
        )
        selector = {"repositoryName": found["name"], "repositoryLocationName": found["location"]["name"]}
        for name in ("lake", "model_loader"):
            page = graphql(address, PAGE, {"selector": {**selector, "resourceName": name}})
            text = json.dumps(page)
            assert "CANARY_SECRET" in text
            assert "eu-central-1" in text
            assert CANARY not in text
        assert CANARY not in server.said()
    finally:
        server.stop()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
