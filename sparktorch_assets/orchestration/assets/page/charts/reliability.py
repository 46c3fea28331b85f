"""A reliability diagram: how often predictions of a confidence are right (DeGroot and Fienberg, 1983)."""

from sparktorch_assets.orchestration.assets.page.charts.drawing import ACCENT, WARNING, Drawing
from sparktorch_assets.tasks.outputs.report import ShownReliability

_SIDE_PX, _LEFT_PX, _TOP_PX = 150, 24, 6


def reliability_chart(shown: ShownReliability) -> str:
    """Accuracy over confidence, a point per bin, and the diagonal on which a calibrated model's points lie."""
    drawing = Drawing(_TOP_PX + _SIDE_PX + 20)
    drawing.line([_place(0, 1), _place(0, 0), _place(1, 0)])
    drawing.line([_place(0, 0), _place(1, 1)], dashed=True)
    points = [_place(found.confidence, found.accuracy) for found in shown.bins]
    drawing.dots(points)
    for share in (0, 1):
        drawing.text(_LEFT_PX - 6, _place(0, share)[1] + 4, str(share), anchor="end")
    drawing.text(_LEFT_PX + _SIDE_PX, _place(0, 0)[1] + 16, "confidence 1", anchor="end")
    drawing.text(_LEFT_PX + _SIDE_PX + 12, _TOP_PX + 12, "accuracy by confidence", colour=ACCENT)
    drawing.text(_LEFT_PX + _SIDE_PX + 12, _TOP_PX + 30, f"calibration error {shown.error:.3f}", colour=WARNING)
    return drawing.markdown(f"Reliability diagram; expected calibration error {shown.error:.3f}")


def _place(confidence: float, accuracy: float) -> tuple[float, float]:
    return _LEFT_PX + _SIDE_PX * confidence, _TOP_PX + _SIDE_PX * (1 - accuracy)
