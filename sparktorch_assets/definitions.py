"""The code location of the sample project."""

from pathlib import Path

import dagster as dg

from sparktorch_assets.orchestration.check_definitions import check_definitions
from sparktorch_assets.orchestration.runtime import runtime_definitions

PACKAGE = Path(__file__).parent


@dg.definitions
def defs() -> dg.Definitions:
    """Everything declared under `defs/`, with the resources and schedules that it needs."""
    return check_definitions(
        dg.Definitions.merge(dg.load_from_defs_folder(path_within_project=PACKAGE), runtime_definitions(PACKAGE.parent))
    )
