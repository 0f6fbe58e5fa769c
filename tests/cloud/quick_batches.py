"""A batch service whose batches take no time."""

import sys

from google.cloud import dataproc_v1 as dataproc

from churnlab.standins.batches import BatchService

# Instead of Spark: a batch prints its arguments, and one that is to be slow takes its time.
PRINTER = (
    "import sys, time; print(*sys.argv[1:], flush=True); time.sleep(60 * ('slow' in sys.argv))"
)


class QuickBatches(BatchService):
    """The batch service, with a tiny program in place of each script."""

    def command(self, batch: dataproc.Batch) -> list[str]:
        job = batch.pyspark_batch
        return [sys.executable, "-c", PRINTER, job.main_python_file_uri, *job.args]
