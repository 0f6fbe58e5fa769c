"""All stand-ins of one machine, on loopback: what `churnlab up` starts."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from churnlab.standins.batches import BatchService
from churnlab.standins.batches_grpc import serve_grpc
from churnlab.standins.batches_rest import rest_app
from churnlab.standins.clients import BATCHES, VERTEX
from churnlab.standins.models import ModelService
from churnlab.standins.models_rest import add_models
from churnlab.standins.pipelines import PipelineService
from churnlab.standins.pipelines_rest import rest_app as pipelines_app
from churnlab.standins.rest import serve_app

# Where the batch service listens by gRPC; those that speak HTTP are named in clients.py.
BATCHES_GRPC = "CHURNLAB_BATCHES"
# The laptop's Spark has no web interface in a batch: nobody could look at it in time.
BATCH_CONF = {"spark.ui.enabled": "false"}
# Werkzeug parses Python for each route, and Python 3.11 fails now and then when two threads parse
# at once: https://github.com/python/cpython/issues/106905.
ROUTING = threading.Lock()


@dataclass(frozen=True)
class Addresses:
    """Where the stand-ins listen; the last three are the services themselves."""

    batches: str  # gRPC, host:port
    batches_url: str
    vertex_url: str
    service: BatchService
    pipelines: PipelineService
    models: ModelService

    def variables(self) -> dict[str, str]:
        """Return the environment variables by which the course finds them."""
        return {
            BATCHES_GRPC: self.batches,
            BATCHES: self.batches_url,
            VERTEX: self.vertex_url,
        }


@contextmanager
def stand_ins(
    storage: Path,
    grpc_port: int = 0,
    rest_port: int = 0,
    vertex_port: int = 0,
    execute_pipelines: bool = True,
    **options,
) -> Iterator[Addresses]:
    """Run the stand-ins for a while; port 0 takes a free one. Options go to BatchService.

    Pipeline jobs stay PENDING with ``execute_pipelines=False``. What still runs at the end, jobs
    and batches, is cancelled.
    """
    with ExitStack() as ends:  # from the last to the first, also if a port is taken
        service = BatchService(storage, **{"conf": BATCH_CONF} | options)
        ends.callback(service.close)
        server, address = serve_grpc(service, grpc_port)
        ends.callback(server.stop, 0)
        with ROUTING:
            batches_app = rest_app(service)
        web, url = serve_app(batches_app, rest_port)
        ends.callback(web.shutdown)
        pipelines = PipelineService(storage, service, execute_pipelines)
        models = ModelService()
        with ROUTING:
            vertex_app = pipelines_app(pipelines)
            add_models(vertex_app, models)
        vertex_web, vertex_url = serve_app(vertex_app, vertex_port)
        ends.callback(vertex_web.shutdown)
        ends.callback(pipelines.close)  # a job's end cancels its own batches
        addresses = Addresses(address, url, vertex_url, service, pipelines, models)
        pipelines.variables = addresses.variables()
        yield addresses


@contextmanager
def batches_address(storage: Path) -> Iterator[str]:
    """Give host:port of the batch service that `churnlab up` keeps, or of one for a while."""
    if running := os.environ.get(BATCHES_GRPC):
        yield running
    else:
        with stand_ins(storage) as addresses:
            yield addresses.batches
