"""Review SQL from the command line."""

import pyarrow as pa

from churnlab.errors import CourseError
from churnlab.run.library import library


def answer(query: str, dataset: str, lake: str) -> pa.Table:
    """Return the answer of a BigQuery SQL query. Raises CourseError for a query that fails."""
    root = library.tables.dataset_root(lake, dataset)
    if "://" not in root and not library.lake.list_folders(root):
        raise CourseError(f"{root} holds no tables.", "Run `make course`, or name another --lake.")
    try:
        return library.review.ask(root, query)
    except library.programs.StepError:
        raise
    except Exception as error:  # the translator's, DuckDB's and BigQuery's have no common base
        tables = ", ".join(library.lake.list_folders(root)) if "://" not in root else "see BigQuery"
        raise CourseError(str(error).splitlines()[0], f"Tables are {tables}.") from error
