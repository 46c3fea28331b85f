"""Every promise of the pages below has a number, and a test that cites it: `@pytest.mark.promise("T12")`.

A promise that is added takes the next free number of its page; a number that is given up is not given again.
"""

import ast
import inspect
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest
from dagster._core.definitions.automation_condition_sensor_definition import MAX_ENTITIES

from sparktorch_assets.lake import shards, vacuum
from sparktorch_assets.lake.parts import held_file
from sparktorch_assets.orchestration.automation.staleness import WAITS
from sparktorch_assets.predict import file_bounds
from sparktorch_assets.predict.encode import image as encode_image
from sparktorch_assets.predict.model import precision
from sparktorch_assets.spark.score.job.row_cost import ShardSeconds
from sparktorch_assets.storage import patience
from sparktorch_assets.stores import remote_root
from sparktorch_assets.tasks import BatchPolicy, MlTask, SequenceFeature, SlotPolicy, TextFeature

ROOT = Path(__file__).parents[1]
PAGES = {
    "T": {"tables.md": (), "clusters.md": ("Storage",)},
    "M": {"models.md": (), "features.md": (), "outputs.md": (), "predicting.md": ()},
    "O": {
        "refresh.md": (),
        "checks.md": (),
        "comparing.md": (),
        "partitions.md": ("What a run does", "What is refused"),
        "operations.md": (
            "What is found before a run",
            "What a run shows",
            "Settings of a single run",
            "Several runs at a time",
            "Slow models",
            "Start-up",
        ),
        "clusters.md": ("Code", "What holds", "GPUs"),
        "deployment.md": ("What holds then", "Before a change is merged"),
        "asset-pages.md": (),
        "reliability.md": ("Hosts, disks and clocks", "Faults of your own", "The long run"),
    },
}
"""Letter -> pages, each with the sections that promise where not all of it does."""
NUMBER = re.compile(r"<sup>([A-Z]\d+)</sup>")
NUMBERED = re.compile(rf"{NUMBER.pattern}|as above \([A-Z]\d+\)")
"""A paragraph that has a number, or says that it promises the same."""

