"""A code location whose model has no weights: no session is needed to see it fail."""

from pathlib import Path

import dagster as dg
from orchestration_fakes import a_task

from sparktorch_assets.orchestration.assets.factory import build_prediction_definitions
from sparktorch_assets.orchestration.runtime import runtime_definitions

defs = dg.Definitions.merge(build_prediction_definitions([a_task()]), runtime_definitions(Path.cwd()))
