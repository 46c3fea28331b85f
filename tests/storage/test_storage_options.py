"""One mapping for pyarrow and delta-rs: names, values, what is refused, and which addresses it is for."""

import pickle

import pytest
from pyarrow import fs

from sparktorch_assets.errors import TableError, TaskError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.storage.opening import delta_options, open_file_system
from sparktorch_assets.storage.patience import patient
from sparktorch_assets.storage.scopes import StorageScopes, set_storage_options, storage_scopes
from sparktorch_assets.storage.storage_options import _STORES, ALL_KEYS, find_key

SECRET = "s3cr3t/c4n4ry+x"
KEYS = {"aws_access_key_id": "id", "aws_secret_access_key": SECRET}


@pytest.fixture(autouse=True)
def _forget():
    yield
    StorageScopes().use()


@pytest.mark.promise("T155")
@pytest.mark.parametrize("scheme", sorted(_STORES))
def test_every_name_of_an_option_means_the_same_in_any_case(scheme):
    for key in _STORES[scheme].keys:
        for name in (key.name, *key.also):
            assert find_key(f"{scheme}://bucket", name) == find_key(f"{scheme}://bucket", name.upper()) == key


def test_a_name_is_a_secret_in_all_stores_or_in_none():
    for name, key in ALL_KEYS.items():
        for store in _STORES.values():
            found = [other for other in store.keys if name in (other.name, *other.also)]
            assert all(other.secret == key.secret for other in found), name


@pytest.mark.promise("T151")
@pytest.mark.parametrize(
    ("uri", "given", "message"),
    [
        (
            "s3://b",
            {"aws_acces_key_id": "a"},
            r"S3 has no option 'aws_acces_key_id' here; did you mean 'aws_access_key_id'\?",
        ),
        ("gs://b", KEYS, "Google Cloud Storage has no option 'aws_access_key_id' here"),
        ("/data/lake", KEYS, "'/data/lake': only addresses that begin with s3://"),
        ("hdfs://host/x", KEYS, "only addresses that begin with s3://"),
        ("s3://b", {"region": 5}, "the value of 'region' is of type int; give a string"),
        ("s3://b", {"region": ""}, "the value of 'region' is empty"),
        ("s3://b", {"allow_http": SECRET}, "'allow_http' must be 'true' or 'false'"),
        ("s3://b", {"region": "a", "AWS_REGION": "b"}, "'AWS_REGION' is another name of 'aws_region'"),
        ("s3://b", {"aws_secret_access_key": SECRET}, "aws_secret_access_key is given without aws_access_key_id"),
        ("s3://b", {"token": SECRET}, "aws_session_token is given without aws_access_key_id"),
        ("s3://b", KEYS | {"aws_iam_role_arn": "arn"}, "pyarrow assumes a role with the host's own identity only"),
        ("s3://b", KEYS | {"skip_signature": "true"}, "aws_skip_signature is true, and there are credentials"),
        (
            "s3://b",
            {"endpoint": "http://minio:9000"},
            "sends rows unencrypted. If that is meant, add aws_allow_http: true",
        ),
        ("s3://b", {"endpoint": "minio:9000"}, "aws_endpoint_url is no address"),
        ("s3://b", {"endpoint": f"https://u:{SECRET}@minio"}, "aws_endpoint_url has more than a host and a port"),
        ("gs://b", {"skip_signature": "true", "service_account": "f"}, "google_skip_signature is true"),
        ("abfs://c@a", {"account_key": SECRET, "sas_token": SECRET}, "which are different credentials"),
        (
            "abfs://c@a",
            {"client_secret": SECRET},
            "is given without azure_storage_client_id and azure_storage_tenant_id",
        ),
        ("az://c", {"endpoint": "https://x"}, "azure_storage_endpoint is given without azure_storage_account_name"),
    ],
)
def test_what_cannot_work_is_refused_without_its_value(uri, given, message):
    with pytest.raises(TaskError, match=message) as caught:
        set_storage_options(uri, given)
    assert SECRET not in str(caught.value)
    assert storage_scopes() == StorageScopes()


def test_nothing_shows_a_value():
    set_storage_options("s3://b/lake", KEYS)
    found = storage_scopes()
    options = found.options_for("s3://b/lake/t")
    assert repr(options) == "StorageOptions('s3', aws_access_key_id, aws_secret_access_key)"
    assert SECRET not in repr(found) + str(options)


@pytest.mark.promise("T150")
def test_options_are_pickled_whole_and_not_in_plain():
    set_storage_options("s3://b/lake", KEYS)
    sent = pickle.dumps(storage_scopes())
    assert pickle.loads(sent) == storage_scopes()
    assert SECRET.encode() not in sent


@pytest.mark.promise("T149")
def test_the_longest_beginning_counts_and_ends_at_a_slash():
    for uri, region in (("s3://", "all"), ("s3://b", "bucket"), ("s3a://b/lake/", "lake"), ("s3://b/a%20b", "spaced")):
        set_storage_options(uri, {"region": region})
    for uri, region in {
        "s3://other/x": "all",
        "s3://b/lake2": "bucket",
        "s3://b/lake": "lake",
        "s3://b/lake/t/part.parquet": "lake",
        "s3n://b/lake/t": "lake",
        "s3://b/a b/x": "spaced",
    }.items():
        assert delta_options(uri) == {"AWS_REGION": region}, uri
    for uri in ("gs://b/lake", "/b/lake", "relative", "hdfs://b/lake"):
        assert delta_options(uri) is None
    set_storage_options("s3://b/lake", None)
    assert delta_options("s3://b/lake/t") == {"AWS_REGION": "bucket"}


