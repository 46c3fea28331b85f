"""What a kind of store has to say about its options."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import SplitResult, unquote

if TYPE_CHECKING:
    from pyarrow import fs


@dataclass(frozen=True, kw_only=True, slots=True)
class OptionKey:
    """One option of a store."""

    name: str
    """Its name for delta-rs, in lower case."""
    also: tuple[str, ...] = ()
    """Further names that delta-rs takes for the same."""
    secret: bool = False
    """Whether its value gives access to the store."""
    is_flag: bool = False
    """Whether its value is `true` or `false`."""


class Store(ABC):
    """A kind of store: the options that it has, and how `pyarrow.fs` and delta-rs are given them."""

    name: ClassVar[str]
    schemes: ClassVar[tuple[str, ...]]
    """The schemes of its URIs, the usual one first."""
    keys: ClassVar[tuple[OptionKey, ...]]

    @abstractmethod
    def problem(self, options: Mapping[str, str]) -> str:
        """What is wrong with options that do not fit each other, and the way out; empty if nothing is.

        Args:
            options: the values by `OptionKey.name`, like the argument of every method.
        """

    @abstractmethod
    def file_system(self, options: Mapping[str, str], uri: SplitResult) -> "fs.FileSystem":
        """The file system for addresses such as `uri`."""

    def path(self, uri: SplitResult) -> str:
        """The path of `uri` in the file system."""
        return f"{uri.netloc}{unquote(uri.path)}".rstrip("/")

    def for_delta(self, options: Mapping[str, str]) -> dict[str, str]:
        """The options for delta-rs."""
        return dict(options)


def is_on(options: Mapping[str, str], name: str) -> bool:
    """Whether a flag is set."""
    return options.get(name) == "true"
