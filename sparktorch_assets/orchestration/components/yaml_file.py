"""Checks for what a YAML parser silently drops or changes in a `defs.yaml`: a key that is given twice, and values that
YAML 1.1 reads as something else.

The parser keeps the last of two equal keys. In a filter's value, which may be of any type, it reads `01234` and
`12:30:00` as numbers and `no` as a Boolean, and no later step can notice that.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from sparktorch_assets.errors import TaskError

_OCTAL_OR_SEXAGESIMAL = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
_WORD_TAG = "tag:yaml.org,2002:bool"
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def check_yaml_file(path: Path) -> None:
    """Check a file of components. Invalid YAML is left to the parser to report.

    Raises:
        TaskError: a mapping has a key twice, or a filter's value is written in a way that YAML reads as another value.
            The message begins with file and line.
    """
    try:
        documents = list(yaml.compose_all(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError):
        return
    for document in documents:
        for line, problem in _problems(document, ()):
            raise TaskError(f"{path}:{line}: {problem}")


def _problems(node: yaml.Node | None, path: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen and name != "<<":
                yield (
                    line,
                    f"key {name!r} is given twice, first on line {seen[name]}; only the last would count. Remove one",
                )
            seen[name] = line
            yield from _problems(value, (*path, name))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _problems(item, path)
    elif isinstance(node, yaml.ScalarNode) and path[-2:] == ("where", "value") and node.style is None:
        read = _read_as(node)
        if read is not None:
            yield (
                node.start_mark.line + 1,
                f"where: value: YAML reads {node.value} as {read}; write '{node.value}' in quotes for text, or {read}",
            )


def _read_as(node: yaml.ScalarNode) -> str | None:
    """The value that YAML gives a plain scalar that looks like something else; `None` if it is what it looks like."""
    if node.tag == _WORD_TAG and node.value.lower() not in ("true", "false"):
        return "true" if node.value.lower() in ("yes", "on") else "false"
    if node.tag in _NUMBER_TAGS and _OCTAL_OR_SEXAGESIMAL.fullmatch(node.value):
        return str(yaml.safe_load(node.value))
    return None