def test_an_address_with_options_of_its_own_is_refused():
    set_storage_options("s3://b", {"region": "eu"})
    with pytest.raises(ValueError, match=r"options of its own after a \?"):
        open_file_system("s3://b/x?region=us")


@pytest.mark.promise("T185")
@pytest.mark.parametrize("uri", ["s3://b/t#1", "s3://b/t#1/x", "file:///data/t#1", "file:///data/t?1"])
def test_a_part_of_an_address_is_never_left_out(uri):
    """`s3://b/t#1` and `s3://b/t#2` would be one table: `s3://b/t`."""
    set_storage_options("s3://b", KEYS | {"region": "eu"})
    with pytest.raises(TableError, match=r"in a URI, [#?] ends the path"):
        Folder(uri)


@pytest.mark.promise("T185")
@pytest.mark.parametrize("root", ["s3://b/models#1", "file:///models#1"])
def test_a_part_of_a_models_root_is_never_left_out(root):
    with pytest.raises(TaskError, match="in a URI, # ends the path"):
        ModelLoader(root)


@pytest.mark.promise("T185")
def test_a_number_sign_in_a_name_is_written_as_its_code():
    set_storage_options("s3://b", KEYS | {"region": "eu"})
    assert Folder("s3://b/t%231").root == "b/t#1"


@pytest.mark.promise("T185")
@pytest.mark.parametrize(("uri", "code"), [("s3://b/t#1", "%23"), ("s3://b/t?region=us", "%3F")])
def test_options_are_not_for_more_than_their_address_says(uri, code):
    with pytest.raises(TaskError, match=f"if it is part of a name, write {code}"):
        set_storage_options(uri, KEYS)
    assert not storage_scopes().scopes


@pytest.mark.promise("T147")
def test_s3_is_told_the_same_by_both():
    set_storage_options("s3://b", KEYS | {"token": "t", "region": "eu", "endpoint": "http://h:1", "allow_http": "TRUE"})
    found, path = open_file_system("s3://b/a%20b/")
    expected = {"access_key": "id", "secret_key": SECRET, "session_token": "t", "region": "eu"}
    assert found == patient(fs.S3FileSystem(**expected, scheme="http", endpoint_override="h:1"))
    assert path == "b/a b"
    assert delta_options("s3://b/x") == {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": "t",
        "AWS_REGION": "eu",
        "AWS_ENDPOINT_URL": "http://h:1",
        "AWS_ALLOW_HTTP": "true",
    }


def test_a_role_is_assumed_by_both(monkeypatch):
    given = {}
    monkeypatch.setattr("sparktorch_assets.storage.opening.patient", lambda filesystem: filesystem)
    monkeypatch.setattr(fs, "S3FileSystem", lambda **options: given.update(options))
    set_storage_options("s3://b", {"aws_iam_role_arn": "arn:aws:iam::1:role/r", "region": "eu"})
    open_file_system("s3://b")
    assert {name: value for name, value in given.items() if value} == {
        "role_arn": "arn:aws:iam::1:role/r",
        "region": "eu",
    }
    assert delta_options("s3://b")["AWS_FORCE_CREDENTIAL_LOAD"] == "true"


@pytest.mark.promise("T156")
def test_what_concerns_commits_is_for_delta_alone_and_what_concerns_every_file_for_both():
    set_storage_options(
        "s3://b", KEYS | {"region": "eu", "conditional_put": "etag", "aws_s3_allow_unsafe_rename": "true"}
    )
    assert open_file_system("s3://b")[0] == patient(fs.S3FileSystem(access_key="id", secret_key=SECRET, region="eu"))
    found = delta_options("s3://b")
    assert (found["AWS_CONDITIONAL_PUT"], found["AWS_S3_ALLOW_UNSAFE_RENAME"]) == ("etag", "true")
    for name in ("aws_server_side_encryption", "aws_sse_kms_key_id", "google_service_account_key"):
        with pytest.raises(TaskError, match="has no option"):
            set_storage_options("s3://b", KEYS | {name: "x"})


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("abfss://c@acc.dfs.core.windows.net/a%20b/x", "c/a b/x"),
        ("az://c/x", "c/x"),
        ("abfs://c@acc.blob.core.windows.net", "c"),
    ],
)
def test_azure_is_told_the_same_by_both(uri, path):
    given = {"account_name": "acc"} if uri.startswith("az:") else {}
    set_storage_options(uri, given | {"account_key": "a2V5"})
    found, at = open_file_system(uri)
    assert (found, at) == (fs.AzureFileSystem("acc", account_key="a2V5"), path)
    assert delta_options(uri)["azure_storage_account_key"] == "a2V5"


def test_azure_without_an_account_says_what_is_missing():
    set_storage_options("az://c", {"account_key": "a2V5"})
    with pytest.raises(ValueError, match="names no storage account; add the storage option azure_storage_account_name"):
        open_file_system("az://c/x")
