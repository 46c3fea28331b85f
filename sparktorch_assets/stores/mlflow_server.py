"""Asks an MLflow server which version an address means, and downloads that version.

The server is asked for a few seconds only: MLflow's own settings (`MLFLOW_HTTP_REQUEST_TIMEOUT` and
`MLFLOW_HTTP_REQUEST_MAX_RETRIES`) allow many minutes, and take precedence where they are set.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sparktorch_assets.errors import ModelError, TaskError, nearest
from sparktorch_assets.masking import has_password, without_secrets
from sparktorch_assets.stores.cache import key_of, published
from sparktorch_assets.stores.mlflow_package import load_mlflow
from sparktorch_assets.stores.uses import make_room, use

_ASKING = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
_DOWNLOADING = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_META = "registered_model_meta"
"""A file that MLflow adds to the copy of a registered version. It names the version, so it is no part of the content."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelVersion:
    """The version that an address meant when it was resolved: what workers fetch, whatever the address means then."""

    tracking_uri: str = field(repr=False)
    """The server's address, which may contain a password: it is never shown."""
    registry_uri: str = field(repr=False)
    address: str
    """The address as declared."""
    download_uri: str
    """Where the version's files are."""
    name: str = ""
    """The registered model; empty for the model of a run."""
    version: str = ""
    run_id: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name of the copy of this version's files."""
        return key_of(without_secrets(self.registry_uri), without_secrets(self.tracking_uri), self.download_uri)

    @property
    def shown(self) -> Mapping[str, str]:
        """What people want to know of the version, without secrets; `mlflow_ui` and `mlflow_run_ui` are links."""
        server = without_secrets(self.tracking_uri)
        found = {
            "mlflow_address": self.address,
            "mlflow_tracking_uri": server,
            "mlflow_registry_uri": without_secrets(self.registry_uri),
            "mlflow_model": self.name,
            "mlflow_version": self.version,
            "mlflow_run_id": self.run_id,
            "mlflow_aliases": ", ".join(self.aliases),
        }
        if server.startswith(("http://", "https://")):
            page = f"{server.replace('***@', '').rstrip('/')}/#"
            if self.name:
                found["mlflow_ui"] = f"{page}/models/{quote(self.name, safe='')}/versions/{self.version}"
            if self.run_id:
                found["mlflow_run_ui"] = f"{page}/runs/{self.run_id}"
        return {name: value for name, value in found.items() if value}


def resolve(address: str, tracking_uri: str = "") -> ModelVersion:
    """The version that an address means now.

    Args:
        address: `models:/name@alias`, `models:/name/3`, `models:/name/latest`, `models:/m-...` or `runs:/<id>/model`.
        tracking_uri: the server's address; if empty, what MLflow takes for it (`MLFLOW_TRACKING_URI`).

    Raises:
        ModelError: the server does not answer, or knows no such model; the message lists what there is.
    """
    mlflow = load_mlflow()
    chosen = mlflow.tracking.is_tracking_uri_set()  # by the environment, or by the program
    if not tracking_uri and not chosen:
        raise ModelError(
            f"{address} is the address of an MLflow model, and it is not known which server has it; set MLFLOW_TRACKING_URI, "
            f"or tracking_uri of the model loader"
        )
    server = tracking_uri or mlflow.get_tracking_uri()
    registry = os.environ.get("MLFLOW_REGISTRY_URI") or (tracking_uri or mlflow.get_registry_uri())
    with _patience(_ASKING), _explaining(address, registry):
        client = mlflow.MlflowClient(tracking_uri=server, registry_uri=registry)
        found = ModelVersion(tracking_uri=server, registry_uri=registry, address=address, download_uri=address)
        path = address.partition(":/")[2]
        if address.startswith("runs:"):
            run_id = path.split("/", 1)[0]
            client.get_run(run_id)  # raises now if there is none
            return replace(found, run_id=run_id)
        if "/" not in path and "@" not in path:
            model = client.get_logged_model(path)
            return replace(found, download_uri=model.artifact_location, run_id=model.source_run_id or "")
        return replace(found, **_registered(client, path, address))


