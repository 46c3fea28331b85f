"""The settings of a session whose workers have GPUs that Spark schedules."""

from sparktorch_assets.errors import HostError
from sparktorch_assets.masking import without_secrets
from sparktorch_assets.spark.session.config import is_local
from sparktorch_assets.spark.session.gpu.discovery import discovery_script


def gpu_settings(master: str, gpus_per_worker: int) -> dict[str, str]:
    """The settings with which Spark gives each executor so many GPUs, and its tasks none unless a job asks for them.

    Jobs of this library do, with a share for each model instance: see `share_profile`.

    Args:
        master: the cluster manager. Workers of a standalone cluster have to be started with
            `spark.worker.resource.gpu.amount` and a `discoveryScript`.
        gpus_per_worker: GPUs per executor.

    Raises:
        HostError: Spark schedules no GPUs in local mode; the number is not above 0; or the discovery script cannot be
            executed.
    """
    if gpus_per_worker < 1:
        raise HostError(f"gpus_per_worker={gpus_per_worker!r} must be above 0; leave it out for workers without GPUs")
    if is_local(master):
        raise HostError(
            f"gpus_per_worker={gpus_per_worker} with master={without_secrets(master)!r}: Spark schedules no GPUs in "
            f"local mode, where this library shares out the host's GPUs itself. Leave it out, or use a cluster manager, "
            f"for instance master='spark://host:7077'"
        )
    script = discovery_script()
    settings = {
        "spark.executor.resource.gpu.amount": str(gpus_per_worker),
        "spark.executor.resource.gpu.discoveryScript": script,
        # A task that failed, since its GPU is gone for instance, is tried again on another executor, and an executor on
        # which several failed gets no more. Otherwise, a GPU that fails at once would take one task after the other.
        "spark.excludeOnFailure.enabled": "true",
    }
    if master.startswith("local-cluster"):
        settings |= {
            "spark.worker.resource.gpu.amount": str(gpus_per_worker),
            "spark.worker.resource.gpu.discoveryScript": script,
        }
    if master.startswith("k8s:"):
        settings["spark.executor.resource.gpu.vendor"] = "nvidia.com"
    return settings
