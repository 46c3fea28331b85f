"""The JSON schema of a component's attributes, by which editors and `dg check yaml` judge a file that nobody has rendered.

It agrees with the loader, with three exceptions. What a right type may not hold (a share above 1, a name twice) the
declaration says when it is loaded, and so `dg check defs`. A template may turn out to be anything. And 1.0 is a whole number
to JSON schemas, where the loader wants 1.
"""

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema, PydanticOmit, core_schema

_TEMPLATE: Mapping[str, Any] = {"type": "string", "pattern": r"\{\{"}
_OF_THE_PLACE = ("title", "description", "default")
"""What is said of a field, and not of its value; editors look for it at the field."""


class YamlJsonSchema(GenerateJsonSchema):
    """Pydantic's schema as the loader means it."""

    def callable_schema(self, schema: core_schema.CallableSchema) -> JsonSchemaValue:  # noqa: ARG002  (overridden)
        """Leave out what YAML cannot hold: hooks given as Python functions."""
        raise PydanticOmit

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        """The whole schema."""
        return _as_loaded(super().generate(schema, mode))


def _as_loaded(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with templates allowed wherever a value may stand."""
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
    if "discriminator" in made:  # several options may fit where the kind is a template
        made["anyOf"] = made.pop("oneOf")
    kinds = [name for name, value in schema.get("properties", {}).items() if "const" in value]
    if kinds:  # a default to Python, which is told apart by classes
        made["required"] = [*made.get("required", ()), *kinds]
    return made


def _place(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a value that a template may stand for. An error speaks of the value alone, since `anyOf` is avoided."""
    value = _as_loaded(schema)
    if _takes_any_text(value):
        return value
    said = {name: value.pop(name) for name in _OF_THE_PLACE if name in value}
    return {**said, "if": dict(_TEMPLATE), "else": value}


def _takes_any_text(schema: Mapping[str, Any]) -> bool:
    if "anyOf" in schema:
        return any(_takes_any_text(option) for option in schema["anyOf"])
    restricted = schema.keys() & {"enum", "const", "pattern", "format", "oneOf", "$ref"}
    return not restricted and schema.get("type", "string") == "string"
