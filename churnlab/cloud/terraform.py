"""Terraform, as the commands run it."""

import subprocess
from pathlib import Path

from churnlab import paths
from churnlab.errors import CourseError

TERRAFORM_TIMEOUT = 300  # seconds; a remote state is read over the network


def terraform(
    arguments: list[str], folder: Path = paths.INFRA, **options
) -> subprocess.CompletedProcess:
    """Run Terraform and return the finished process; options go to subprocess.run.

    Raises CourseError if there is none, or if it takes longer than the option ``timeout``.
    """
    try:
        return subprocess.run(["terraform", f"-chdir={folder}", *arguments], **options)
    except FileNotFoundError:
        mend = "Install it: https://developer.hashicorp.com/terraform/install"
        raise CourseError("There is no terraform on the PATH.", mend) from None
    except subprocess.TimeoutExpired:
        mend = "Is its remote state reachable?"
        raise CourseError(f"terraform {arguments[0]} does not answer.", mend) from None
