"""BigQuery on this machine: an emulator of its API, from the environment of the cloud's checks."""

import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow
import pyarrow.parquet
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from churnlab import paths
from churnlab.author import bigquery_tables
from churnlab.standins.ports import start_on_a_port

PROJECT = "demo"
PACKAGE = "bqemulator/cli.py"
# Its engine, DuckDB, would fetch this extension from the internet.
INSTALL_EXTENSION = "from duckdb_extensions import import_extension; import_extension('spatial')"


@contextmanager
def bigquery_server(folder: Path, patience: float = 300) -> Iterator[str]:
    """Run the emulator on loopback for a while and yield its URL; a folder is its home."""
    tools = paths.INFRA_CHECKS / "bin"
    env = os.environ | {"HOME": str(folder), "TMPDIR": str(folder)}
    subprocess.run([tools / "python", "-c", INSTALL_EXTENSION], env=env, check=True)
    command = [tools / "bqemulator", "start", "--project", PROJECT, "--log-level", "error"]
    with (folder / "output").open("wb") as output:

        def start(port: int) -> subprocess.Popen:
            return subprocess.Popen(
                [*command, "--rest-port", str(port), "--grpc-port", "0"],
                env=env,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        process, port = start_on_a_port(start, patience)
        try:
            assert port, (folder / "output").read_text()[-2000:]
            yield f"http://127.0.0.1:{port}"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # it has nothing to save
            process.wait()


class Client(bigquery.Client):
    """Google's client, with nobody to log in.

    The emulator's scripts know no parameters, so those of several statements become literals.
    """

    def __init__(self, project: str | None = None, **options):
        options.setdefault("credentials", AnonymousCredentials())
        super().__init__(project=project or PROJECT, **options)

    def query(self, query, job_config=None, **options):
        if job_config is not None and query.count(";") > 1:
            for parameter in job_config.query_parameters:
                query = query.replace(f"@{parameter.name}", repr(parameter.value))
            job_config = bigquery.QueryJobConfig()
        return super().query(query, job_config=job_config, **options)


def create_tables(client: bigquery.Client, dataset: str) -> None:
    """Create a dataset with every table of the contract, as Terraform does."""
    client.create_dataset(dataset)
    definitions = json.loads((paths.INFRA / bigquery_tables.NAME).read_text())
    for name, definition in definitions.items():
        schema = [bigquery.SchemaField.from_api_repr(field) for field in definition["schema"]]
        table = bigquery.Table(f"{PROJECT}.{dataset}.{name}", schema=schema)
        table.time_partitioning = bigquery.TimePartitioning(field="pipeline_execution_ts")
        table.clustering_fields = definition["clustering"]
        client.create_table(table)


def load(client: bigquery.Client, table: str, rows) -> int:
    """Append an Arrow table's rows by a load job, as Parquet; return how many it was."""
    # BigQuery goes by the names of the columns, the emulator by their places.
    names = [field.name for field in client.get_table(table).schema]
    nothing = pyarrow.nulls(rows.num_rows)
    found = [rows[name] if name in rows.column_names else nothing for name in names]
    rows = pyarrow.table(dict(zip(names, found, strict=True)))
    file = io.BytesIO()
    pyarrow.parquet.write_table(rows, file)
    lists = bigquery.ParquetOptions()
    lists.enable_list_inference = True
    config = bigquery.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_APPEND")
    config.create_disposition, config.parquet_options = "CREATE_NEVER", lists
    job = client.load_table_from_file(file, table, rewind=True, job_config=config)
    return job.result().output_rows
