"""The YAML form of a declaration, derived from its dataclass: one source for fields, defaults, checks and messages.

Pydantic validates the dataclasses of `tasks/` themselves, so that the error for a wrong value carries the dataclass's
own message and the line in the file. This module adds what YAML needs: feature groups that `kind` tells apart, a name
that defaults to the folder's, and templates. Those that use only the environment (`{{ env.WEIGHTS }}`) may stand for
any value, others only for text.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args, get_type_hints

import dagster as dg
from dagster.components.resolved.context import ResolutionContext
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    create_model,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, core_schema

from sparktorch_assets.errors import TaskError, nearest
from sparktorch_assets.orchestration.components.field_docs import field_docs
from sparktorch_assets.orchestration.components.json_schema import YamlJsonSchema
from sparktorch_assets.orchestration.components.templates import TemplateError, Templates, is_template
from sparktorch_assets.orchestration.components.yaml_file import check_yaml_file
from sparktorch_assets.tasks import Feature, Output, Partitions
from sparktorch_assets.tasks.partitions import refuse_several

Declaration = TypeVar("Declaration")

_RENDERED: Mapping[str, Any] = {"rendered": True}
"""The validation context of values whose templates are already rendered."""
_KNOWN_ERRORS = frozenset(get_args(core_schema.ErrorType))

_PLAIN: Mapping[type, Any] = {bool: "bool_type", int: "int_type", float: "float_type", str: "string_type"}
"""Plain types, each with pydantic's name for the error that a value is not of that type."""
_SAME = frozenset([*((kind, kind) for kind in _PLAIN), (int, float)])
"""The type of a written value and the type that it may become."""


def _one_way(given: Any) -> Any:
    refuse_several(given, "partitions")
    return given


_IN_YAML: Mapping[str, Any] = {
    "features": Sequence[Annotated[Feature, Field(discriminator="kind")]],
    "input": str,
    "output": Annotated[Output, Field(discriminator="kind")],
    "partitions": Annotated[Partitions, Field(discriminator="by"), BeforeValidator(_one_way)],
}
"""More specific types than the dataclass's own: with them, pydantic checks a feature only against the kind it names."""
_REQUIRED = ("input",)
"""Fields that an asset needs, although the dataclass has a default for them."""


