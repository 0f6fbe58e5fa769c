"""The batch service on a gRPC port, as the client libraries and Airflow speak to it."""

from concurrent.futures import ThreadPoolExecutor

import grpc
from google.cloud import dataproc_v1 as dataproc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2

from churnlab.standins.api import ApiError
from churnlab.standins.batches import BatchService
from churnlab.standins.ports import taken

SERVICE = "google.cloud.dataproc.v1.BatchController"
# gRPC would let two servers have one port, and calls would go to either.
ALONE = [("grpc.so_reuseport", 0)]


class _Operations(operations_pb2_grpc.OperationsServicer):
    """google.longrunning.Operations, which the clients poll."""

    def __init__(self, service: BatchService):
        self._service = service

    def GetOperation(self, request, context):
        return _answer(context, self._service.get_operation, request.name)

    def CancelOperation(self, request, context):
        _answer(context, self._service.cancel_operation, request.name)
        return empty_pb2.Empty()


def serve_grpc(service: BatchService, port: int = 0) -> tuple[grpc.Server, str]:
    """Serve on loopback; return the server and its address, host:port.

    Raises CourseError if the port is taken.
    """

    def create(request, context):
        return _answer(context, service.create_batch, request)

    def get(request, context):
        return _answer(context, service.get_batch, request.name)

    def list_(request, context):
        page, token = _answer(
            context,
            service.list_batches,
            request.parent,
            request.filter,
            request.order_by,
            request.page_size,
            request.page_token,
        )
        return dataproc.ListBatchesResponse(batches=page, next_page_token=token)

    def delete(request, context):
        _answer(context, service.delete_batch, request.name)
        return empty_pb2.Empty()

    def method(function, request_type, serialise):
        return grpc.unary_unary_rpc_method_handler(function, request_type.deserialize, serialise)

    operation, nothing = (
        operations_pb2.Operation.SerializeToString,
        empty_pb2.Empty.SerializeToString,
    )
    methods = {
        "CreateBatch": method(create, dataproc.CreateBatchRequest, operation),
        "GetBatch": method(get, dataproc.GetBatchRequest, dataproc.Batch.serialize),
        "ListBatches": method(
            list_, dataproc.ListBatchesRequest, dataproc.ListBatchesResponse.serialize
        ),
        "DeleteBatch": method(delete, dataproc.DeleteBatchRequest, nothing),
    }
    server = grpc.server(ThreadPoolExecutor(8, "grpc"), options=ALONE)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    operations_pb2_grpc.add_OperationsServicer_to_server(_Operations(service), server)
    try:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError as error:
        raise taken(port) from error
    server.start()
    return server, f"127.0.0.1:{bound}"


def _answer(context, function, *arguments):
    try:
        return function(*arguments)
    except ApiError as error:
        context.abort(error.code, error.message)