def _registered(client: Any, path: str, address: str) -> dict[str, Any]:
    """What the registry says of a version, as fields of `ModelVersion`."""
    from mlflow.exceptions import MlflowException

    name, _, alias = path.partition("@")
    name, _, number = name.partition("/")
    try:
        if number == "latest":
            number = str(max(int(found.version) for found in client.search_model_versions(f"name='{name}'")))
        found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
    except (MlflowException, ValueError) as error:
        if isinstance(error, MlflowException) and not _is_missing(error):
            raise
        raise ModelError(f"{address}: {_what_there_is(client, name)}") from None
    return {
        "download_uri": client.get_model_version_download_uri(name, found.version),
        "name": name,
        "version": str(found.version),
        "run_id": found.run_id or "",
        "aliases": tuple(sorted(found.aliases or ())),
    }


def _is_missing(error: Any) -> bool:
    return error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")


def _what_there_is(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        aliases = dict(client.get_registered_model(name).aliases)
    except MlflowException:
        known = [model.name for model in client.search_registered_models(max_results=20)]
        return f"the registry has no model {name!r}; {nearest(name, known)}"
    versions = sorted(int(found.version) for found in client.search_model_versions(f"name='{name}'"))
    listed = ", ".join(f"@{alias} (version {number})" for alias, number in sorted(aliases.items()))
    return (
        f"the registry's model {name!r} has no such alias or version. Its aliases: {listed or 'none'}; its versions: "
        f"{', '.join(map(str, versions[-20:])) or 'none'}. Name one of them, or set the alias"
    )


def fetched(version: ModelVersion, cache: Path, most_bytes: int) -> Path:
    """The local copy of the version's files, downloaded if it is not there yet, which this process uses from now on.

    Args:
        version: the version.
        cache: the folder of this host's copies.
        most_bytes: what they may take; after a download, others are deleted.

    Raises:
        ModelError: it cannot be downloaded, or what is there is no MLflow model.
    """

    def download(folder: Path) -> None:
        mlflow = load_mlflow()
        with _patience(_DOWNLOADING), _explaining(version.address, version.tracking_uri):
            there = Path(
                mlflow.artifacts.download_artifacts(
                    artifact_uri=version.download_uri,
                    dst_path=str(folder / "download"),
                    tracking_uri=version.tracking_uri,
                )
            )
        if not (there / "MLmodel").is_file():
            raise ModelError(
                f"{version.address} holds no MLmodel, so it is no MLflow model; name the folder that has one"
            )
        (there / _META).unlink(missing_ok=True)
        there.rename(folder / "model")
        shutil.rmtree(folder / "download", ignore_errors=True)

    use(cache, [f"mlflow/{version.key}"])
    there = (cache / "mlflow" / version.key).is_dir()
    found = published(cache / "mlflow", version.key, download) / "model"
    if not there:
        make_room(cache, most_bytes)
    return found


def check_tracking_uri(uri: str, where: str) -> None:
    """Raise TaskError if a declared address contains a password: declarations are shown."""
    if has_password(uri):
        raise TaskError(
            f"{where}={without_secrets(uri)!r} contains a password, and declarations are shown in logs and in the UI. Leave it "
            f"out, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN), here and on the "
            f"workers"
        )


@contextmanager
def _patience(settings: Mapping[str, str]) -> Iterator[None]:
    """MLflow's settings for the block, except those that the environment makes itself."""
    made = [name for name in settings if name not in os.environ]
    os.environ.update({name: settings[name] for name in made})
    try:
        yield
    finally:
        for name in made:
            os.environ.pop(name, None)


@contextmanager
def _explaining(address: str, server: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        shown = without_secrets(server)
        reason = " ".join(str(error).replace(server, shown).split())[:300]
        raise ModelError(
            f"{address} cannot be had from {shown}: {without_secrets(reason)}. Check that the MLflow server runs and can be reached "
            f"from here, and that the address and MLFLOW_TRACKING_URI (or tracking_uri of the model loader) are right"
        ) from None
