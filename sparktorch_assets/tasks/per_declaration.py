"""Remembers what follows from a declaration alone, so that a vocabulary of a million entries is read through once, and
not in every call and for every pack.

What may be remembered is decided by the declaration's values: all of them have to be immutable. Files and code change
while a declaration lives, so whatever depends on them is found anew on each call, or is given as an argument.
"""

import weakref
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from sparktorch_assets.tasks.plain_state import is_fixed

Given = ParamSpec("Given")
Found = TypeVar("Found")


class PerDeclaration(Generic[Given, Found]):
    """A function of a declaration and of hashable arguments that is called once for each declaration object, as long as
    the object lives and the arguments are those of the last call.

    Declarations are told apart by identity, because comparing large ones would take as long as what is remembered. For
    one that holds a mutable value, such as a set among its arguments, the function is called every time.
    """

    def __init__(self, find: Callable[Given, Found]) -> None:
        self._find = find
        self._found: dict[int, tuple[weakref.ref[Any], tuple[Any, ...], Found]] = {}

    def __call__(self, *given: Given.args, **named: Given.kwargs) -> Found:
        """What the function returns for these arguments, the first of which is the declaration."""
        assert not named, "only positional arguments are told apart"
        declaration, rest, place = given[0], given[1:], id(given[0])
        known = self._found.get(place)
        if known is not None and known[0]() is declaration and known[1] == rest:
            return known[2]
        found = self._find(*given, **named)
        if is_fixed(declaration):
            gone = weakref.ref(declaration, lambda _: self._found.pop(place, None))
            self._found[place] = (gone, rest, found)
        return found
