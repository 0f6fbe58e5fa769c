"""Point Google's own client libraries at the stand-ins of this machine.

A process that production code runs in gets this by the environment (``shim_variables``); a notebook
or a test points its own libraries there for a while (``google_clients``). Only addresses and
credentials change, never what the libraries send.
"""

import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from churnlab.standins.project import PROJECT

SHIM = Path(__file__).with_name("shim")
PROJECT_NUMBER = "123456789012"
DATAPROC = "https://dataproc.googleapis.com"


def shim_variables(variables: dict[str, str]) -> dict[str, str]:
    """Return the environment of a process whose Google clients shall talk to the stand-ins.

    ``variables`` are those of ``Addresses.variables()``.
    """
    path = os.pathsep.join(filter(None, [str(SHIM), os.environ.get("PYTHONPATH", "")]))
    return {**variables, "PYTHONPATH": path, "STORAGE_EMULATOR_HOST": variables[VERTEX]}


VERTEX, BATCHES = "CHURNLAB_VERTEX_URL", "CHURNLAB_BATCHES_URL"


@contextmanager
def google_clients(variables: dict[str, str]) -> Iterator[None]:
    """Let this process's Google clients talk to the stand-ins for a while."""
    import google.auth
    from google.cloud import aiplatform
    from google.cloud.aiplatform.utils import resource_manager_utils

    number, emulator = resource_manager_utils.get_project_number, "STORAGE_EMULATOR_HOST"
    before = os.environ.get(emulator)
    os.environ[emulator] = variables[VERTEX]
    default = google.auth.default
    _answer_for_credentials(google.auth)
    _know_the_project(resource_manager_utils)
    _preset_vertex(aiplatform, variables[VERTEX])
    try:
        yield
    finally:
        google.auth.default = default
        aiplatform.initializer.global_config.__init__()
        resource_manager_utils.get_project_number = number
        os.environ.pop(emulator)
        if before is not None:
            os.environ[emulator] = before


def redirect_on_import() -> None:
    """Point the libraries there as soon as they are imported: importing them all takes seconds."""
    actions: dict[str, Callable[[ModuleType], None]] = {}
    launcher = "google_cloud_pipeline_components.container.v1.dataproc.utils.dataproc_util"
    if url := os.environ.get(BATCHES):
        actions[launcher] = lambda module: _redirect_launcher(module, url)
    if vertex := os.environ.get(VERTEX):
        actions["google.cloud.aiplatform"] = lambda module: _preset_vertex(module, vertex)
        resources = "google.cloud.aiplatform.utils.resource_manager_utils"
        actions[resources] = _know_the_project
    if actions:
        actions["google.auth"] = _answer_for_credentials
        sys.meta_path.insert(0, _AfterImport(actions))


class _AfterImport(importlib.abc.MetaPathFinder):
    """Do something with a module right after it has been imported."""

    def __init__(self, actions: dict[str, Callable[[ModuleType], None]]):
        self._actions = actions

    def find_spec(self, name, path=None, target=None):
        action = self._actions.pop(name, None)
        spec = importlib.util.find_spec(name) if action else None  # by the other finders
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_act(module: ModuleType) -> None:
            run(module)
            action(module)

        spec.loader.exec_module = run_and_act
        return spec


def _answer_for_credentials(auth: ModuleType) -> None:
    """There is nobody to log in to here, and looking for credentials takes seconds."""

    def default(*arguments, **options):
        from google.oauth2.credentials import Credentials

        return Credentials("local"), PROJECT

    auth.default = default


def _preset_vertex(aiplatform: ModuleType, url: str) -> None:
    """What ``aiplatform.init`` is told here stays when production code calls it again."""
    from google.auth.credentials import AnonymousCredentials

    aiplatform.init(api_endpoint=url, api_transport="rest", credentials=AnonymousCredentials())


def _know_the_project(resource_manager_utils: ModuleType) -> None:
    """``PipelineJob.submit`` asks the Resource Manager who owns its bucket: minutes without one."""
    resource_manager_utils.get_project_number = lambda project_id, credentials=None: PROJECT_NUMBER


def _redirect_launcher(dataproc_util: ModuleType, url: str) -> None:
    """The launcher of the Dataproc components has the service's address in its code."""
    from requests.adapters import HTTPAdapter

    class Redirect(HTTPAdapter):
        def send(self, request, **options):
            request.url = request.url.replace(DATAPROC, url)
            return super().send(request, **options)

    get_session = dataproc_util.DataprocBatchRemoteRunner._get_session

    def redirected(runner):
        session = get_session(runner)
        session.mount(DATAPROC, Redirect(max_retries=session.get_adapter("https://").max_retries))
        return session

    dataproc_util.DataprocBatchRemoteRunner._get_session = redirected
    dataproc_util._POLL_INTERVAL_SECONDS = 0.2  # 20 s suits the cloud's batches, not ours