class Attributes(dg.Model):
    """Base of the derived models. It refuses unknown keys, as do the dataclasses inside, and describes their fields by the
    strings below them."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    _given: Any = PrivateAttr(default=None)
    """The attributes as written, with their templates: `declare` renders these, not the validated values."""

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The schema for `dg check yaml`."""
        return super().model_json_schema(*args, **{"schema_generator": YamlJsonSchema, **kwargs})

    @model_validator(mode="wrap")
    @classmethod
    def _validate(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        templates = Templates(ResolutionContext.default())
        try:
            # The environment is already known, so that its templates may stand for any value, not only for text.
            rendered = value if info.context is _RENDERED else templates.render(value, environment_only=True)
            validated = handler(rendered)
        except TemplateError as error:
            raise ValidationError.from_exception_data(
                cls.__name__,
                [InitErrorDetails(type="value_error", loc=error.path, input=error.template, ctx={"error": error})],
            ) from None
        except ValidationError as error:
            # Dagster builds each error again with its line, which fails for types of error outside pydantic-core's
            # list.
            raise ValidationError.from_exception_data(
                error.title, [_plain_error(item, templates, cls.model_fields) for item in error.errors()]
            ) from None
        if info.context is not _RENDERED:
            converted = [*_conversions(value, validated), *_empty(value, validated)]
            if converted:
                raise ValidationError.from_exception_data(cls.__name__, converted)
        validated._given = value  # noqa: SLF001  (our own)
        return validated


def attributes_model(declaration: type) -> type[BaseModel]:
    """The pydantic model of a component's `attributes`: the dataclass's fields, with `name` optional.

    Args:
        declaration: a dataclass with a field `name`.
    """
    hints, docs = get_type_hints(declaration, include_extras=True), field_docs(declaration)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(declaration):
        kind, text = _IN_YAML.get(field.name, hints[field.name]), docs.get(field.name)
        if field.name == "name":
            kind, text = str | None, " ".join(filter(None, (text, "By default, it is the folder's name.")))
            fields["name"] = (kind, Field(default=None, description=text))
        elif field.default_factory is not dataclasses.MISSING:
            fields[field.name] = (kind, Field(default_factory=field.default_factory, description=text))
        else:
            required = field.default is dataclasses.MISSING or field.name in _REQUIRED
            fields[field.name] = (kind, Field(default=... if required else field.default, description=text))
    return create_model(f"{declaration.__name__}Attributes", __base__=Attributes, __doc__=declaration.__doc__, **fields)


def declare(declaration: type[Declaration], attributes: BaseModel, context: dg.ComponentLoadContext) -> Declaration:
    """Build the declaration from its validated attributes.

    Raises:
        dg.DagsterInvalidDefinitionError: its fields do not fit together; the message begins with the file and line.
        TaskError: the file says something that its parser silently drops or changes; see `check_yaml_file`.
    """
    resolution = context.resolution_context.at_path("attributes")
    assert isinstance(attributes, Attributes)
    tree = context.resolution_context.source_position_tree
    if tree is not None:
        check_yaml_file(Path(tree.position.filename))
    templates = Templates(resolution)
    try:
        given = attributes._given  # noqa: SLF001  (our own)
        rendered = type(attributes).model_validate(templates.render(given), context=_RENDERED)
        values = {name: getattr(rendered, name) for name in type(attributes).model_fields}
        values["name"] = values["name"] or context.path.name
        return declaration(**values)
    except TemplateError as error:
        raise dg.DagsterInvalidDefinitionError(str(error)) from None  # Dagster has already prefixed file and line
    except (TaskError, ValidationError) as error:
        message = templates.hide(str(error))
        # `from None`, since the original error's message and input show rendered values.
        raise dg.DagsterInvalidDefinitionError(f"{_position(message, attributes, context)}: {message}") from None


def _conversions(given: Any, found: Any, *loc: str | int) -> Iterator[InitErrorDetails]:
    """Yield an error for each value that pydantic converted to another type: where a number is expected, it reads `yes`
    as 1 and `"5"` as 5. The value of a template may be converted, since the environment holds only text."""
    if isinstance(given, Mapping):
        became = dict(found) if isinstance(found, tuple) else found  # a frozen mapping
        for key, item in given.items():
            value = became.get(key) if isinstance(became, Mapping) else getattr(became, key, None)
            yield from _conversions(item, value, *loc, key)
    elif isinstance(given, list) and isinstance(found, list | tuple) and len(given) == len(found):
        for place, (item, became) in enumerate(zip(given, found, strict=True)):
            yield from _conversions(item, became, *loc, place)
    elif (
        type(given) in _PLAIN
        and type(found) in _PLAIN
        and not is_template(given)
        and (type(given), type(found)) not in _SAME
    ):
        yield InitErrorDetails(type=_PLAIN[type(found)], loc=loc, input=given)


def _empty(given: Any, found: Any, *loc: str | int) -> Iterator[InitErrorDetails]:
    """Yield an error for each field that is written without a value and would mean the same if left out: `sha256:` is a
    line that somebody meant to fill in, and it checks nothing. `max_failed_share: null` has a meaning: there is no
    limit."""
    if isinstance(given, Mapping):
        for key, item in given.items():
            if item is None and _defaults(found).get(key, ...) is None:
                error = ValueError(
                    f"{key} has no value, which is the same as leaving it out; give it one, or remove the line"
                )
                yield InitErrorDetails(type="value_error", loc=(*loc, key), input=None, ctx={"error": error})
            yield from _empty(item, getattr(found, key, None), *loc, key)
    elif isinstance(given, list) and isinstance(found, list | tuple) and len(given) == len(found):
        for place, (item, became) in enumerate(zip(given, found, strict=True)):
            yield from _empty(item, became, *loc, place)


def _defaults(found: Any) -> Mapping[str, Any]:
    if dataclasses.is_dataclass(found):
        return {field.name: field.default for field in dataclasses.fields(found)}
    if isinstance(found, BaseModel):
        return {name: field.default for name, field in type(found).model_fields.items()}
    return {}


def _plain_error(error: ErrorDetails, templates: Templates, fields: Iterable[str]) -> InitErrorDetails:
    known, context, loc = error["type"] in _KNOWN_ERRORS, error.get("ctx", {}), error["loc"]
    if error["type"] == "extra_forbidden" and len(loc) == 1:
        unknown = ValueError(f"there is no field {loc[0]!r}; {nearest(str(loc[0]), fields)}")
        return InitErrorDetails(
            type="value_error", loc=loc, input=templates.hide(error["input"]), ctx={"error": unknown}
        )
    context = {name: templates.hide(value) for name, value in context.items()}
    if not known or isinstance(context.get("error"), Exception):
        context = {"error": ValueError(templates.hide(str(context.get("error", error["msg"]))))}
    if len(loc) > 2 and loc[0] == "features":
        loc = (*loc[:2], *loc[3:])  # pydantic inserts the feature's kind, which is not a place in the file
    elif len(loc) > 1 and loc[0] in ("output", "partitions"):
        loc = (loc[0], *loc[2:])  # and the output's, and that of the partitions
    return InitErrorDetails(
        type=error["type"] if known else "value_error", loc=loc, input=templates.hide(error["input"]), ctx=context
    )


def _position(message: str, attributes: BaseModel, context: dg.ComponentLoadContext) -> str:
    """`file:line` of the field that the message names first, or else of the attributes; the folder if there is no
    file."""
    tree = context.resolution_context.source_position_tree
    if tree is None:
        return str(context.path)
    named = [field for field in re.findall(r"\w+", message) if field in type(attributes).model_fields]
    position, _ = tree.lookup_closest_and_path(["attributes", *named[:1]], None)
    return str(position)
