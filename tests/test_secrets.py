"""A canary in every setting that can hold a secret is found in no log, message, representation or metadata."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.errors import HostError, InputSchemaError, SparktorchError, TableError, TaskError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.table import Table
from sparktorch_assets.masking import has_password, without_secrets
from sparktorch_assets.orchestration.assets.input import build_input_asset
from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource, SparkSessionResource
from sparktorch_assets.orchestration.runtime import runtime_definitions
from sparktorch_assets.spark.inputs.materialize import _Refresh, materialize_input
from sparktorch_assets.spark.inputs.sources import find_sources
from sparktorch_assets.spark.session import start as session
from sparktorch_assets.tasks import InputTable

CANARY = "c4n4ry"
SETTINGS = {"spark.hadoop.fs.s3a.secret.key": CANARY, "spark.custom": CANARY, "spark.sql.catalog.x.option": CANARY}
MASTERS = [f"spark://user:{CANARY}@host:7077", f"k8s://https://user:{CANARY}@host:443"]
REMOTES = [f"sc://host:15002/;token={CANARY}", f"sc://host:15002/;use_ssl=true;token={CANARY}"]
TABLES = [
    f"s3://key:{CANARY}@bucket/lake",
    f"s3://key:a/{CANARY}/b@bucket/lake",
    f"hdfs://user:{CANARY}@host:8020/lake",
]


class RunningContext:
    """A Spark context that runs with other settings."""

    def __init__(self, master: str) -> None:
        self.master = master

    def getConf(self) -> Any:
        return self

    def getAll(self) -> list[tuple[str, str]]:
        return [(key, f"{CANARY} of before") for key in SETTINGS]


def test_settings_that_come_too_late_are_named_without_their_values(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG):
        session._compare(RunningContext("local[2]"), "local[2]", SETTINGS)
    assert "spark.hadoop.fs.s3a.secret.key" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize("master", MASTERS)
def test_a_running_sessions_master_is_named_without_credentials(master: str):
    for running, wanted in ((master, "local[2]"), ("local[2]", master)):
        with pytest.raises(HostError) as caught:
            session._compare(RunningContext(running), wanted, {})
        assert CANARY not in str(caught.value)


@pytest.mark.parametrize("remote", REMOTES)
def test_a_connect_servers_token_is_not_named(remote: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HostError, match="Spark Connect's packages") as caught:
        session.start_session(remote=remote, config=SETTINGS)
    assert CANARY not in str(caught.value)


def resources() -> list[Any]:
    return [
        *(SparkSessionResource(master=master, config=SETTINGS, spark_config=SETTINGS) for master in MASTERS),
        *(SparkSessionResource(remote=remote, config=SETTINGS) for remote in REMOTES),
        *(LakeResource(root=root) for root in TABLES),
        *(ModelLoaderResource(models_root=root) for root in TABLES),
    ]


def test_resources_show_no_secret():
    for resource in resources():
        assert CANARY not in repr(resource)
        assert CANARY not in str(resource)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SparkSessionResource(config=SETTINGS, mastre="local[2]"),
        lambda: SparkSessionResource(config=json.dumps(SETTINGS)),
        lambda: SparkSessionResource(config=SETTINGS, master=[CANARY]),
        lambda: LakeResource(root=[TABLES[0]]),
    ],
)
def test_a_refused_resource_shows_no_secret(make: Callable[[], Any]):
    with pytest.raises(Exception, match="validation error") as caught:
        make()
    assert CANARY not in str(caught.value)


def test_a_secret_from_the_environment_reaches_spark_and_not_dagster(monkeypatch: pytest.MonkeyPatch):
    """Dagster keeps whatever is given to a resource, and shows it: so a secret is given by its variable's name."""
    spark = SparkSessionResource(config={"a": "1"}, config_from_environment={"spark.secret": "SECRET"})
    repository = runtime_definitions(".", spark=spark).get_repository_def()
    started: dict[str, Any] = {}
    monkeypatch.setattr("sparktorch_assets.spark.session.start.start_session", started.update)
    with pytest.raises(HostError, match="takes spark.secret from the environment variable 'SECRET', which is not set"):
        spark._init_session()
    monkeypatch.setenv("SECRET", CANARY)
    snapshot = dg.serialize_value(RepositorySnap.from_def(repository))
    assert "config_from_environment" in snapshot
    assert CANARY not in snapshot + repr(spark)
    spark._init_session()
    assert started["config"] == {"a": "1", "spark.secret": CANARY}


def test_an_environment_variable_inside_the_settings_is_refused():
    """Dagster would take its name for its value, in silence."""
    with pytest.raises(Exception, match=r"write config_from_environment=\{'spark.secret': 'SECRET'\}"):
        SparkSessionResource(config={"spark.secret": dg.EnvVar("SECRET")})


@pytest.mark.parametrize("uri", TABLES)
def test_a_tables_address_with_a_password_is_refused_everywhere(uri: str):
    """It would be in metadata, in each error about the table, and in the log of each refresh."""
    for use in (Folder, Table):
        with pytest.raises(
            TableError, match=r"the address of a table contains a password.*AWS_SECRET_ACCESS_KEY"
        ) as caught:
            use(uri)
        assert CANARY not in str(caught.value)


def table(**changes: Any) -> InputTable:
    fields: dict[str, Any] = {
        "name": "events",
        "source": ["*.csv"],
        "format": "csv",
        "columns": {"a": "long"},
        "options": {"header": True, "password": CANARY},
    }
    return InputTable(**{**fields, **changes})


def test_reader_options_are_not_shown(tmp_path: Path):
    assert CANARY not in repr(table())
    (tmp_path / "a.csv").write_text("b\n1\n")
    problems: list[tuple[type[SparktorchError], InputTable]] = [
        (InputSchemaError, table()),
        (TableError, table(source=["*.tsv"])),
        (TaskError, table(options={"mode": CANARY})),
    ]
    for kind, wrong in problems:
        with pytest.raises(kind) as caught:
            materialize_input(
                lambda: pytest.fail("no session"), wrong, project_root=tmp_path, table_uri=str(tmp_path / "t")
            )
        assert CANARY not in str(caught.value)
    assert _Refresh._shown_options(type("Refresh", (), {"_table": table()})()) == "header, password"


def test_an_input_assets_definition_shows_no_reader_option():
    definitions = dg.Definitions.merge(dg.Definitions(assets=[build_input_asset(table())]), runtime_definitions("."))
    assert CANARY not in dg.serialize_value(RepositorySnap.from_def(definitions.get_repository_def()))


def test_sources_are_found_whatever_the_options(tmp_path: Path):
    (tmp_path / "a.csv").write_text("a\n1\n")
    assert CANARY not in repr(find_sources(table(), tmp_path))


@given(st.text("abc:/@;", max_size=8), st.text("abc/:+=;", max_size=8))
def test_no_password_survives_masking(user: str, password: str):
    """Whatever characters stand around it."""
    user, password = user.replace("/", "").replace("@", "").replace(":", ""), f"x{password}{CANARY}x"
    address = f"s3://{user}:{password}@bucket/lake"
    assert CANARY not in without_secrets(address)
    assert has_password(address)


@pytest.mark.parametrize(
    "address",
    [
        "/data/lake",
        "s3://bucket/lake@1",
        "s3://bucket/a:b@c",
        "abfss://container@account.dfs.core.windows.net/lake",
        "hdfs://host:8020/lake@1",
        "sc://host:15002",
        "local[2]",
        "C:/x@y",
    ],
)
def test_addresses_without_a_secret_stay_as_they_are(address: str):
    assert without_secrets(address) == address
    assert not has_password(address)
