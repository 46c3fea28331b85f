"""The asset that stands for a task's model: its data version changes when the model does, and predictions follow."""

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from sparktorch_assets.orchestration.asset_keys import MODELS_GROUP, model_key
from sparktorch_assets.tasks import MlTask
from sparktorch_assets.tasks.digest import digest_of, model_digest

if TYPE_CHECKING:
    from sparktorch_assets.predict.loader import ModelLoader

CARD = "card.json"
"""Beside the weights: what is known of the model's quality, above all `held_out_accuracy` beside
`majority_class_accuracy`. Numbers are shown as they are."""
_CARD_TEXTS = ("split", "trained_on", "note")
_SHORT_DIGEST = 12


def build_model_asset(task: MlTask) -> dg.AssetsDefinition:
    """The asset `models/<task>`."""

    @dg.asset(
        key=model_key(task),
        description=f"The model of {task.name}: {task.model.weights or task.model.factory}.",
        group_name=MODELS_GROUP,
        kinds={"pytorch"},
        code_version=digest_of([asdict(task.model), task.files])[:_SHORT_DIGEST],
        required_resource_keys={"model_loader", "lake"},
    )
    def describe(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        loader = context.resources.model_loader.build([task])
        models_root = Path(loader.models_root)
        digest = model_digest(task, models_root)
        described = _described(task, loader, Path(context.resources.lake.folder("_models")) / f"{digest}.json")
        return dg.MaterializeResult(
            data_version=dg.DataVersion(digest),
            metadata={**_without_none(described), "model_digest": digest, **card_metadata(task, models_root)},
        )

    return describe


def card_metadata(task: MlTask, models_root: Path) -> dict[str, Any]:
    """What the card beside the weights tells: held-out accuracy, and the majority class's beside it."""
    if task.model.weights is None:
        return {}
    path = (models_root / task.model.weights).parent / CARD
    if not path.is_file():
        return {}
    card = json.loads(path.read_text(encoding="utf-8"))
    numbers = {key: value for key, value in card.items() if isinstance(value, int | float)}
    texts = {f"card_{key}": str(card[key]) for key in _CARD_TEXTS if card.get(key)}
    return {**numbers, **texts}


def _described(task: MlTask, loader: "ModelLoader", cache: Path) -> dict[str, Any]:
    """The model's description; computed once a digest, since counting parameters loads torch and the weights."""
    if cache.is_file():
        found: dict[str, Any] = json.loads(cache.read_text(encoding="utf-8"))
        return found
    description = loader.describe(task)
    plain = {
        "weights_sha256": description.digest,
        "format": description.format,
        "parameters": description.parameters,
        "file_bytes": description.file_bytes,
    }
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=cache.parent, suffix=".tmp", delete=False, encoding="utf-8") as file:
        json.dump(plain, file)
    os.replace(file.name, cache)  # noqa: PTH105  (whole or not at all, also with two runs at once)
    return plain


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
