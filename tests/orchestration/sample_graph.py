"""The sample project's graph as `dg list defs` sees it, in a form that a review can read: `make graph` writes it to
sample_graph.json, and test_code_location.py compares them.

Left out is what changes without a change of the graph: the order of the lists, line numbers, and entries that are empty
or repeat another.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SNAPSHOT = Path(__file__).with_suffix(".json")


def dg_command() -> list[str]:
    return [str(Path(sys.executable).parent / "dg")]


def dg_list(what: str) -> Any:
    done = subprocess.run(
        [*dg_command(), "list", what, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def for_review(listed: dict[str, Any]) -> dict[str, Any]:
    """What `dg list defs --json` gave, by name: each asset with its checks; jobs, resources, schedules and sensors."""
    assets = {asset["asset_key"]: _asset(asset) for asset in listed["assets"]}
    for check in sorted(listed["asset_checks"], key=lambda check: check["name"]):
        assets[check["asset_key"]].setdefault("checks", {})[check["name"]] = check.get("description", "")
    others = {kind: _by_name(listed[kind]) for kind in listed.keys() - {"assets", "asset_checks"}}
    return {"assets": assets, **{kind: found for kind, found in others.items() if found}}


def _asset(asset: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in asset.items() if value and name not in {"asset_key", "asset_key_parts"}}
    if "tags" in found:
        found["tags"] = {tag["key"]: tag["value"] for tag in found["tags"]}
    if "automation_condition" in found:
        found["automation_condition"] = found["automation_condition"]["label"]
    return _without_line(found)


def _by_name(listed: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        entry["name"]: _without_line({name: value for name, value in entry.items() if name != "name"})
        for entry in listed
    }


def _without_line(entry: dict[str, Any]) -> dict[str, Any]:
    return entry | {"source": entry["source"].rpartition(":")[0]} if "source" in entry else entry


def as_text(graph: dict[str, Any]) -> str:
    return json.dumps(graph, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(as_text(for_review(dg_list("defs"))), encoding="utf-8")