PROMISES_NOTHING = (
    "This page ",
    "A feature group says which columns a model reads",
    "An output says what a task predicts for a row",
    "| a planned part is | then |",
    "Each declaration below is a whole `defs.yaml`",
    "| you have | `model:` names |",
    "A folder of sentence-transformers gives vectors:",
    "A folder that `mlflow.<flavor>.save_model` has written",
    "Safetensors and state dicts hold only numbers, so",
    "A program holds code and weights",
    "A TorchScript program is what",
    "A factory is your own function",
    "The letters after a tensor's name",
    "For a Hugging Face folder, this is the whole `defs.yaml`:",
    "[models.md](models.md#weights-and-your-own-network) shows",
    "Named entities, from a Hugging Face folder",
    "Objects in photos, from a Hugging Face folder",
    "| step | gets | returns |",
    "| fault | what holds | what was seen | test |",
    "| function | what it does |",
    "The hosts of these tests are namespaces of one machine",
    "`labels` alone declare a classification",
    "| `output: {kind: ...}` | `forward` returns |",
    "A folder of a causal model (",
    "| the columns of another output: see [above](#what-a-task-predicts) |",
    "| `where` | the input's columns |",
    "| the model | the columns that its features name |",
    "| column | type | |",
    "Hooks are your own code around the model:",
    "Row hooks cost a conversion of every row to a dict",
    "| `kind` | from | `forward` gets |",
    "| --- |",
    "| refresh | writes |",
    "A write is a `PUT` or `POST`",
    "| schedule or sensor |",
    "Tables and models can be in S3",
    "**By the environment.** Without options",
    "**By storage options.** `set_storage_options` says",
    "With Dagster, the resources have a field for them",
    "- For addresses that belong to no resource",
    "| store | addresses |",
    "| S3 |",
    "| Google |",
    "| Azure |",
    "What Spark itself reads is up to Spark",
    "S3 is tested with a local server",
    "| `refresh_what_is_stale` |",
    "| `watch_files` |",
    "With the last two on, predictions follow",
    "A look at 100,000 source files",
    "Pass the merged definitions of your code location through `check_definitions`",
    "If a column of the input says what is true, name it:",
    "| output | the column holds | entries |",
    "Code is read but not run, so what only running it would show is not noticed",
    "This page says what is checked before predictions are published",
    "A run writes its predictions as parts into the table's folder",
    "`audit:` of a task sets the limits",
    "A challenger is a task like any other",
    "`join_on` names the columns that tell rows apart",
    "The asset `comparisons/digit_challenger` depends on both",
    "| output | agreement | in detail",
    "| `classification` | the share of rows with the same class",
    "| `regression` | mean, absolute, root mean squared",
    "| `multilabel` | the share of rows with the same labels",
    "Each table is read once, and only the columns that are compared",
    "One line in the champion's declaration:",
    "The promoted champion depends on its challenger",
    "In Python, `sparktorch_assets.promote(champion, challenger)`",
    "In the Launchpad (or with `run_config`)",
    "By default, the assets of a run share one Spark session",
    "Workers of a server keep the code that they have imported",
    "| check | what it compares |",
    "| each row |",
    "| columns |",
    "| `failed_share` |",
    "| dropped rows |",
    "| `min_rows` |",
    "| `canaries` |",
    "| the name of your function |",
    "| `confidence_psi`, `confidence_distance` |",
    "`SparkSessionResource(ship=False)` leaves the code at home",
    "Code is shipped as one archive among the session's files",
    "**This library** is not shipped",
    "A single file, or one large row group, keeps all slots busy as well",
    "Canaries are rows whose answers you know.",
    "The task `digit` of the sample project has 20 of them",
    "A check of your own is a function of the statistics now",
    "A check may be right to ask",
    "A session on this machine (`local[...]`) starts sooner",
    "`make bench-startup` measures each way in turn",
    "Departures were very late in March",
    "![The page of predictions/digit",
    "![The checks of predictions/digit",
    "Dagster also shows those checks as failed that such a run did not come to",
    "If workers have GPUs, say so to the session",
    "A host with one H100 has run `make test-gpu`",
    "How many instances a GPU should have depends",
)
"""Beginnings of rows and paragraphs that promise nothing."""


def promising(letter):
    """The text of the pages, or of their sections."""
    found = []
    for page, sections in PAGES[letter].items():
        text = (ROOT / "docs" / page).read_text()
        found += [text.split(f"\n## {section}\n")[1].split("\n## ")[0] for section in sections] or [text]
    return "\n\n".join(found)


