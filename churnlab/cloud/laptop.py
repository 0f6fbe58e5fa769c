"""This machine as a profile: built in, with the stand-ins where Google's services would be."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from churnlab import paths
from churnlab.cloud.clients import Clients
from churnlab.cloud.profile import Profile
from churnlab.standins.project import BATCH_ACCOUNT, PROJECT, REGION


@dataclass(frozen=True)
class Laptop(Profile):
    """A profile whose services are the stand-ins: those of `churnlab up`, or some for a while."""

    pause: ClassVar[float] = 1.0

    @contextmanager
    def clients(self) -> Iterator[Clients]:
        """Give the clients of the stand-ins."""
        from churnlab.standins.server import batches_address  # a web server: not for a dry run

        with batches_address(paths.BUILD / "cloud") as address:
            yield Clients(self.project_id, self.region, {"dataproc": address})


def laptop() -> Laptop:
    """Return the built-in profile: the course's lake, the scripts of this checkout."""
    return Laptop.of(
        project_id=PROJECT,
        region=REGION,
        lake_uri=paths.lake(),
        code_uri=str(paths.SCRIPTS),
        dataset="churn",
        service_accounts={"batch": BATCH_ACCOUNT},
    )
