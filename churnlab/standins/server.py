"""All stand-ins of one machine, on loopback: what `churnlab up` starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from churnlab.standins.batches import BatchService
from churnlab.standins.batches_grpc import serve_grpc
from churnlab.standins.batches_rest import rest_app
from churnlab.standins.rest import serve_app

# The laptop's Spark has no web interface in a batch: nobody could look at it in time.
BATCH_CONF = {"spark.ui.enabled": "false"}


@dataclass(frozen=True)
class Addresses:
    """Where the stand-ins listen; ``service`` is the batch service itself."""

    batches: str  # gRPC, host:port
    batches_url: str
    service: BatchService

    def variables(self) -> dict[str, str]:
        """Return the environment variables by which the course finds them."""
        return {
            "CHURNLAB_BATCHES": self.batches,
            "CHURNLAB_BATCHES_URL": self.batches_url,
        }


@contextmanager
def stand_ins(
    storage: Path, grpc_port: int = 0, rest_port: int = 0, **options
) -> Iterator[Addresses]:
    """Run the stand-ins for a while; port 0 takes a free one. Options go to BatchService.

    Running batches are cancelled at the end.
    """
    service = BatchService(storage, **{"conf": BATCH_CONF} | options)
    server, address = serve_grpc(service, grpc_port)
    web, url = serve_app(rest_app(service), rest_port)
    try:
        yield Addresses(address, url, service)
    finally:
        service.close()
        server.stop(0)
        web.shutdown()
