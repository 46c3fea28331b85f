"""Plans a refresh after finished parts of other tables, such as a challenger's, have been taken over."""

from collections.abc import Callable, Sequence

from sparktorch_assets.lake.adoption import adopt_parts
from sparktorch_assets.spark.score.plan.planned import Planned


def plan_adopted(plan: Callable[[], Planned], adopt_from: Sequence[str]) -> Planned:
    """The plan that is left when every part that another table has has been copied from there.

    Args:
        plan: plans the refresh; called again if parts were copied, which it then finds.
        adopt_from: paths or URIs of the other tables.
    """
    planned = plan()
    return plan() if adopt_parts(planned.plans, adopt_from) else planned
