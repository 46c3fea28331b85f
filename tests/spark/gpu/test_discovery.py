"""The program that tells Spark which GPUs a worker has, run as Spark runs it."""

import json
import os
import subprocess

import pytest

from sparktorch_assets.errors import HostError
from sparktorch_assets.spark.session.gpu.discovery import discovery_script


@pytest.fixture
def nvidia_smi(tmp_path):
    """A folder with an nvidia-smi that lists two GPUs, or one with two instances."""

    def make(*, divided=False):
        lines = ["GPU 0: NVIDIA X (UUID: GPU-a)", *(["  MIG 3g Device 0: (UUID: MIG-a)", "  MIG 3g Device 1: (UUID: MIG-b)"] if divided else ["GPU 1: NVIDIA X (UUID: GPU-b)"])]  # fmt: skip
        tool = tmp_path / "nvidia-smi"
        tool.write_text("#!/bin/sh\n" + "\n".join(f"echo '{line}'" for line in lines) + "\n")
        tool.chmod(0o755)
        return f"{tmp_path}:{os.environ['PATH']}"

    return make


def run(**environment):
    done = subprocess.run(
        [discovery_script()],
        env={"PATH": os.environ["PATH"], **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout), done.stderr


@pytest.mark.promise("O220")
def test_it_prints_what_spark_reads(nvidia_smi):
    """Alone, from any folder, without the variables of the environment it is installed in."""
    path = nvidia_smi()
    assert run(PATH=path) == ({"name": "gpu", "addresses": ["0", "1"]}, "")
    assert run(PATH=path, CUDA_VISIBLE_DEVICES="1")[0]["addresses"] == ["1"]
    assert run(PATH=path, CUDA_VISIBLE_DEVICES="GPU-b,GPU-a")[0]["addresses"] == ["GPU-b", "GPU-a"]
    assert run(PATH=nvidia_smi(divided=True))[0]["addresses"] == ["MIG-a", "MIG-b"]


@pytest.mark.promise("O220")
def test_no_gpu_is_said(nvidia_smi):
    """Spark refuses a worker with fewer GPUs than its settings say, and shows what the program wrote."""
    found, said = run(PATH=nvidia_smi(), CUDA_VISIBLE_DEVICES="")
    assert found == {"name": "gpu", "addresses": []}
    assert said == "no GPU: 2 on this host, CUDA_VISIBLE_DEVICES=\n"


@pytest.mark.promise("O220")
@pytest.mark.timeout(120)
def test_sparks_own_plugin_takes_it(spark, nvidia_smi, monkeypatch):
    """`ResourceDiscoveryScriptPlugin` runs the script in the JVM, with its environment, where there is no GPU."""
    jvm = spark.sparkContext._jvm
    packages = jvm.org.apache.spark.resource
    request = packages.ResourceRequest(
        packages.ResourceID("spark.executor", "gpu"), 1, jvm.java.util.Optional.of(discovery_script()), jvm.java.util.Optional.empty()
    )  # fmt: skip
    found = packages.ResourceDiscoveryScriptPlugin().discoverResource(request, spark.sparkContext._jsc.sc().conf())
    information = found.get()
    assert (information.name(), list(information.addresses())) == ("gpu", [])


def test_a_script_that_cannot_be_run_is_refused(monkeypatch):
    """Before Spark starts an executor that would fail for it."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(HostError, match=r"discover-gpus.sh cannot be executed.*chmod"):
        discovery_script()
