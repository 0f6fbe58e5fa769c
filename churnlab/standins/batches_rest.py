"""The batch service over REST, as the pipeline component's launcher and curl speak to it."""

from flask import Flask, jsonify, request
from google.cloud import dataproc_v1 as dataproc
from google.protobuf import json_format

from churnlab.standins.api import ApiError, invalid
from churnlab.standins.batches import BatchService
from churnlab.standins.rest import error_reply

PLACE = "/v1/projects/<project>/<any(locations, regions):kind>/<region>"


def rest_app(service: BatchService) -> Flask:
    """Return the REST face of a batch service as a WSGI application."""
    app = Flask("batches")

    def parent(project: str, region: str) -> str:
        return f"projects/{project}/locations/{region}"

    @app.post(f"{PLACE}/batches", strict_slashes=False)
    def create(project, kind, region):
        try:  # the real message: a field that it does not have is an error
            batch = dataproc.Batch.from_json(request.get_data())
        except json_format.ParseError as error:
            raise invalid(str(error)) from None
        asked = dataproc.CreateBatchRequest(
            parent=parent(project, region), batch_id=request.args.get("batchId", ""), batch=batch
        )
        return jsonify(json_format.MessageToDict(service.create_batch(asked)))

    @app.get(f"{PLACE}/batches", strict_slashes=False)
    def list_(project, kind, region):
        page, token = service.list_batches(
            parent(project, region),
            request.args.get("filter", ""),
            request.args.get("orderBy", ""),
            request.args.get("pageSize", 0, int),
            request.args.get("pageToken", ""),
        )
        answer = dataproc.ListBatchesResponse(batches=page, next_page_token=token)
        return jsonify(json_format.MessageToDict(dataproc.ListBatchesResponse.pb(answer)))

    @app.get(f"{PLACE}/batches/<batch>")
    def get(project, kind, region, batch):
        found = service.get_batch(f"{parent(project, region)}/batches/{batch}")
        return jsonify(json_format.MessageToDict(dataproc.Batch.pb(found)))

    @app.delete(f"{PLACE}/batches/<batch>")
    def delete(project, kind, region, batch):
        service.delete_batch(f"{parent(project, region)}/batches/{batch}")
        return jsonify({})

    @app.get(f"{PLACE}/operations/<operation>")
    def get_operation(project, kind, region, operation):
        found = service.get_operation(f"projects/{project}/regions/{region}/operations/{operation}")
        return jsonify(json_format.MessageToDict(found))

    @app.post(f"{PLACE}/operations/<operation>:cancel")
    def cancel(project, kind, region, operation):
        service.cancel_operation(f"projects/{project}/regions/{region}/operations/{operation}")
        return jsonify({})

    @app.errorhandler(ApiError)
    def refuse(error):
        return error_reply(error.code, error.message)

    return app
