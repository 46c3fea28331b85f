"""The YAML form of a declaration, derived from its dataclass: one source for fields, defaults, checks and messages.

Pydantic validates the dataclasses of `tasks/` as they are, so that a wrong value anywhere carries the dataclass's own
message and the line of the file. This module adds what YAML needs: feature groups told apart by `kind`, a name that
defaults to the folder's, and templates: of the environment (`{{ env.WEIGHTS }}`) for any value, others for text.

A template is rendered once, and its result is never looked at as a template again: environment variables are data, and
a value such as `{{ cycler.__init__... }}` in one of them must not run.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self, TypeVar, get_args, get_type_hints

import dagster as dg
import jinja2
import jinja2.meta
from dagster.components.resolved.context import ResolutionContext
from pydantic import (
    BaseModel,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    create_model,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticOmit, core_schema

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks import Feature

Declaration = TypeVar("Declaration")

_RENDERED: Mapping[str, Any] = {"rendered": True}
"""The validation context of values whose templates are rendered already."""
_KNOWN_ERRORS = frozenset(get_args(core_schema.ErrorType))

_IN_YAML: Mapping[str, Any] = {"features": Sequence[Annotated[Feature, Field(discriminator="kind")]]}
"""Types that say more than the dataclass's own: pydantic then checks a feature against the kind it names, not all."""


class _WithoutFunctions(GenerateJsonSchema):
    """A JSON schema leaves out what YAML cannot hold: hooks given as Python functions."""

    def callable_schema(self, schema: core_schema.CallableSchema) -> JsonSchemaValue:  # noqa: ARG002  (overridden)
        raise PydanticOmit


class Attributes(dg.Model):
    """Base of the derived models: refuses unknown keys, and so do the dataclasses inside."""

    _given: Any = PrivateAttr(default=None)
    """What the file says, with its templates: `declare` renders these, and not what validation made of them."""

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The schema for editors and `dg check yaml`."""
        return super().model_json_schema(*args, **{"schema_generator": _WithoutFunctions, **kwargs})

    @model_validator(mode="wrap")
    @classmethod
    def _validate(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        try:
            # The environment is known here, so that a template of it may stand for any value, not for text alone.
            rendered = (
                value
                if info.context is _RENDERED
                else _render(value, ResolutionContext.default(), environment_only=True)
            )
            validated = handler(rendered)
        except ValidationError as error:
            # Dagster repeats each error with its line, and stumbles over types of error that pydantic made up later.
            raise ValidationError.from_exception_data(
                error.title, [_plain_error(item) for item in error.errors()]
            ) from None
        validated._given = value  # noqa: SLF001  (our own)
        return validated


def attributes_model(declaration: type) -> type[BaseModel]:
    """The pydantic model of a component's `attributes`: the dataclass's fields, with `name` optional.

    Args:
        declaration: a dataclass with a field `name`.
    """
    hints = get_type_hints(declaration, include_extras=True)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(declaration):
        kind = _IN_YAML.get(field.name, hints[field.name])
        if field.name == "name":
            fields["name"] = (str | None, Field(default=None, description="The folder's name where it is left out"))
        elif field.default_factory is not dataclasses.MISSING:
            fields[field.name] = (kind, Field(default_factory=field.default_factory))
        else:
            fields[field.name] = (kind, ... if field.default is dataclasses.MISSING else field.default)
    return create_model(f"{declaration.__name__}Attributes", __base__=Attributes, **fields)


def declare(declaration: type[Declaration], attributes: BaseModel, context: dg.ComponentLoadContext) -> Declaration:
    """The declaration that validated attributes stand for.

    Raises:
        dg.DagsterInvalidDefinitionError: its fields do not fit together; the message begins with the file and line.
    """
    resolution = context.resolution_context.at_path("attributes")
    assert isinstance(attributes, Attributes)
    try:
        rendered = type(attributes).model_validate(_render(attributes._given, resolution), context=_RENDERED)  # noqa: SLF001
        values = {name: getattr(rendered, name) for name in type(attributes).model_fields}
        values["name"] = values["name"] or context.path.name
        return declaration(**values)
    except (TaskError, ValidationError) as error:
        raise dg.DagsterInvalidDefinitionError(f"{_position(str(error), attributes, context)}: {error}") from error


def _render(value: Any, context: ResolutionContext, *, environment_only: bool = False) -> Any:
    """`value` with its templates rendered. Strings without one stay strings: rendering would turn "1" into a number."""
    if isinstance(value, str):
        return context.resolve_value(value) if _is_template(value, environment_only=environment_only) else value
    inner = functools.partial(_render, environment_only=environment_only)
    if isinstance(value, Mapping):
        return {key: inner(item, context.at_path(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [inner(item, context.at_path(index)) for index, item in enumerate(value)]
    return value


def _is_template(text: str, *, environment_only: bool) -> bool:
    if "{{" not in text:
        return False
    # Jinja renders a name that it does not know as nothing, without a word: leave those for later.
    return not environment_only or jinja2.meta.find_undeclared_variables(jinja2.Environment().parse(text)) <= {"env"}  # noqa: S701  (no HTML)


def _plain_error(error: ErrorDetails) -> InitErrorDetails:
    known, context, loc = error["type"] in _KNOWN_ERRORS, error.get("ctx", {}), error["loc"]
    if not known:
        context = {"error": ValueError(error["msg"])}
    if len(loc) > 2 and loc[0] == "features":
        loc = (*loc[:2], *loc[3:])  # pydantic puts the feature's kind in between, which is no place in the file
    return InitErrorDetails(type=error["type"] if known else "value_error", loc=loc, input=error["input"], ctx=context)


def _position(message: str, attributes: BaseModel, context: dg.ComponentLoadContext) -> str:
    """`file:line` of the field that the message names first, else of the attributes; the folder where there is no
    file."""
    tree = context.resolution_context.source_position_tree
    if tree is None:
        return str(context.path)
    named = [field for field in re.findall(r"\w+", message) if field in type(attributes).model_fields]
    position, _ = tree.lookup_closest_and_path(["attributes", *named[:1]], None)
    return str(position)
