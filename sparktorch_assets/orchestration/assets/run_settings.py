"""What can be set for a single run of a prediction asset, in the Launchpad: never a path, never code."""

import dagster as dg
from pydantic import Field


class RunSettings(dg.Config):
    """The config of a prediction asset."""

    publish_despite: list[str] = Field(
        default_factory=list,
        description=(
            "Names of checks that may fail this time, such as class_share_psi: predictions that they refused are published "
            "as they are, and the asset's page says so. Nothing is scored again."
        ),
    )
