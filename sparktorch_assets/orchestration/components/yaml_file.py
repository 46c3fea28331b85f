"""What a `defs.yaml` says and a YAML parser swallows: a key that is given twice, and values that YAML 1.1 takes for others.

The parser keeps the last of two equal keys. Where a filter's value may be of any type, it makes a number of `01234` and of
`12:30:00`, and a truth value of `no`, and nothing after it can tell.
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
    """Check a file of components; one that is no YAML is left to its parser.

    Raises:
        TaskError: a mapping names a key twice, or the value of a filter is written in a way that YAML takes for another
            value. The message begins with file and line.
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
                    f"key {name!r} is given twice, first in line {seen[name]}; only the last would count. Drop one",
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
                f"where: value: {node.value} is {read} to YAML; write '{node.value}' in quotes for the text, or {read}",
            )


def _read_as(node: yaml.ScalarNode) -> str | None:
    """What YAML makes of a plain scalar that looks like something else; `None` where it is what it looks like."""
    if node.tag == _WORD_TAG and node.value.lower() not in ("true", "false"):
        return "true" if node.value.lower() in ("yes", "on") else "false"
    if node.tag in _NUMBER_TAGS and _OCTAL_OR_SEXAGESIMAL.fullmatch(node.value):
        return str(yaml.safe_load(node.value))
    return None
