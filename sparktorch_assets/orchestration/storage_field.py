"""Storage options as a field of a resource: names are checked when the resource is made, and secrets have to come from
the environment.
"""

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from sparktorch_assets.errors import HostError, TaskError, nearest
from sparktorch_assets.storage.storage_options import ALL_KEYS


def named_options(given: Any, resource: str) -> Any:
    """The field's value as it is given.

    Raises:
        ValueError: no store has an option of one of the names. The message contains no value.
    """
    for name in given if isinstance(given, Mapping) else ():
        if str(name).lower() not in ALL_KEYS:
            known = {key.name for key in ALL_KEYS.values()}
            raise ValueError(
                f"{resource}.storage_options has {name!r}, which is no option here; {nearest(str(name).lower(), known)}"
            )
    return given


def refuse_plain_secrets(options: Mapping[str, str], resource: str) -> None:
    """Raise `TaskError` if an option that gives access is no `EnvVar`: Dagster stores a resource's values, and shows them
    in its UI, except for those that it finds in the environment itself."""
    for name, value in options.items():
        if ALL_KEYS[name.lower()].secret and not isinstance(value, dg.EnvVar):
            raise TaskError(
                f"{resource}.storage_options[{name!r}] gives access to the store, and Dagster would show its value in the UI. "
                f"Put it into an environment variable, and write dg.EnvVar('...') with that variable's name"
            )


def options_now(options: Mapping[str, str], resource: str) -> dict[str, str]:
    """The options with the values of their environment variables, also where Dagster has not looked them up.

    Raises:
        HostError: a variable is not set.
    """
    found = {}
    for name, value in options.items():
        if isinstance(value, dg.EnvVar):
            if value.env_var_name not in os.environ:
                raise HostError(
                    f"{resource}.storage_options[{name!r}] comes from the environment variable {value.env_var_name!r}, which "
                    f"is not set; set it where the run starts"
                )
            found[name] = os.environ[value.env_var_name]
        else:
            found[name] = value
    return found
