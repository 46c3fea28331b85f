"""MLflow models as people log them, and a tracking server with a registry on loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch

POISON = 13.0
"""The value of `a` for which `Doubling` raises."""


# MLflow reports nothing to its makers, and a test waits for no hub.
os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true", HF_HUB_OFFLINE="1")


@contextmanager
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


with no_warnings():
    import mlflow.pyfunc
    import mlflow.pytorch
    import mlflow.transformers
    from mlflow.models import infer_signature


def network(seed=3):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1)).eval()


def save_pytorch(folder, seed=3, **options):
    x = np.ones((2, 2), dtype=np.float32)
    signature = infer_signature(x, np.ones((2, 1), dtype=np.float32))
    with no_warnings():
        mlflow.pytorch.save_model(
            network(seed), str(folder), signature=signature, input_example=x, pip_requirements=[], **options
        )


def save_transformers(folder, source, task="text-classification"):
    import transformers

    parts = {
        "model": transformers.AutoModelForSequenceClassification.from_pretrained(source),
        "tokenizer": transformers.AutoTokenizer.from_pretrained(source),
    }
    with no_warnings():
        mlflow.transformers.save_model(parts, str(folder), task=task, pip_requirements=[])


def save_doubling(folder, factor=2.0, poison=POISON):
    """A pyfunc model of two columns, which raises for the whole batch if `a` is the poison anywhere in it."""
    with no_warnings():

        class Doubling(mlflow.pyfunc.PythonModel):
            def predict(self, context, model_input, params=None):
                if (model_input["a"] == poison).any():
                    raise ValueError("poisoned")
                return pd.DataFrame(
                    {
                        "product": model_input["a"] * factor,
                        "longer": [len(text) if isinstance(text, str) else 0 for text in model_input["b"]],
                        "unasked": "x",
                    }
                )

        signature = infer_signature(
            pd.DataFrame({"a": [1.0], "b": ["x"]}),
            pd.DataFrame({"product": [2.0], "longer": np.array([1], dtype=np.int64)}),
        )
        mlflow.pyfunc.save_model(str(folder), python_model=Doubling(), pip_requirements=[], signature=signature)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def tracking_server(folder):
    """The address of an MLflow server with a registry in SQLite, which stops when the block ends."""
    port = free_port()
    log = (folder / "server.log").open("wb")
    options = {
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
        "--backend-store-uri": f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination": str(folder / "artifacts"),
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *(part for pair in options.items() for part in pair)],
        stdout=log,
        stderr=log,
        cwd=folder,
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 240
        while True:
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=2):
                    break
            except OSError:
                assert server.poll() is None, (folder / "server.log").read_text()
                assert time.monotonic() < until, (folder / "server.log").read_text()
                time.sleep(0.1)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # its own group, with its workers; it would wait for its jobs
        server.wait(30)
        log.close()


class Registry:
    """Registers folders of models as versions."""

    def __init__(self, address):
        self.client = mlflow.MlflowClient(tracking_uri=address, registry_uri=address)
        self.address = address
        self._experiment = self.client.create_experiment("tests")

    def register(self, name, folder, alias=None):
        """The version's number, and the run that holds its files."""
        with no_warnings():
            run = self.client.create_run(self._experiment).info.run_id
            self.client.log_artifacts(run, str(folder), "model")
            if name not in [model.name for model in self.client.search_registered_models()]:
                self.client.create_registered_model(name)
            source = f"{self.client.get_run(run).info.artifact_uri}/model"
            version = self.client.create_model_version(name, source, run_id=run, await_creation_for=0).version
            if alias is not None:
                self.client.set_registered_model_alias(name, alias, version)
        return str(version), run
