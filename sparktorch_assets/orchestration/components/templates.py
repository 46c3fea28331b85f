"""Templates in a declaration: rendered once, and put back into messages in place of the values that they rendered to.

A rendered value is never treated as a template itself: environment variables are data, and a value such as
`{{ cycler.__init__... }}` in one of them must not run. They may also be secrets, so that messages name them and do not
show them.
"""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import jinja2.meta
from dagster.components.resolved.context import ResolutionContext
from dagster.components.resolved.errors import ResolutionException
from dagster.components.resolved.scopes import EnvScope

_SHORTEST_HIDDEN = 4
"""Length of the shortest value that is hidden: replacing every `1` or `no` in a message would make it unreadable."""


class TemplateError(ValueError):
    """A template that cannot be rendered.

    Args:
        message: what is wrong with it.
        path: its place in the declaration, as keys and indices.
        template: its text.
    """

    def __init__(self, message: str, path: Sequence[str | int], template: str) -> None:
        super().__init__(message)
        self.path, self.template = tuple(path), template


class Templates:
    """The templates of one declaration.

    Args:
        context: the names that templates may use. `env` is replaced, so that a variable that is not set is an error.
            Dagster's own `{{ env.NAME }}` renders to nothing then, which would silently switch a setting off.
    """

    def __init__(self, context: ResolutionContext) -> None:
        self._shown_as: dict[str, str] = {}
        self._context = context.with_scope(env=_Environment(self._shown_as))

    def render(self, value: Any, *, environment_only: bool = False) -> Any:
        """`value` with its templates rendered. Strings without one stay strings: rendering would turn "1" into a number.

        Args:
            value: parsed YAML: text, lists and mappings.
            environment_only: leave templates alone that use anything other than `env`.

        Raises:
            TemplateError: a template cannot be rendered, for instance because a variable of the environment is not set.
        """
        return self._render(value, self._context, environment_only=environment_only)

    def hide(self, value: Any) -> Any:
        """`value` with rendered texts replaced by their templates, at any depth."""
        if isinstance(value, str):
            for found in sorted(self._shown_as, key=len, reverse=True):
                for form in (found, repr(found)[1:-1]):
                    value = value.replace(form, self._shown_as[found])
            return value
        if isinstance(value, Mapping):
            return {self.hide(key): self.hide(item) for key, item in value.items()}
        return [self.hide(item) for item in value] if isinstance(value, list | tuple) else value

    def _render(self, value: Any, context: ResolutionContext, *, environment_only: bool) -> Any:
        if isinstance(value, str):
            if not _is_rendered(value, environment_only=environment_only):
                return value
            unknown = _names_in(value) - set(context.scope)
            if unknown:  # Jinja would silently render them as nothing
                raise TemplateError(
                    f"template {value!r} uses {', '.join(sorted(unknown))}, which is not defined; the "
                    f"defined names are: {', '.join(sorted(context.scope))}",
                    context.path,
                    value,
                )
            try:
                rendered = context.resolve_value(value)
            except ResolutionException as error:
                raise TemplateError(self.hide(str(error)), context.path, value) from None
            if isinstance(rendered, str) and len(rendered) >= _SHORTEST_HIDDEN:
                self._shown_as.setdefault(rendered, value)
            return rendered
        inner = functools.partial(self._render, environment_only=environment_only)
        if isinstance(value, Mapping):
            return {key: inner(item, context.at_path(key)) for key, item in value.items()}
        if isinstance(value, list):
            return [inner(item, context.at_path(index)) for index, item in enumerate(value)]
        return value


class _Environment(EnvScope):
    """`env` in templates: `{{ env.NAME }}`, `{{ env('NAME', 'default') }}`, `{{ env.NAME | default('...') }}`."""

    def __init__(self, shown_as: dict[str, str]) -> None:
        self._shown_as = shown_as

    def __call__(self, key: str, default: str | Any | None = ...) -> str | None:
        value = super().__call__(key, default)
        if key in os.environ:
            self._seen(key)
        return value

    def __getattr__(self, key: str) -> Any:
        if key.startswith("jinja"):  # Jinja probes for attributes of its own
            raise AttributeError(key)
        if key not in os.environ:
            return jinja2.StrictUndefined(
                f"environment variable {key} is not set. Set it where Dagster runs, or give a default: "
                f"{{{{ env('{key}', '...') }}}}"
            )
        return self._seen(key)

    def _seen(self, key: str) -> str:
        value = os.environ[key]
        if len(value) >= _SHORTEST_HIDDEN:
            self._shown_as[value] = f"{{{{ env.{key} }}}}"
        return value


def is_template(value: Any) -> bool:
    """Whether `value` is text that contains a template."""
    return isinstance(value, str) and "{{" in value


def _is_rendered(text: str, *, environment_only: bool) -> bool:
    if not is_template(text):
        return False
    return not environment_only or _names_in(text) <= {"env"}


def _names_in(template: str) -> set[str]:
    try:
        return set(jinja2.meta.find_undeclared_variables(jinja2.Environment().parse(template)))  # noqa: S701  (no HTML)
    except jinja2.TemplateSyntaxError:
        return set()  # rendering it raises the error
