"""Imports MLflow, which is an optional package and takes seconds."""

import importlib
import warnings
from typing import Any

from sparktorch_assets.errors import ModelError


def load_mlflow(module: str = "mlflow") -> Any:
    """The package `mlflow`, or a module in it.

    Raises:
        ModelError: it cannot be imported here.
    """
    try:
        # Version 3.17 warns of type hints of its own when it is imported.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        raise ModelError(
            f"an MLflow model takes the package mlflow-skinny (or mlflow), and {module} cannot be imported here ({error}); run "
            f"pip install 'sparktorch-assets[mlflow]' on every worker"
        ) from error
