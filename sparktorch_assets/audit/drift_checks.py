"""The checks of drift: what a run would publish against earlier publications, taken together."""

from collections import Counter
from collections.abc import Iterable, Sequence

from sparktorch_assets.audit.drift import by_chance, number_bins, population_stability_index, total_variation
from sparktorch_assets.audit.statistics import Statistics
from sparktorch_assets.errors import AuditOutcome
from sparktorch_assets.number_summary import NumberSummary
from sparktorch_assets.tally import CONFIDENCE_BINS
from sparktorch_assets.tasks.audit_policy import AuditPolicy

NO_EARLIER = "no earlier publication"
_SHOWN = 3
"""How many classes or bins a message names, those that differ most."""
_MEASURES = {"psi": population_stability_index, "distance": total_variation}

Counts = tuple[Sequence[str], Sequence[int], Sequence[int]]
"""Names of classes or bins, and rows in each, now and before."""


def drift_outcomes(policy: AuditPolicy, now: Statistics, before: Sequence[Statistics]) -> Iterable[AuditOutcome]:
    """The outcome of each drift check that has a limit. Without an earlier publication, or if one side has no such rows,
    they pass and say so."""
    for check in policy.drift_checks:
        drift, _, measure = check.rpartition("_")
        limit = policy.limit(check)
        assert limit is not None  # or it would not be listed
        yield _outcome(check, measure, limit, _COUNTS[drift](now, before), before)


def _outcome(
    check: str, measure: str, limit: float, compared: list[Counts], before: Sequence[Statistics]
) -> AuditOutcome:
    counted = [counts for counts in compared if sum(counts[1]) and sum(counts[2])]
    if not before or not counted:
        nothing = "nothing to compare" if before else NO_EARLIER
        return AuditOutcome(check=check, details=_details(check, measure, limit, compared_with=nothing))
    found, counts = max(
        ((_MEASURES[measure](counts[1], counts[2]), counts) for counts in counted), key=lambda pair: pair[0]
    )
    against, differs = _named(before), _differences(counts)
    details = _details(
        check,
        measure,
        limit,
        found=found,
        compared_with=against,
        differs=differs,
        chance=by_chance(counts[1], counts[2]),
    )
    problem = f"{check} is {found:.3g}, over max_{check}={limit:g}, compared with {against}: {differs}"
    return AuditOutcome(check=check, problem=problem if found > limit else "", details=details)


def _details(
    check: str,
    measure: str,
    limit: float,
    *,
    compared_with: str,
    found: float = 0.0,
    differs: str = "",
    chance: float = 0.0,
) -> dict[str, int | float | str]:
    """The numbers of a check, under the same names whatever was found."""
    return {
        check: float(found),
        "limit": float(limit),
        "compared with": compared_with,
        "differs most": differs,
        **({"expected by chance": float(chance)} if measure == "psi" else {}),
    }


def _class_counts(now: Statistics, before: Sequence[Statistics]) -> list[Counts]:
    earlier: Counter[str] = Counter()
    for publication in before:
        earlier.update(publication.classes)
    names = sorted(earlier.keys() | now.classes.keys())
    return [(names, [now.classes.get(name, 0) for name in names], [earlier[name] for name in names])]


def _confidence_counts(now: Statistics, before: Sequence[Statistics]) -> list[Counts]:
    earlier = [sum(bins) for bins in zip(*(found.confidence_histogram for found in before), strict=True)]
    names = [
        f"confidence {place / CONFIDENCE_BINS:.2f}-{(place + 1) / CONFIDENCE_BINS:.2f}"
        for place in range(CONFIDENCE_BINS)
    ]
    return [(names, now.confidence_histogram, earlier or [0] * CONFIDENCE_BINS)]


def _number_counts(now: Statistics, before: Sequence[Statistics]) -> list[Counts]:
    found: list[Counts] = []
    for name in sorted(now.numbers.keys() & {name for publication in before for name in publication.numbers}):
        earlier = NumberSummary()
        for publication in before:
            earlier.add(publication.numbers.get(name, NumberSummary()))
        counts_now, counts_before = number_bins(now.numbers[name], earlier)
        found.append(([f"{name}, bin {place + 1}" for place in range(len(counts_now))], counts_now, counts_before))
    return found


_COUNTS = {"class_share": _class_counts, "confidence": _confidence_counts, "number": _number_counts}


def _differences(counts: Counts) -> str:
    """The classes or bins whose shares differ most, with both shares.

    >>> _differences((["no", "yes"], [60, 40], [40, 60]))
    'no 40.0% -> 60.0%, yes 60.0% -> 40.0%'
    """
    names, now, before = counts
    shares = [(name, a / sum(now), b / sum(before)) for name, a, b in zip(names, now, before, strict=True)]
    most = sorted(shares, key=lambda item: -round(abs(item[1] - item[2]), 9))[:_SHOWN]  # equal ones in their order
    return ", ".join(f"{name} {earlier:.1%} -> {present:.1%}" for name, present, earlier in most)


def _named(before: Sequence[Statistics]) -> str:
    """The publications that were compared with."""
    if before[0].partition:
        return ", ".join(dict.fromkeys(found.partition for found in before))
    return "the publication before" if len(before) == 1 else f"the last {len(before)} publications"
