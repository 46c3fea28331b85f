"""The examples of docs/features.md for recordings, and for files by path or URI, are what YAML takes."""

import re
from pathlib import Path

import pytest
import yaml

from sparktorch_assets.orchestration.components.yaml_schema import attributes_model
from sparktorch_assets.tasks import MlTask

PAGE = (Path(__file__).parents[2] / "docs" / "features.md").read_text()
BLOCKS = [
    text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "kind: audio" in text or "read: uri" in text
]


def test_there_are_two():
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("text", BLOCKS)
def test_the_loader_takes_the_example(text):
    given = yaml.safe_load(text)
    attributes = {"name": "x", "input": "y", "model": {"weights": "folder"}} | given.get("attributes", given)
    attributes_model(MlTask).model_validate(attributes)
    with pytest.raises(ValueError, match="no_such_field"):
        attributes_model(MlTask).model_validate(
            attributes | {"features": [attributes["features"][0] | {"no_such_field": 1}]}
        )
