"""The pipeline function as the archive that Terraform deploys."""

import zipfile
from pathlib import Path

from churnlab import paths
from churnlab.errors import CourseError

NAME = "pipeline_function.zip"
# The runtime looks for main.py and requirements.txt at the root of the archive; the function for
# the compiled pipeline beside itself, if it is told of none in a bucket.
# https://docs.cloud.google.com/run/docs/runtimes/python-dependencies (accessed 2026-11-24)
FILES = {
    "main.py": paths.SCRIPTS / "pipeline_function.py",
    "requirements.txt": paths.ROOT / "requirements" / "function.txt",
    "training_pipeline.yaml": paths.SCRIPTS / "training_pipeline.yaml",
}
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first time that an archive can hold


def archive_path() -> Path:
    """Return where Terraform finds the archive."""
    return paths.BUILD / "cloud" / NAME


def write_archive(target: Path) -> Path:
    """Write the archive: the same files give the same bytes, so Terraform deploys only changes.

    Raises CourseError if one of the files is missing.
    """
    if missing := [path for path in FILES.values() if not path.exists()]:
        raise CourseError(f"{missing[0].relative_to(paths.ROOT)} is missing.", "Run `make export`.")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for name, path in FILES.items():
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    partial.replace(target)
    return target
