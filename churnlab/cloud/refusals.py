"""What Google's services refuse, said as what is wrong and how to mend it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError

from churnlab.cloud.clients import CALL_TIMEOUT, LOGIN
from churnlab.errors import CourseError

# A role that holds what starts like this, the longest match first. The lists of permissions:
# https://docs.cloud.google.com/iam/docs/roles-permissions (accessed 2026-11-24)
ROLES = {
    "aiplatform.": "roles/aiplatform.user",
    "bigquery.": "roles/bigquery.dataEditor",
    "bigquery.jobs.": "roles/bigquery.jobUser",
    "cloudasset.": "roles/cloudasset.viewer",
    "composer.": "roles/composer.user",
    "compute.": "roles/compute.viewer",
    "dataproc.": "roles/dataproc.serverlessEditor",
    "dataproc.clusters.": "roles/dataproc.editor",
    "iam.serviceAccounts.": "roles/iam.serviceAccountUser",
    "logging.": "roles/logging.viewer",
    "serviceusage.": "roles/serviceusage.serviceUsageConsumer",
    "storage.buckets.": "roles/storage.bucketViewer",
    "storage.objects.": "roles/storage.objectUser",
}
PERMISSION = re.compile(r"\b([a-z]+(?:\.[a-zA-Z]+){2})\b")
URL = re.compile(r"https?://\S+")  # Storage's errors begin with one, which may ask for permissions
HOSTS = re.compile(r"\b[a-z]+\.googleapis\.com\b")
AWAY = (
    exceptions.ServerError,
    exceptions.RetryError,
    TransportError,
    requests.RequestException,
    ConnectionError,
)


def role_of(permission: str) -> str:
    """Return a role that holds a permission, or "" for one that we know none of."""
    known = [prefix for prefix in ROLES if permission.startswith(prefix)]
    return ROLES[max(known, key=len)] if known else ""


def lacking(permission: str) -> str:
    """Return the mend for a missing permission."""
    role = role_of(permission)
    grant = f"{role} holds {permission}" if role else f"You need {permission}"
    return f"{grant}. Name yourself as `author` in infra/terraform.tfvars and apply, or ask for it."


def explain(error: Exception, doing: str) -> CourseError:
    """Return what the reader is told about an error that came while ``doing`` something."""
    text = getattr(error, "message", None) or str(error)
    if isinstance(error, RefreshError):
        return CourseError(f"{doing}: your login is not valid any more.", LOGIN)
    if isinstance(error, exceptions.Unauthenticated | exceptions.Unauthorized):
        return CourseError(f"{doing}: the service does not know you.", LOGIN)
    if isinstance(error, exceptions.Forbidden):
        return explain_forbidden(error, doing, text)
    if isinstance(error, exceptions.NotFound):
        mend = "Is it applied? `terraform -chdir=infra plan` shows what is missing."
        return CourseError(f"{doing}: not found. {text}", mend)
    if isinstance(error, exceptions.TooManyRequests):
        return CourseError(f"{doing}: a quota is used up. {text}", "Wait a minute, then repeat.")
    if isinstance(error, AWAY):
        mend = "Check your connection, then repeat the command: it goes on where it stopped."
        return CourseError(f"{doing}: no answer within {CALL_TIMEOUT:.0f} s. {text}", mend)
    return CourseError(f"{doing}: {text}", "`churnlab cloud check` looks for the cause.")


def explain_forbidden(error: exceptions.Forbidden, doing: str, text: str) -> CourseError:
    """Return what to do about a 403: a service that is off, or a permission that is missing."""
    facts = error.metadata or {}
    if error.reason == "SERVICE_DISABLED" or "has not been used in project" in text:
        found = HOSTS.search(text)
        service = facts.get("service") or (found[0] if found else "")
        mend = "`terraform -chdir=infra apply` enables what the course uses, or run "
        mend += f"`gcloud services enable {service}`. Then wait a few minutes."
        return CourseError(f"{doing}: the API {service} is disabled.", mend)
    known = [word for word in PERMISSION.findall(URL.sub("", text)) if role_of(word)]
    permission = facts.get("permission") or (known[0] if known else "")
    if not permission:
        return CourseError(f"{doing}: permission denied. {text}", "Run `churnlab cloud check`.")
    return CourseError(f"{doing}: you lack {permission}.", lacking(permission))


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what a service refuses into a CourseError; ``doing`` begins its sentence."""
    try:
        yield
    except (exceptions.GoogleAPIError, GoogleAuthError, *AWAY) as error:
        raise explain(error, doing) from error
