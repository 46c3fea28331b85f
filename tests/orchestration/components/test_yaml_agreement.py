"""`dg check yaml`, which judges a file by its JSON schema, and the loader accept the same declarations."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from dagster.components.component.component import Component
from dagster.components.core.decl import YamlFileDecl, build_component_decl_from_yaml_file
from dagster.components.core.defs_module import ComponentPath
from dagster.components.core.snapshot import get_package_entry_snap
from dagster.components.testing import create_defs_folder_sandbox
from dagster_shared.serdes.objects.package_entry import EnvRegistryKey
from jsonschema import Draft202012Validator
from yaml_cases import BASES, ENVIRONMENT, UNKNOWN, VALUES, Place, declaration, is_known, places

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
]

Verdict = str | None
"""Why a declaration is refused; `None` where it is not."""

NAMES = [
    f"{component.__name__} {next(iter(base.get('features', [{}]))).get('kind', '')}" for component, base, _ in BASES
]


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[[type[Component], Any], Verdict]]:
    """Dagster's own way from a file to a component."""
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / "churn"
        folder.mkdir()
        (folder / "defs.yaml").write_text("")
        with sandbox.build_component_tree() as tree:
            context = tree.decl_load_context.for_component_loc(ComponentPath.from_path(folder))

            def load(component: type[Component], attributes: Any) -> Verdict:
                document = {"type": f"sparktorch_assets.{component.__name__}", "attributes": attributes}
                file = folder / "defs.yaml"
                file.write_text(yaml.safe_dump(document, sort_keys=False))
                declared = build_component_decl_from_yaml_file(context, file)
                assert isinstance(declared, YamlFileDecl)
                try:
                    declared.decls[0]._load_component()
                except Exception as error:  # noqa: BLE001  (many kinds)
                    return str(error)
                return None

            yield load


def schema_of(component: type[Component]) -> Draft202012Validator:
    """What `dg check yaml` validates with: dagster_dg_core/check.py takes the registry's snapshot of the component."""
    key = EnvRegistryKey(namespace="sparktorch_assets", name=component.__name__)
    return Draft202012Validator(get_package_entry_snap(key, component).component_schema)


def is_no_matter_of_types(verdict: str) -> bool:
    """What a right type may not hold, the declaration says itself, when it is loaded: a share above 1, a name twice, a
    column without its vocabulary. A JSON schema knows types alone."""
    return set(re.findall(r"\[type=(\w+)", verdict)) <= {"value_error"}


def is_whole_to_json(value: Any, verdict: str) -> bool:
    """1.0 is a whole number to JSON schemas, and no int to the loader."""
    return type(value) is float and value.is_integer() and "[type=int_type" in verdict


@pytest.mark.slow
@pytest.mark.parametrize(("component", "base", "fields"), BASES, ids=NAMES)
def test_both_accept_what_they_are_given_alike(
    load: Callable[[type[Component], Any], Verdict], component: type[Component], base: Any, fields: tuple[str, ...]
):
    schema = schema_of(component)
    assert schema.is_valid(base)
    assert load(component, base) is None
    unlike = []
    for place in places(component, base, fields):
        for value in VALUES:
            given = declaration(base, place, value)
            valid, verdict = schema.is_valid(given), load(component, given)
            excused = verdict is not None and (is_no_matter_of_types(verdict) or is_whole_to_json(value, verdict))
            if valid != (verdict is None) and not (valid and excused):
                unlike.append((place, value, verdict))
    assert not unlike


@pytest.mark.parametrize(("component", "base", "fields"), BASES, ids=NAMES)
def test_a_template_may_stand_wherever_the_loader_takes_what_it_gives(
    load: Callable[[type[Component], Any], Verdict],
    component: type[Component],
    base: Any,
    fields: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
):
    """What it gives is known when the file is loaded, and so is whether a variable is set: the schema takes all templates,
    and the loader some. Neither takes one for a key that there is none of."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    schema = schema_of(component)
    unlike = []
    for place in places(component, base, fields):
        valid = schema.is_valid(declaration(base, place, "{{ env.NUMBER }}"))
        loaded = any(load(component, declaration(base, place, f"{{{{ env.{name} }}}}")) is None for name in ENVIRONMENT)
        if valid != is_known(place) or (loaded and not valid):
            unlike.append((place, valid, loaded))
    assert not unlike


@pytest.mark.parametrize(
    "template", ["{{ env.UNSET }}", "text {{ env.NUMBER }}", "{{ env('UNSET', '7') | int }}", "-{{ env.NUMBER }}"]
)
@pytest.mark.parametrize(("component", "base", "fields"), [BASES[0], BASES[-1]], ids=[NAMES[0], NAMES[-1]])
def test_whatever_a_template_says_it_is_one(
    component: type[Component], base: Any, fields: tuple[str, ...], template: str
):
    schema = schema_of(component)
    unlike: list[Place] = [
        place
        for place in places(component, base, fields)
        if place[-1] != UNKNOWN and not schema.is_valid(declaration(base, place, template))
    ]
    assert not unlike


ERRORS = [
    (("preview_rows",), "many", ["'many' is not of type 'integer'"]),
    (("max_failed_rows",), "many", ["'many' is not of type 'integer', 'null'"]),
    (("keep_columns",), 5, ["5 is not of type 'array', 'null'"]),
    (("keep_columns", 0), 5, ["5 is not of type 'string'"]),
    (("model", "arguments"), 5, ["5 is not of type 'object', 'array'"]),
    (("features", 0), "numeric", ["'numeric' is not of type 'object'"]),
    (("features", 0), {"columns": ["a"]}, ["'kind' is a required property"]),
    (
        ("features", 0, "kind"),
        "numerik",
        [
            "'numerik' is not one of ['audio', 'categorical', 'custom', 'image', 'numeric', 'sequence', 'tensor', 'text']"
        ],
    ),
    (("features", 0, "columns"), 5, ["5 is not of type 'array'"]),
    (
        ("features", 0, "colums"),
        ["a"],
        [
            "Additional properties are not allowed ('colums' was unexpected)",
            "'colums' is not one of ['columns', 'fill', 'argument', 'kind']",
        ],
    ),
    (
        ("where", 0, "colum"),
        "a",
        [
            "Additional properties are not allowed ('colum' was unexpected)",
            "'colum' is not one of ['column', 'op', 'value']",
        ],
    ),
]
"""Places, values, and what the schema says of each."""


@pytest.mark.parametrize(
    ("place", "value", "messages"), ERRORS, ids=[".".join(map(str, place)) for place, *_ in ERRORS]
)
def test_an_error_of_the_schema_is_about_the_value(place: Place, value: Any, messages: list[str]):
    """It names the expected types or the known keys; a feature is only compared with the kind that it names."""
    component, base, _ = BASES[0]
    errors = list(schema_of(component).iter_errors(declaration(base, place, value)))
    assert sorted(error.message for error in errors) == sorted(messages)
    assert all(list(error.absolute_path) in (list(place), list(place[:-1])) for error in errors)
