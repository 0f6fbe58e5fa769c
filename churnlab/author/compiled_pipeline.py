"""The compiled training pipeline beside the scripts: what Vertex AI is given."""

import tempfile
from pathlib import Path

from churnlab.author.exporter import ExportError
from churnlab.run.library import course_module

NAME = "training_pipeline.yaml"


def export_pipeline(scripts: Path, check: bool = False) -> list[str]:
    """Compile the pipeline of training_pipeline.py; with ``check`` only compare.

    Returns the name of the file if it differed. With ``check`` a difference raises ExportError.
    """
    target = scripts / NAME
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / NAME
        course_module("training_pipeline").compile_pipeline(str(fresh))
        text = fresh.read_text(encoding="utf-8")
    if target.exists() and target.read_text(encoding="utf-8") == text:
        return []
    if check:
        raise ExportError(
            f"{NAME}: not what notebooks/09-training-pipeline.ipynb compiles to.",
            "Change the notebook, not the file, then run `make export`.",
        )
    partial = target.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)
    return [NAME]
