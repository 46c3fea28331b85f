"""The JSON schema of a component's attributes, against which `dg check yaml` checks a file before its templates are
rendered.

Editors do not see it: for the schema that `dg utils configure-editor` writes, Dagster asks pydantic.

It agrees with the loader, with three exceptions. Values of the right type that are not allowed (a share above 1, a
name given twice) are found only when the declaration is loaded, for instance by `dg check defs`. Any template is
accepted, as it may render to anything. And JSON Schema counts 1.0 as an integer, where the loader requires 1.
"""

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema, PydanticOmit, core_schema

_TEMPLATE: Mapping[str, Any] = {"type": "string", "pattern": r"\{\{"}
_OF_THE_PLACE = ("title", "description", "default")
"""Keywords that describe the field rather than its value. Editors look for them at the field."""
_OF_ANY_TYPE = frozenset(["$ref", "allOf", "anyOf", "const", "enum", "if", "pattern"])
"""Keywords that restrict more than the values of the type that stands next to them, or all of these values."""


class YamlJsonSchema(GenerateJsonSchema):
    """Pydantic's JSON schema, adjusted to what the loader accepts."""

    def callable_schema(self, schema: core_schema.CallableSchema) -> JsonSchemaValue:  # noqa: ARG002  (overridden)
        """Leave out Python functions, such as hooks, which YAML cannot hold."""
        raise PydanticOmit

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        """Generate the schema, with templates allowed in it."""
        return _as_loaded(super().generate(schema, mode))


def _as_loaded(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with a template allowed in place of any value."""
    made: dict[str, Any] = dict(schema)
    for name in ("properties", "$defs"):
        if name in made:
            convert = _place if name == "properties" else _as_loaded
            made[name] = {key: convert(value) for key, value in made[name].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(made.get(name), dict):
            made[name] = _place(made[name])
    for name, convert in (("anyOf", _as_loaded), ("oneOf", _as_loaded), ("prefixItems", _place)):
        if name in made:
            made[name] = [convert(option) for option in made[name]]
    if "const" in made:
        made.pop("default", None)
    if made.get("additionalProperties"):
        made["propertyNames"] = {"type": "string"}
    if "discriminator" in made:
        made = _by_kind(made)
    if "anyOf" in made:
        made = _by_type(made)
    if made.get("additionalProperties") is False:
        made["propertyNames"] = {"enum": list(made["properties"])}  # so that an error about a key names the known ones
    kinds = [name for name, value in schema.get("properties", {}).items() if "const" in value]
    if kinds:  # they have defaults in Python, which tells classes apart; YAML must name them
        made["required"] = [*made.get("required", ()), *kinds]
    return made


def _by_kind(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A choice between objects that a property tells apart, written so that an object is only compared with the option
    that it names: an error then says what is wrong with it, not that it fits none of all options."""
    made = dict(schema)
    options, chosen = made.pop("oneOf"), made["discriminator"]["propertyName"]
    named = made["discriminator"]["mapping"]
    cases = [({"const": kind}, {"$ref": reference}) for kind, reference in named.items()]
    cases.append((dict(_TEMPLATE), {"anyOf": options}))  # it may render to any of the kinds
    return {
        **made,
        "type": "object",
        "required": [chosen],
        "properties": {chosen: _place({"enum": list(named)})},
        "allOf": [
            {"if": {"type": "object", "required": [chosen], "properties": {chosen: kind}}, "then": option}
            for kind, option in cases
        ],
    }


def _by_type(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A choice between values of different types as one schema with all the types: an error then names these.

    Keywords such as `items` only concern values of one type, so that those of all options may stand next to each other.
    """
    made = dict(schema)
    types: list[str] = []
    for option in made.pop("anyOf"):
        keywords = {name: value for name, value in option.items() if name not in ("type", "format")}
        known = option.get("type") in types
        if (
            "type" not in option
            or _OF_ANY_TYPE & option.keys()
            or (known and keywords)
            or made.keys() & keywords.keys()
        ):
            return dict(schema)
        types += [] if known else [option["type"]]
        made |= keywords
    return {**made, "type": types[0] if len(types) == 1 else types}


def _place(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a value or of a template in its place, without `anyOf`, so that an error is about the value
    alone."""
    value = _as_loaded(schema)
    if _takes_any_text(value):
        return value
    said = {name: value.pop(name) for name in _OF_THE_PLACE if name in value}
    return {**said, "if": dict(_TEMPLATE), "else": value}


def _takes_any_text(schema: Mapping[str, Any]) -> bool:
    if "anyOf" in schema:
        return any(_takes_any_text(option) for option in schema["anyOf"])
    restricted = schema.keys() & {"enum", "const", "pattern", "format", "oneOf", "$ref"}
    types = schema.get("type", "string")
    return not restricted and "string" in ([types] if isinstance(types, str) else types)
