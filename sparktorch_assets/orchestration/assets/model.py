"""The asset of a task's model: its data version changes when the model does, and predictions follow."""

import json
import math
import re
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from sparktorch_assets.orchestration.assets.page.model_readme import readable_size, readme_metadata
from sparktorch_assets.orchestration.assets.run.failure import PlainFailure
from sparktorch_assets.orchestration.assets.text.plain_text import one_line
from sparktorch_assets.orchestration.keys import MODELS_GROUP, WATCH_TAG, model_key
from sparktorch_assets.stores.mlflow_server import ModelVersion
from sparktorch_assets.tasks import MlTask
from sparktorch_assets.tasks.digest import digest_of, model_digest

if TYPE_CHECKING:
    from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource
    from sparktorch_assets.predict.loader import ModelLoader

CARD = "card.json"
"""The file next to the weights that says what is known about the model's quality, above all `held_out_accuracy` and, to
compare it with, `majority_class_accuracy`. Each entry is shown as `card_<key>`, and so never replaces a computed
value."""
_LARGEST_CARD_BYTES = 1 << 20
_CARD_TEXTS = ("split", "trained_on", "note")
_CARD_KEY = re.compile(r"[A-Za-z0-9_]{1,64}")
_SHORT_DIGEST = 12


def build_model_asset(task: MlTask) -> dg.AssetsDefinition:
    """Build the asset `models/<task>`."""
    # Dagster reads the types of parameters when the asset is made. Imported above, they would make `dg list components`
    # load pyspark.
    from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource

    @dg.multi_asset(
        name=f"models__{task.name}",
        specs=[
            dg.AssetSpec(
                model_key(task),
                description=f"The model of {task.name}: {task.model.weights or task.model.factory}.",
                group_name=MODELS_GROUP,
                kinds={"pytorch"},
                code_version=digest_of([asdict(task.model), task.files])[:_SHORT_DIGEST],
                tags={WATCH_TAG: "yes"},
            )
        ],
        # A model has no partitions. Without the policy, no run over several partitions of predictions could include it.
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def describe(
        context: dg.AssetExecutionContext,
        model_loader: dg.ResourceParam[ModelLoaderResource],
        lake: dg.ResourceParam[LakeResource],
    ) -> dg.MaterializeResult[Any]:
        with PlainFailure(model_key(task), context):
            return _describe(context, task, model_loader, lake)

    return describe


def _describe(
    context: dg.AssetExecutionContext, task: MlTask, model_loader: "ModelLoaderResource", lake: "LakeResource"
) -> dg.MaterializeResult[Any]:
    loader, settled = model_loader.build([task]).settled(task)
    models_root = Path(loader.models_root)
    loader.store.fetch_beside(settled, CARD)
    digest = model_digest(settled, models_root)
    described = _described(settled, loader, lake.folder("_models"), digest)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(digest),
        metadata={
            **card_metadata(settled, models_root, context.log.warning),
            **readme_metadata(settled, models_root, context.log.warning),
            **_size(described),
            **_without_none(described),
            **version_metadata(loader.store.version),
            "model_digest": digest,
        },
    )


def version_metadata(version: ModelVersion | None) -> dict[str, Any]:
    """Metadata of the registered version that the model is: its name, number, run and aliases, with links to the
    server's pages."""
    if version is None:
        return {}
    return {
        name: dg.MetadataValue.url(value) if name.endswith("_ui") else dg.MetadataValue.text(one_line(value))
        for name, value in version.shown.items()
    }


def card_metadata(task: MlTask, models_root: Path, warn: Callable[[str], None]) -> dict[str, Any]:
    """Metadata from the card next to the weights file, or in the model's folder, such as the held-out accuracy and that of the majority class.

    Args:
        task: the task whose weights the card describes.
        models_root: the folder that the weights' path is relative to.
        warn: called with a message if the card cannot be read. Predictions do not depend on a card.
    """
    if task.model.weights is None:
        return {}
    weights = models_root / task.model.weights
    path = (weights if weights.is_dir() else weights.parent) / CARD
    if not path.is_file():
        return {}
    try:
        card = _read_card(path)
    except (OSError, ValueError, RecursionError) as error:
        warn(f"{path} is not shown: {error}")
        return {}
    numbers = {f"card_{key}": value for key, value in card.items() if _is_number(value) and _CARD_KEY.fullmatch(key)}
    texts = {f"card_{key}": dg.MetadataValue.text(one_line(str(card[key]))) for key in _CARD_TEXTS if card.get(key)}
    return {**numbers, **texts}


def _read_card(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST_CARD_BYTES:
        raise ValueError(f"it has more than {_LARGEST_CARD_BYTES:,} bytes")
    card = json.loads(path.read_bytes())
    if not isinstance(card, dict):
        raise ValueError(f"it holds a {type(card).__name__}, not an object with names and values")  # noqa: TRY004
    return card


def _is_number(value: Any) -> bool:
    # Dagster keeps metadata in JSON and in 64 bits: NaN, infinities and larger integers do not fit.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)


def _described(task: MlTask, loader: "ModelLoader", known: str, digest: str) -> dict[str, Any]:
    """The model's description, computed once per digest, since counting parameters loads torch and the weights.

    Args:
        task: the task.
        loader: the task's loader.
        known: the folder where descriptions are kept, on the lake's file system.
        digest: the model's digest.
    """
    from sparktorch_assets.lake.files.folder import Folder

    folder, name = Folder(known), f"{digest}.json"
    if folder.info(name) is not None:
        with folder.open_input(name) as file:
            found: dict[str, Any] = json.loads(file.read())
        return found
    description = loader.describe(task)
    plain = {
        "parameters": description.parameters,
        "format": description.format,
        "file_bytes": description.file_bytes,
        "weights_sha256": description.digest,
    }
    folder.create()
    temporary = f".{name}.{uuid.uuid4().hex[:12]}.tmp"
    with folder.open_output(temporary) as file:
        file.write(json.dumps(plain).encode())
    folder.replace(temporary, name)  # atomically, also when two runs do it at once
    return plain


def _size(described: dict[str, Any]) -> dict[str, Any]:
    """Bytes and parameters in one line, for people; both are also entries of their own, which Dagster plots."""
    if described.get("file_bytes") is None:
        return {}
    size = readable_size(described["file_bytes"])
    return {"size": size if described["parameters"] is None else f"{size}, {described['parameters']:,} parameters"}


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
