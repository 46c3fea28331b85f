"""deploy/ at work: PostgreSQL, the daemon, the code server, both web servers and the proxy, from deploy/'s own files."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from chromium import chromium
from deltalake import DeltaTable
from playwright.sync_api import expect
from production import ASSETS, OPERATOR, VIEWER, Production, basic, production
from websockets.sync.client import connect

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.jvm, pytest.mark.timeout(500)]

RUNS = """
query ($tag: String!) {
  runsOrError(filter: {tags: [{key: "dagster/schedule_name", value: $tag}]}) { ... on Runs { results { runId status } } }
}
"""
STATUS = "query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
LAUNCH = """
mutation ($location: String!) {
  launchRun(executionParams: {selector: {
    repositoryLocationName: $location, repositoryName: "__repository__", jobName: "endless_job"
  }}) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""
TERMINATE = "mutation ($run: String!) { terminateRun(runId: $run) { __typename } }"
PATHS = ["/", "/graphql", "/logs/a/b/c.out", "/server_info", "//graphql", "/%67raphql"]
REPORTS = ["materialization", "observation", "check"]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    project = tmp_path_factory.mktemp("project")
    (project / "source").mkdir()
    (project / "source/numbers.csv").write_text("n,x\n" + "".join(f"{n},{n - 50}\n" for n in range(100)))
    with production(tmp_path_factory.mktemp("host"), project) as running:
        running.project = project
        yield running


def answer(
    host: Production, path: str, *, by: tuple[str, str] | None = None, method: str = "GET", port: int = 0, **given: Any
) -> tuple[int, str]:
    """Status and body of one request through the proxy. `given` are a `body` and headers, with `_` for `-`."""
    connection = http.client.HTTPSConnection("127.0.0.1", port or host.operators_port, context=host.tls(), timeout=30)
    body = given.pop("body", None)
    headers = {name.replace("_", "-"): value for name, value in given.items()}
    if by is not None:
        headers["Authorization"] = basic(*by)
    connection.request(method, path, body, headers)
    found = connection.getresponse()
    status, text = found.status, "" if found.status == 101 else found.read().decode(errors="replace")
    connection.close()
    return status, text


def ask(host: Production, query: str, **given: Any) -> tuple[int, str]:
    body = json.dumps({"query": query, **given.pop("more", {})})
    return answer(host, "/graphql", method="POST", body=body, Content_Type="application/json", **given)


@pytest.mark.promise("O120", "O170")
def test_a_schedules_tick_starts_a_run_that_succeeds(host: Production):
    """With nobody's help: the daily schedule, which this location has every minute, is on from the start."""
    runs = host.until(lambda: host.ask(RUNS, {"tag": "daily_predictions"})["runsOrError"]["results"])
    first = runs[-1]["runId"]

    def ended() -> str | None:
        status = host.ask(STATUS, {"run": first})["runOrError"]["status"]
        return status if status in {"SUCCESS", "FAILURE", "CANCELED"} else None

    assert host.until(ended) == "SUCCESS", host.servers["dagster-code-server"].said()
    rows = DeltaTable(host.project / "data/lake/predictions/sign").to_pyarrow_table().to_pylist()
    assert len(rows) == 100
    assert {row["n"]: row["predicted_class"] for row in rows}[99] == "above"


@pytest.mark.promise("O120")
def test_all_services_share_the_database_and_its_settings(host: Production):
    """The web server sees the daemon's heartbeats; each part of the daemon that these settings ask for is well."""
    fields = (
        "info runQueueConfig { maxConcurrentRuns } daemonHealth { allDaemonStatuses { daemonType required healthy } }"
    )
    found = host.until(lambda: _once_all_are_well(host.ask(f"{{ instance {{ {fields} }} }}")["instance"]))
    parts = {status["daemonType"] for status in found["daemonHealth"]["allDaemonStatuses"] if status["required"]}
    assert parts >= {"SCHEDULER", "SENSOR", "QUEUED_RUN_COORDINATOR", "MONITORING", "BACKFILL"}
    assert found["runQueueConfig"]["maxConcurrentRuns"] == 4
    assert host.variables["DAGSTER_PG_PASSWORD"] not in found["info"]
    assert not list(host.home.rglob("*.db")), "nothing is in SQLite files"


def _once_all_are_well(instance: Any) -> Any:
    statuses = instance["daemonHealth"]["allDaemonStatuses"]
    return instance if all(status["healthy"] for status in statuses if status["required"]) else None


@pytest.mark.promise("O121")
def test_nobody_gets_anything_without_a_password(host: Production):
    for port in (host.operators_port, host.viewers_port):
        for path in PATHS:
            assert answer(host, path, port=port)[0] == 401, path
        assert answer(host, "/graphql?query={version}", port=port)[0] == 403
        assert ask(host, "{ version }", port=port)[0] == 401
        assert answer(host, "/graphql", port=port, **an_upgrade())[0] == 401
    for report in REPORTS:
        assert answer(host, f"/report_asset_{report}/numbers", method="POST")[0] == 401
    for stranger in (VIEWER, (OPERATOR[0], "guess"), ("", "")):
        assert ask(host, "{ version }", by=stranger)[0] == 401


def an_upgrade() -> dict[str, str]:
    """The headers that open a websocket."""
    key = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec_WebSocket_Version": "13"}
    return {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Protocol": "graphql-ws", **key}


@pytest.mark.promise("O121")
def test_an_operator_gets_everything(host: Production):
    assert answer(host, "/", by=OPERATOR)[0] == 200
    assert ask(host, "{ version }", by=OPERATOR)[0] == 200
    assert answer(host, "/report_asset_materialization/elsewhere", method="POST", by=OPERATOR)[0] == 200
    port, headers = host.operators_port, {"Authorization": basic(*OPERATOR)}
    with connect(
        f"wss://127.0.0.1:{port}/graphql",
        ssl=host.tls(),
        subprotocols=["graphql-ws"],
        additional_headers=headers,
        origin=f"https://127.0.0.1:{port}",
    ) as socket:
        socket.send('{"type": "connection_init"}')
        assert json.loads(socket.recv(timeout=30)) == {"type": "connection_ack"}


@pytest.mark.promise("O122")
def test_a_viewer_sees_runs_and_changes_nothing(host: Production):
    port = host.viewers_port
    status, text = ask(host, ASSETS, by=VIEWER, port=port)
    assert status == 200
    assert "sign" in text
    variables = {"more": {"variables": {"location": host.variables["CODE_LOCATION_NAME"]}}}
    status, text = ask(host, LAUNCH, by=VIEWER, port=port, **variables)
    assert "Unauthorized" in text, text
    for report in REPORTS:
        assert answer(host, f"/report_asset_{report}/numbers", method="POST", by=VIEWER, port=port)[0] == 403
        behind = http.client.HTTPConnection("127.0.0.1", int(host.variables["VIEWER_PORT"]), timeout=30)
        body = json.dumps({"check_name": "no_row_lost", "passed": True})
        behind.request("POST", f"/report_asset_{report}/numbers", body, {"Content-Type": "application/json"})
        assert behind.getresponse().status == 401


@pytest.mark.promise("O123")
def test_another_websites_page_cannot_use_a_browsers_password(host: Production):
    """Browsers send the password along with what such a page asks for; the proxy refuses it by its origin."""
    own = f"https://127.0.0.1:{host.operators_port}"
    assert (
        ask(host, "{ version }", by=OPERATOR, Origin=own, Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors")[0] == 200
    )
    for foreign in (
        "https://elsewhere.example",
        f"{own}.elsewhere.example",
        f"http://127.0.0.1:{host.operators_port}",
        "null",
    ):
        assert ask(host, "{ version }", by=OPERATOR, Origin=foreign)[0] == 403
        assert answer(host, "/graphql", by=OPERATOR, Origin=foreign, **an_upgrade())[0] == 403
        report = "/report_asset_materialization/numbers"
        assert answer(host, report, method="POST", by=OPERATOR, Origin=foreign)[0] == 403
    for mode in ("no-cors", "cors", "websocket"):
        for site in ("cross-site", "same-site"):
            assert answer(host, "/", by=OPERATOR, Sec_Fetch_Site=site, Sec_Fetch_Mode=mode)[0] == 403
    # A link on another page may lead here; a picture there may not run a mutation from its address.
    assert answer(host, "/assets", by=OPERATOR, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200
    for query in ("query={version}", "%71uery={version}", "op=Any&query={version}"):
        assert answer(host, f"/graphql?{query}", by=OPERATOR)[0] == 403
        assert answer(host, f"/%67raphql?{query}", by=OPERATOR)[0] == 403
        assert (
            answer(host, f"/graphql?{query}", by=OPERATOR, method="POST", body="", Content_Type="text/plain")[0] == 403
        )


@pytest.mark.promise("O121")
def test_the_port_without_tls_only_points_to_the_other(host: Production):
    connection = http.client.HTTPConnection("127.0.0.1", host.redirect_port, timeout=30)
    connection.request("GET", "/graphql", headers={"Authorization": basic(*OPERATOR), "Host": "dagster.example.org"})
    found = connection.getresponse()
    assert (found.status, found.headers["Location"]) == (301, "https://dagster.example.org/graphql")


@pytest.mark.browser
@pytest.mark.promise("O121")
def test_the_ui_works_behind_the_proxy(host: Production):
    """Nothing that Dagster's pages ask for is refused, and a run's page gets its events over a websocket."""
    refused: list[str] = []
    frames: list[object] = []
    (user, password), address = OPERATOR, host.operators
    with chromium() as browser:
        page = browser.new_page(
            http_credentials={"username": user, "password": password}, ignore_https_errors=True, base_url=address
        )
        page.on("response", lambda found: refused.append(found.url) if found.status in {403, 502} else None)
        page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.extend([frame])))
        page.goto("/asset-groups")
        expect(page.get_by_text("predictions").first).to_be_visible(timeout=60_000)
        launched = host.ask(LAUNCH, {"location": host.variables["CODE_LOCATION_NAME"]})["launchRun"]["run"]["runId"]
        page.goto(f"/runs/{launched}")
        expect(page.get_by_text("RUN_ENQUEUED").first).to_be_visible(timeout=60_000)
        assert frames
        assert not refused
    host.until(lambda: host.ask(TERMINATE, {"run": launched})["terminateRun"]["__typename"] == "TerminateRunSuccess")


@pytest.mark.promise("O124", "O125")
def test_a_run_that_dies_with_its_code_server_is_failed_at_the_next_start(host: Production):
    """After a power failure, the service's start finds the run; the web server and the daemon find the new server."""
    location = host.variables["CODE_LOCATION_NAME"]
    launched = host.ask(LAUNCH, {"location": location})["launchRun"]
    run = launched["run"]["runId"]

    def status() -> str:
        return host.ask(STATUS, {"run": run})["runOrError"]["status"]

    host.until(lambda: status() == "STARTED")
    host.servers.pop("dagster-code-server").kill()
    assert status() == "STARTED", "Dagster itself does not notice"
    host.start("dagster-code-server")
    assert status() == "FAILURE"
    assert (host.folder / "dagster-code-server.before").read_text().splitlines()[0] == f"run {run} was lost"
    again = host.until(lambda: host.ask(LAUNCH, {"location": location})["launchRun"].get("run"))["runId"]
    host.until(lambda: host.ask(STATUS, {"run": again})["runOrError"]["status"] == "STARTED")
    assert host.ask(TERMINATE, {"run": again})["terminateRun"]["__typename"] == "TerminateRunSuccess"
    host.until(lambda: host.ask(STATUS, {"run": again})["runOrError"]["status"] == "CANCELED")


@pytest.mark.promise("O125")
def test_stopping_the_services_leaves_no_process(host: Production):
    """The last test: each service ends on the signal that systemd sends, within its time."""
    for unit in ("dagster-viewer", "dagster-webserver", "dagster-daemon", "dagster-code-server"):
        process = host.servers[unit].process
        process.terminate()
        assert process.wait(60) is not None, unit
