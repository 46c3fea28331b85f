"""The project's own DAGSTER_HOME, so that `make dev` shows what `make run` materialized."""

import os
from pathlib import Path

_SETTINGS = """\
# Written once; change it as you like. Runs and their logs are kept in this folder.
telemetry:
  enabled: false
# The console shows what assets say and what fails. The UI shows every event of a run all the same.
python_logs:
  python_log_level: INFO
"""


def use_dagster_home(project_root: Path) -> Path:
    """Point this process at `<project_root>/.dagster`, created on first use, unless DAGSTER_HOME is already set."""
    home = Path(os.environ.get("DAGSTER_HOME") or project_root / ".dagster").absolute()
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "dagster.yaml"
    if not settings.exists():
        settings.write_text(_SETTINGS, encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(home)
    return home
