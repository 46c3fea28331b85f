"""Charts on an asset's page: small SVG images inside the metadata, one file per kind of chart."""

from collections.abc import Callable, Mapping
from typing import Any

from sparktorch_assets.orchestration.assets.page.charts.bars import bar_chart
from sparktorch_assets.orchestration.assets.page.charts.confusion import confusion_chart
from sparktorch_assets.orchestration.assets.page.charts.histogram import histogram_chart
from sparktorch_assets.orchestration.assets.page.charts.reliability import reliability_chart
from sparktorch_assets.tasks.outputs.report import ShownBars, ShownConfusion, ShownHistogram, ShownReliability

__all__ = ["CHARTS"]

CHARTS: Mapping[type, Callable[[Any], str]] = {
    ShownBars: bar_chart,
    ShownConfusion: confusion_chart,
    ShownHistogram: histogram_chart,
    ShownReliability: reliability_chart,
}
"""What an output shows -> the function that draws it, as Markdown."""
