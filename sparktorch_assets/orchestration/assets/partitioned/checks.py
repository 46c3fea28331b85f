"""One result per check for a run over several partitions, since Dagster keeps one: it names the partitions that failed.

Dagster can also store a result per partition, but the check's state would then be that of whichever came last, and a
failed partition would block nothing.
"""

from collections.abc import Iterable, Mapping

import dagster as dg

from sparktorch_assets.orchestration.assets.text.markdown import markdown_table

_SHOWN_PARTITIONS = 50
_NAMED_PARTITIONS = 10


def of_partitions(results: Mapping[str, Iterable[dg.AssetCheckResult]]) -> list[dg.AssetCheckResult]:
    """The checks' results for a whole run.

    Args:
        results: partition -> the results of its checks.
    """
    by_check: dict[str, dict[str, dg.AssetCheckResult]] = {}
    for partition, found in results.items():
        for result in found:
            assert result.check_name is not None
            by_check.setdefault(result.check_name, {})[partition] = result
    return [_of_check(found) for found in by_check.values()]


def _of_check(results: Mapping[str, dg.AssetCheckResult]) -> dg.AssetCheckResult:
    failed = {partition: result for partition, result in results.items() if not result.passed}
    first = next(iter(failed.values()), None) or next(iter(results.values()))
    if len(results) == 1:
        (partition,) = results
        return first._replace(metadata={"partition": dg.MetadataValue.text(partition), **first.metadata})
    shown = {**failed, **results}
    rows = [
        (partition, "passed" if result.passed else "FAILED", *(_value(entry) for entry in result.metadata.values()))
        for partition, result in list(shown.items())[:_SHOWN_PARTITIONS]
    ]
    header = ("partition", "", *first.metadata)
    counts = {"partitions": len(results), "failed_partitions": len(failed)}
    return first._replace(
        description=_named(failed, first.description) if failed else first.description,
        metadata={
            **{what: dg.MetadataValue.int(count) for what, count in counts.items()},
            "by_partition": dg.MetadataValue.md(markdown_table(header, rows)),
        },
    )


def _named(failed: Mapping[str, dg.AssetCheckResult], description: str | None) -> str:
    names = ", ".join(list(failed)[:_NAMED_PARTITIONS])
    more = f" and {len(failed) - _NAMED_PARTITIONS:,} more" if len(failed) > _NAMED_PARTITIONS else ""
    return f"Failed in {names}{more}" + (f". {next(iter(failed))}: {description}" if description else "")


def _value(entry: dg.MetadataValue) -> object:
    """What a table can show of an entry; a table within it is left out."""
    return "" if isinstance(entry, dg.MarkdownMetadataValue) else entry.value
