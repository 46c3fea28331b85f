"""Every code block of every page, and which test runs it.

A test asks for its blocks with `blocks_run_by(__file__)`, so that what is said to be run and what is run are one list.
`test_page_blocks.py` finds blocks that nothing runs.
"""

import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "data" / "README.md",
    ROOT / "benchmarks" / "LOG.md",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A fenced block."""

    page: str
    """The page's path in the repository."""
    section: str
    """The nearest heading of the second level above it."""
    language: str
    """Empty if the fence names none: a command, or a drawing."""
    file: str
    """The file that the block is the text of; empty if the page does not say so."""
    text: str

    @property
    def first_line(self) -> str:
        """What tells the block apart."""
        return self.text.partition("\n")[0].strip()


_PARTS = re.compile(
    r"^## (?P<section>[^\n]*)$"
    r"|^(?:<!-- file: (?P<file>\S+) -->\n)?(?P<fence> *```+)(?P<language>\w*)\n(?P<text>.*?)^(?P=fence)$",
    re.DOTALL | re.MULTILINE,
)
_MODELS = ("docs/models.md", "docs/features.md", "docs/outputs.md")

RUNNERS: Mapping[str, Callable[[Block], bool]] = {
    "tests/orchestration/projects/test_readme.py": lambda block: (
        block.page == "README.md"
        and (bool(block.file) or block.section == "In a notebook" or "dg launch" in block.text)
    ),
    "tests/orchestration/projects/test_your_project.py": lambda block: (
        block.page == "docs/your-project.md" or (block.page == "docs/reference.md" and "ComponentTree" in block.text)
    ),
    "tests/orchestration/projects/test_check_definitions.py": lambda block: (
        block.page == "docs/operations.md" and block.section == "What is found before a run"
    ),
    "tests/orchestration/assets/test_asset_pages_page.py": lambda block: (
        block.page == "docs/asset-pages.md" and bool(block.language)
    ),
    "tests/orchestration/partitions/test_partitions_page.py": lambda block: (
        block.page == "docs/partitions.md" and bool(block.language)
    ),
    "tests/cluster/test_standalone_page.py": lambda block: (
        block.page == "docs/clusters.md" and block.section == "Standalone"
    ),
    "tests/cluster/test_gpus.py": lambda block: block.page == "docs/clusters.md" and block.section == "GPUs",
    "tests/orchestration/assets/test_rival_assets.py": lambda block: block.page == "docs/comparing.md",
    "tests/spark/test_audited_assets.py": lambda block: block.page == "docs/checks.md",
    "tests/faults/test_reliability_page.py": lambda block: block.page == "docs/reliability.md",
    "tests/storage/test_clusters_page.py": lambda block: (
        block.page == "docs/clusters.md" and block.section == "Storage"
    ),
    "tests/spark/test_docs.py": lambda block: block.page == "docs/tables.md",
    "tests/spark/test_task_transformer.py": lambda block: block.page == "docs/predicting.md",
    "tests/test_page_declarations.py": lambda block: block.page in _MODELS,
    "tests/test_reference_page.py": lambda block: (
        block.page == "docs/reference.md" and "ComponentTree" not in block.text
    ),
    "tests/test_troubleshooting.py": lambda block: (
        block.page == "docs/troubleshooting.md" and not block.text.startswith("java.net")
    ),
}
"""A test file -> the blocks that it runs. Messages are run by provoking them."""

NOT_RUN: Mapping[tuple[str, str], str] = {
    ("CONTRIBUTING.md", ".venv/bin/pip freeze --exclude-editable | sed 's/+cpu$//' > requirements.lock"): (
        "writes the lock file anew"
    ),
    (
        "README.md",
        "make run    # builds .venv, scores 336,776 flights, 5,000 images and 34,942 texts with ten models, prints a table",
    ): ("builds an environment and runs everything; .ci/run does the second half"),
    ("data/README.md", "python data/make_samples.py            # tables, pretrained weights, notices, SHA256SUMS"): (
        "downloads packages, and trains for minutes"
    ),
    (
        "docs/architecture.md",
        "source files ──Spark──▶ input table ──plan──▶ shards ──Spark tasks──▶ parts ──commit──▶ prediction table",
    ): ("a drawing"),
    (
        "docs/partitions.md",
        "dg launch --assets 'key:\"predictions/late_arrival\"' --partition-range '2013-01-01...2013-12-01'",
    ): "back-fills the sample's year for minutes; test_partitioned_backfill.py back-fills three months",
    (
        "docs/asset-pages.md",
        "46.3 s: 46.2 s scoring, 0.0 s waiting for the Spark session, 0.1 s planning and commit; in the workers 61% encoding,",
    ): "what one run said",
    **{
        (
            "docs/deployment.md",
            first_line,
        ): "needs root and a host of its own; tests/deploy runs the files that it installs"
        for first_line in (
            "apt-get install --no-install-recommends postgresql nginx openssl python3-venv openjdk-17-jre-headless",
            "python3 -m venv /srv/dagster/venv",
            "runuser -u postgres -- createuser --pwprompt dagster",
            "install -m 644 /srv/dagster/deploy/nginx.conf /etc/nginx/conf.d/dagster.conf",
        )
    },
    **{
        ("docs/clusters.md", first_line): "needs a cluster of that kind, as the page says"
        for first_line in (
            "export HADOOP_CONF_DIR=/etc/hadoop/conf PYSPARK_DRIVER_PYTHON=python PYSPARK_PYTHON=./environment/bin/python",
            "FROM apache/spark:4.3.0 AS spark",
            "apiVersion: v1",
            "spark-submit --master k8s://https://cluster.example:443 --deploy-mode cluster --name scoring \\",
        )
    },
    ("docs/operations.md", "make spark-server                      # PORT=15003 for another port"): (
        "keeps a server running; tests start the module that it calls"
    ),
    (
        "docs/troubleshooting.md",
        "java.net.BindException: Address already in use: Service 'SparkUI' failed after 16 retries ...",
    ): ("a message of Spark, after sixteen ports were found taken"),
}
"""Page and first line of a block that no test runs -> why not."""


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    section, found = "", []
    for part in _PARTS.finditer(page.read_text(encoding="utf-8")):
        if part["section"] is not None:
            section = part["section"]
            continue
        found.append(
            Block(
                page=page.relative_to(ROOT).as_posix(),
                section=section,
                language=part["language"],
                file=part["file"] or "",
                text=textwrap.dedent(part["text"]),
            )
        )
    return found


def blocks_run_by(test_file: str) -> list[Block]:
    """The blocks that a test file has to run: it passes its own `__file__`."""
    runs = RUNNERS[Path(test_file).relative_to(ROOT).as_posix()]
    return [block for page in PAGES for block in blocks_of(page) if runs(block)]
