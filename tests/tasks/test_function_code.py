"""A function object is held to the code of the modules that it needs where it is unpickled."""

import functools
import json
import math

import pytest

from sparktorch_assets.tasks.code.function_code import modules_behind

HELPER = json


def named(row):
    return row


def by_value(source, **globals_):
    """A function of a notebook: its module is the script that runs."""
    space = {"__name__": "__main__", **globals_}
    exec(source, space)
    return space["hook"]


class Callable:
    """Holds a function, as a callable object of the user's may."""

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, row):
        return self.inner(row)


@pytest.mark.parametrize(
    ("hook", "module"),
    [
        (named, __name__),
        (functools.partial(named), __name__),
        (functools.lru_cache(named), __name__),
        (Callable(named).__call__, __name__),
        (lambda row: HELPER.dumps([row]), "json"),
        (lambda row, inner=math: inner.pi, "math"),
        (by_value("hook = lambda row: helper.loads(row)", helper=json), "json"),
        (by_value("def hook(row):\n    import json\n    return json.loads(row)"), "json"),
        (by_value("def hook(row):\n    from xml import dom\n    return dom"), "xml.dom"),
        (by_value("def inner(row):\n    return helper.loads(row)\ndef hook(row):\n    return [inner(r) for r in row]", helper=json), "json"),
        (by_value("def hook(row, inner=inner):\n    return inner(row)", inner=named), __name__),
        (by_value("def hook(row, *, inner=inner):\n    return inner(row)", inner=named), __name__),
        (by_value("class Hook:\n    def __call__(self, row):\n        return inner(row)\nhook = Hook()", inner=named), __name__),
        (by_value("class Hook:\n    @staticmethod\n    def run(row):\n        return inner(row)\nhook = Hook.run", inner=named), __name__),
        (by_value("def make():\n    held = {'a': [inner]}\n    return lambda row: held\nhook = make()", inner=named), __name__),
        (by_value("hook = wrap(lambda row: inner(row))", inner=named, wrap=functools.lru_cache), __name__),
        (Callable(by_value("hook = lambda row: helper.pi", helper=math)), "math"),
    ],
)  # fmt: skip
def test_modules_behind_a_function_are_found(hook, module):
    """Through globals, imports in the body, defaults, closures, objects, classes and decorators."""
    assert module in modules_behind(hook)


def test_a_function_that_refers_to_itself_has_an_end():
    hook = by_value("def hook(row):\n    return hook(row)")
    assert modules_behind(hook) == set()
