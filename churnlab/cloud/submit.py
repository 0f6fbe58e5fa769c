"""A step as a batch, with everything that the profile knows."""

from churnlab.cloud.batches import Target
from churnlab.cloud.clients import Clients
from churnlab.cloud.profile import Profile, split_uri
from churnlab.run.library import common_utils


def target_of(profile: Profile, clients: Clients) -> Target:
    """Return where batches run and as whom."""
    return Target(
        on="dataproc",
        project=profile.project_id,
        region=profile.region,
        code=profile.code_uri,
        service_account=profile.service_accounts["batch"],
        subnetwork=profile.subnetwork,
        container_image=profile.batch_image or "none",
        staging_bucket=split_uri(profile.staging_bucket)[0],
        labels={name: text for name, text in profile.labels.items() if name != "managed-by"},
        kms_key=profile.kms_key,
        history_server=profile.history_server,
        endpoint=clients.dataproc_address,
    )


def with_defaults(profile: Profile, options: dict[str, str]) -> list[str]:
    """Return a step's options as words, with lake, dataset and a fresh pipeline id filled in."""
    known = {"lake": profile.lake_uri, "dataset": profile.dataset}
    known["pipeline_id"] = options.get("pipeline_id") or common_utils().new_pipeline_id()
    options = known | options
    return [word for name in options for word in (f"--{name.replace('_', '-')}", options[name])]