def test_the_architecture_page_names_files_that_exist():
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:orchestration|spark|predict|lake|stores|tasks|audit)/[\w/]*\w(?:\.py)?)`", page))
    assert len(named) > 25
    assert not [name for name in named if not (ROOT / "sparktorch_assets" / name).exists()]


def numbers(letter):
    return NUMBER.findall(promising(letter))


def citations():
    """Number -> the tests that cite it."""
    found = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.promise":
                for argument in node.args:
                    found.setdefault(ast.literal_eval(argument), []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def blocks(letter):
    """Paragraphs, list items and rows of tables; no headings, no code."""
    text = re.sub(r"^(?:<!-- file: \S+ -->\n)?```.*?^```$", "", promising(letter), flags=re.DOTALL | re.MULTILINE)
    for block in re.split(r"\n\s*\n|\n(?=[-|] ?)", text):
        if block.strip() and not block.strip().startswith("#"):
            yield " ".join(block.split())


@pytest.mark.parametrize("letter", PAGES)
def test_numbers_are_unique_and_of_their_page(letter):
    found = numbers(letter)
    assert len(found) >= 20
    assert {number for number, count in Counter(found).items() if count > 1} == set()
    assert {number[0] for number in found} == {letter}


def test_every_promise_is_cited_by_a_test():
    promised = {number for letter in PAGES for number in numbers(letter)}
    missing = sorted(promised - citations().keys())
    assert not missing, (
        f"no test cites {', '.join(missing)}: mark the one that holds it, @pytest.mark.promise({missing[0]!r})"
    )


def test_every_citation_is_of_a_promise():
    promised = {number for letter in PAGES for number in numbers(letter)}
    unknown = {number: places for number, places in citations().items() if number not in promised}
    assert not unknown, f"the pages hold no such promise: {unknown}"


@pytest.mark.parametrize("letter", PAGES)
def test_every_paragraph_has_a_number(letter):
    """What is written there is a promise; what is none is listed here."""
    bare = [block for block in blocks(letter) if not NUMBERED.search(block) and not block.startswith(PROMISES_NOTHING)]
    assert not bare, (
        f"{', '.join(PAGES[letter])}: said without a number: {bare}. Number it and mark the test that holds it, or list its "
        f"beginning in PROMISES_NOTHING, where nothing could be tested"
    )


def default(kind, name):
    return next(field.default for field in fields(kind) if field.name == name)


FIGURES = [
    ("T", r"until they hold ([\d,]+) rows", shards.TARGET_ROWS),
    ("T", r"rows or ([\d,]+) MiB\.", shards.TARGET_BYTES >> 20),
    ("T", r"shard would take more than (\d+) s", ShardSeconds().too_long),
    ("T", r"into about (\d+) smaller ones", ShardSeconds().share),
    ("T", r"if they would take less than (\d+) s", ShardSeconds().least),
    ("T", r"if they would take more than (\d+) s", ShardSeconds().most),
    ("T", r"makes a request up to (\d+) times", patience.ATTEMPTS),
    ("T", r"silent for (\d+) seconds", patience.SILENT_S),
    ("T", r"A part of up to (\d+) MiB", held_file.HELD_BYTES >> 20),
    ("T", r"`ModelLoaderResource` \((\d+) GB by default\)", remote_root.MOST_BYTES / 10**9),
    ("M", r"a checkpoint's pickle are limited to (\d+) MiB", file_bounds.MAX_INDEX_BYTES >> 20),
    ("M", r"a vocabulary to (\d+) MiB", file_bounds.MAX_VOCABULARY_BYTES >> 20),
    ("M", r"a tokenizer to (\d+) MiB", file_bounds.MAX_TOKENIZER_BYTES >> 20),
    ("M", r"cut to their first (\d+) tokens", default(TextFeature, "max_tokens")),
    ("M", r"cut to their first (\d+) tokens", default(SequenceFeature, "max_length")),
    ("M", r"more than ([\d,]+) pixels", encode_image.MAX_PIXELS),
    ("M", r"encoded (\d+) MiB at a time", default(BatchPolicy, "window_bytes") >> 20),
    ("M", r"within `window_rows` \(([\d,]+)\)", default(BatchPolicy, "window_rows")),
    ("M", r"on the first (\d+) rows of every pack", precision.COMPARED_ROWS),
    ("M", r"Over `max_failed_share` \((\d+) %\)", default(MlTask, "max_failed_share") * 100),
    ("M", r"`max_dropped_share` \((\d+) %\)", default(MlTask, "max_dropped_share") * 100),
    ("M", r"`models_per_gpu` instances \((\d+)\)", default(SlotPolicy, "models_per_gpu")),
    ("O", r"at most (\d+) assets", MAX_ENTITIES),
    ("O", r"again after (\d+) minutes", WAITS[1].total_seconds() // 60),
    ("O", r"after another (\d+) minutes", WAITS[2].total_seconds() // 60),
    ("O", r"after (\d+) more hours, and then no more", WAITS[3].total_seconds() // 3600),
]


@pytest.mark.parametrize(("letter", "pattern", "value"), FIGURES, ids=[pattern for _, pattern, _ in FIGURES])
def test_figures_of_the_pages_are_the_codes(letter, pattern, value):
    (found,) = re.findall(pattern, " ".join(promising(letter).split()))
    assert int(found.replace(",", "")) == value


def test_the_retention_of_the_page_is_the_codes():
    assert inspect.signature(vacuum.vacuum).parameters["retention_hours"].default == 7 * 24
    assert "by default, a week" in " ".join(promising("T").split())
