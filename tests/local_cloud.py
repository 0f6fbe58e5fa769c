"""Fixtures of a cloud on this machine: the stand-ins, and the function that starts pipelines.

A folder's conftest takes them by ``from tests.local_cloud import cloud, start_function``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from churnlab import paths
from churnlab.cloud.package import write_archive
from churnlab.run.library import course_module
from churnlab.standins.clients import google_clients, shim_variables
from churnlab.standins.functions import Function, serve_function

if TYPE_CHECKING:  # the stand-ins bring Vertex AI's library along, which takes seconds
    from churnlab.standins.server import Addresses

TEMPLATE = yaml.safe_load((paths.SCRIPTS / "training_pipeline.yaml").read_text())
SETTINGS = {
    "PROJECT": "demo",
    "LOCATION": "us-central1",
    "LAKE": "gs://demo-lake",
    "DATASET": "bigquery://demo.churn",
    "CODE_URI": "gs://demo-code",
    "PIPELINE_ROOT": "gs://demo-pipelines/root",
    "SERVICE_ACCOUNT": "pipeline@demo.iam.gserviceaccount.com",
}


@contextmanager
def local_cloud(storage: Path, **options) -> Iterator[Addresses]:
    """Run the stand-ins, with this process's Google clients pointed at them."""
    from churnlab.standins.server import stand_ins

    with stand_ins(storage, **options) as addresses, google_clients(addresses.variables()):
        yield addresses


@pytest.fixture(scope="module")
def cloud(tmp_path_factory) -> Iterator[Addresses]:
    """A cloud of the tests of one module; its storage is ``cloud.pipelines.storage``."""
    with local_cloud(tmp_path_factory.mktemp("cloud")) as addresses:
        yield addresses


@pytest.fixture(scope="module", name="cloud")
def waiting_cloud(tmp_path_factory) -> Iterator[Addresses]:
    """A cloud that keeps pipeline jobs without running them: a test wants to know what it is sent."""
    with local_cloud(tmp_path_factory.mktemp("cloud"), execute_pipelines=False) as addresses:
        yield addresses


@pytest.fixture(scope="module")
def function(start_function) -> Function:
    """The exported function, as it is deployed."""
    return start_function()


@pytest.fixture(scope="module")
def start_function(cloud, tmp_path_factory) -> Iterator[Callable[..., Function]]:
    """Start the pipeline function, as it is deployed; keywords change its environment.

    ``start_function(LAKE=str(lake), DATASET="churn", CODE_URI=str(paths.SCRIPTS)).url`` takes the requests.
    """
    folder = tmp_path_factory.mktemp("function")
    with zipfile.ZipFile(write_archive(folder / "function.zip")) as archive:
        archive.extractall(folder)
    script = folder / "main.py"
    with ExitStack() as functions:

        def start(**changes: str) -> Function:
            variables = shim_variables(cloud.variables()) | SETTINGS | changes
            return functions.enter_context(serve_function(script, "start_training", variables))

        yield start


def plan_of(job) -> tuple:
    """Return what the pipeline's first task makes of the values of a job, or let it refuse them."""
    from churnlab.standins.pipeline_run import arguments

    plan_run = course_module("training_pipeline").plan_run
    defined = TEMPLATE["root"]["inputDefinitions"]["parameters"]
    values = {
        name: found["defaultValue"] for name, found in defined.items() if found.get("isOptional")
    }
    values |= arguments(TEMPLATE, dict(job.runtime_config.parameter_values))
    return plan_run.python_func(**{name: values[name] for name in plan_run.component_spec.inputs})
