"""The real client libraries of Google Cloud, each made when it is first needed.

They go to Google unless CHURNLAB_ENDPOINTS names other addresses, as a JSON object of the names
below: host:port for gRPC, http://… for REST. Tests use it; nothing else in the course knows it.
Every call is made with ``CALL``: a call without an end, or without a second try, is a trap.
"""

import json
import os
from functools import cached_property
from typing import Any

import google.auth
import grpc
from google.api_core import exceptions
from google.api_core.retry import Retry, if_transient_error
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError

from churnlab.errors import CourseError

VARIABLE = "CHURNLAB_ENDPOINTS"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
PASSING = (exceptions.BadGateway, exceptions.GatewayTimeout)
CALL_TIMEOUT = 60.0  # seconds, for a call with its retries


def passes(error: Exception) -> bool:
    """Tell whether an error is one that a second try may not meet."""
    return if_transient_error(error) or isinstance(error, PASSING)


RETRY = Retry(predicate=passes, initial=0.5, maximum=10.0, timeout=CALL_TIMEOUT)
CALL = {"timeout": CALL_TIMEOUT, "retry": RETRY}

LOGIN = "`gcloud auth application-default login` logs you in."


def read_endpoints() -> dict[str, str]:
    """Return the addresses that CHURNLAB_ENDPOINTS names; none means Google's own."""
    return json.loads(os.environ.get(VARIABLE) or "{}")


class Clients:
    """The clients of one project and region."""

    def __init__(self, project: str, region: str, endpoints: dict[str, str] | None = None):
        self.project = project
        self.region = region
        self.endpoints = read_endpoints() if endpoints is None else endpoints

    @property
    def parent(self) -> str:
        """The name of project and region, as most services want it."""
        return f"projects/{self.project}/locations/{self.region}"

    @cached_property
    def credentials(self):
        """Whoever is logged in; the project pays for the calls. Raises CourseError for nobody."""
        if self.endpoints:
            return AnonymousCredentials()
        try:
            found, _ = google.auth.default(scopes=SCOPES, quota_project_id=self.project)
        except DefaultCredentialsError as error:
            raise CourseError("Nobody is logged in to Google Cloud.", LOGIN) from error
        return found

    def address(self, name: str) -> str:
        """Return another address of a service, or "" for Google's. Raises CourseError."""
        if self.endpoints and name not in self.endpoints:
            raise CourseError(f"{VARIABLE} names no address for {name}.", f"Unset {VARIABLE}.")
        return self.endpoints.get(name, "")

    def _grpc(self, name: str, kind: type, address: str = "") -> Any:
        if other := self.address(name):
            channel = grpc.insecure_channel(other)
            return kind(transport=kind.get_transport_class("grpc")(channel=channel))
        options = {"api_endpoint": address} if address else {}
        return kind(credentials=self.credentials, client_options=options)

    def _rest(self, name: str, kind: type, address: str = "") -> Any:
        options = {"api_endpoint": self.address(name) or address or kind.DEFAULT_ENDPOINT}
        return kind(credentials=self.credentials, transport="rest", client_options=options)

    # Spark: batches, and the sessions of Workbench

    @cached_property
    def batches(self):
        from google.cloud import dataproc_v1 as dataproc

        address = f"{self.region}-dataproc.googleapis.com:443"
        return self._grpc("dataproc", dataproc.BatchControllerClient, address)

    @cached_property
    def sessions(self):
        from google.cloud import dataproc_v1 as dataproc

        address = f"{self.region}-dataproc.googleapis.com:443"
        return self._grpc("sessions", dataproc.SessionControllerClient, address)

    # The project: its services, what you may do, what it holds

    @cached_property
    def services(self):
        from google.cloud import service_usage_v1 as service_usage

        return self._grpc("serviceusage", service_usage.ServiceUsageClient)

    @cached_property
    def projects(self):
        from google.cloud import resourcemanager_v3 as resource_manager

        return self._grpc("cloudresourcemanager", resource_manager.ProjectsClient)

    @cached_property
    def accounts(self):
        from google.cloud import iam_admin_v1 as iam

        return self._grpc("iam", iam.IAMClient)

    @cached_property
    def assets(self):
        from google.cloud import asset_v1 as asset

        return self._grpc("cloudasset", asset.AssetServiceClient)

    def compute(self, kind: str):
        """Return a client of Compute Engine, such as ``Regions``; they speak REST only."""
        from google.cloud import compute_v1 as compute

        return self._rest("compute", getattr(compute, f"{kind}Client"))

    # Vertex AI: pipelines, models. Airflow

    def _vertex(self, kind: str):
        from google.cloud import aiplatform_v1 as vertex

        address = f"{self.region}-aiplatform.googleapis.com"
        return self._rest("aiplatform", getattr(vertex, f"{kind}Client"), address)

    @cached_property
    def pipelines(self):
        return self._vertex("PipelineService")

    @cached_property
    def schedules(self):
        return self._vertex("ScheduleService")

    @cached_property
    def models(self):
        return self._vertex("ModelService")

    @cached_property
    def online_endpoints(self):
        return self._vertex("EndpointService")

    @cached_property
    def environments(self):
        from google.cloud.orchestration.airflow import service_v1 as composer

        return self._grpc("composer", composer.EnvironmentsClient)

    @cached_property
    def web(self):
        """A session of HTTP that says who you are: Airflow's own API has no Google client."""
        from google.auth.transport.requests import AuthorizedSession

        return AuthorizedSession(self.credentials)

    # Data

    @cached_property
    def storage(self):
        from google.cloud import storage

        other = self.address("storage")
        options = {"api_endpoint": other} if other else None
        return storage.Client(self.project, self.credentials, client_options=options)

    @cached_property
    def bigquery(self):
        from google.cloud import bigquery

        other = self.address("bigquery")
        options = {"api_endpoint": other} if other else None
        return bigquery.Client(self.project, self.credentials, client_options=options)
