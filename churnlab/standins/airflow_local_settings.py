"""Send Airflow's Dataproc batches to this machine's stand-in; lives in AIRFLOW_HOME/config.

Airflow imports this file at its start (https://airflow.apache.org/docs/apache-airflow/stable/howto/set-config.html).
Only channel and pauses change: operator, hook, trigger and messages are those of production.
"""

import os
from functools import cache, partialmethod

import grpc
from airflow.providers.google.cloud.hooks import dataproc
from airflow.sdk.execution_time import supervisor
from google.cloud.dataproc_v1.services.batch_controller import transports


def get_batch_client(self, region: str | None = None) -> dataproc.BatchControllerClient:
    """Return a client of the stand-in instead of the region's endpoint."""
    channel = grpc.insecure_channel(os.environ["CHURNLAB_BATCHES"])
    return dataproc.BatchControllerClient(
        transport=transports.BatchControllerGrpcTransport(channel=channel)
    )


async def get_async_batch_client(
    self, region: str | None = None
) -> dataproc.BatchControllerAsyncClient:
    """Return the asynchronous client, which waits for deferred tasks in the triggerer."""
    channel = grpc.aio.insecure_channel(os.environ["CHURNLAB_BATCHES"])
    transport = transports.BatchControllerGrpcAsyncIOTransport(channel=channel)
    return dataproc.BatchControllerAsyncClient(transport=transport)


dataproc.DataprocHook.get_batch_client = get_batch_client
dataproc.DataprocAsyncHook.get_batch_client = get_async_batch_client
# Ten seconds suit the cloud's batches; ours take about as long altogether.
dataproc.DataprocHook.wait_for_batch = partialmethod(
    dataproc.DataprocHook.wait_for_batch, wait_check_interval=0.2
)
# ``dag.test()`` makes a web application for each task, which takes seconds: one serves them all.
supervisor.in_process_api_server = cache(supervisor.in_process_api_server)

# What the names above would do to Airflow's settings module: nothing.
__all__: list[str] = []
