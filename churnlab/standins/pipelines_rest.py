"""The pipeline service over REST, as ``aiplatform.init(api_transport="rest")`` speaks to it."""

import uuid

import grpc
from flask import Flask, jsonify, request, send_from_directory
from google.cloud import aiplatform_v1 as vertex
from google.longrunning import operations_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from churnlab.standins.api import ApiError, invalid
from churnlab.standins.clients import PROJECT_NUMBER
from churnlab.standins.pipelines import PipelineService
from churnlab.standins.rest import error_reply

PLACE = "/v1/projects/<project>/locations/<region>"


def rest_app(service: PipelineService) -> Flask:
    """Return the REST face of a pipeline service as a WSGI application."""
    app = Flask("pipelines")

    def parent() -> str:
        return "projects/{project}/locations/{region}".format(**request.view_args)

    def name(kind: str) -> str:
        return f"{parent()}/{kind}/{request.view_args['key']}"

    def listed(method, field: str):
        found = method(parent(), request.args.get("filter", ""), request.args.get("orderBy", ""))
        return jsonify({field: [as_dict(type(resource).pb(resource)) for resource in found]})

    @app.before_request
    def fail():
        if request.path.startswith("/v1/") and (code := service.next_fault()):
            return error_reply(code, "This call fails because a test asked for it.")
        return None

    @app.post(f"{PLACE}/pipelineJobs")
    def create_job(project, region):
        job = parsed(vertex.PipelineJob)
        made = service.create_job(parent(), job, request.args.get("pipelineJobId", ""))
        return jsonify(as_dict(vertex.PipelineJob.pb(made)))

    @app.get(f"{PLACE}/pipelineJobs")
    def list_jobs(project, region):
        return listed(service.list_jobs, "pipelineJobs")

    @app.get(f"{PLACE}/pipelineJobs/<key>")
    def get_job(project, region, key):
        return jsonify(as_dict(vertex.PipelineJob.pb(service.get_job(name("pipelineJobs")))))

    @app.post(f"{PLACE}/pipelineJobs/<key>:cancel")
    def cancel_job(project, region, key):
        service.cancel_job(name("pipelineJobs"))
        return jsonify({})

    @app.post(f"{PLACE}/schedules")
    def create_schedule(project, region):
        made = service.create_schedule(parent(), parsed(vertex.Schedule))
        return jsonify(as_dict(vertex.Schedule.pb(made)))

    @app.get(f"{PLACE}/schedules")
    def list_schedules(project, region):
        return listed(service.list_schedules, "schedules")

    @app.get(f"{PLACE}/schedules/<key>")
    def get_schedule(project, region, key):
        return jsonify(as_dict(vertex.Schedule.pb(service.get_schedule(name("schedules")))))

    @app.post(f"{PLACE}/schedules/<key>:pause")
    def pause_schedule(project, region, key):
        service.pause_schedule(name("schedules"))
        return jsonify({})

    @app.post(f"{PLACE}/schedules/<key>:resume")
    def resume_schedule(project, region, key):
        asked = request.get_json(silent=True) or {}
        service.resume_schedule(name("schedules"), bool(asked.get("catchUp")))
        return jsonify({})

    @app.delete(f"{PLACE}/schedules/<key>")
    def delete_schedule(project, region, key):
        service.delete_schedule(name("schedules"))
        return jsonify(as_dict(finished(name("schedules"))))

    @app.post(f"{PLACE}/datasets")
    def create_dataset(project, region):
        made = service.create_dataset(parent(), parsed(vertex.Dataset))
        return jsonify(as_dict(finished(made.name, vertex.Dataset.pb(made))))

    @app.get(f"{PLACE}/datasets")
    def list_datasets(project, region):
        return listed(service.list_datasets, "datasets")

    @app.get(f"{PLACE}/datasets/<key>")
    def get_dataset(project, region, key):
        return jsonify(as_dict(vertex.Dataset.pb(service.get_dataset(name("datasets")))))

    @app.get("/storage/v1/b/<bucket>")
    def get_bucket(bucket):  # every bucket is there and is ours
        place = {"location": "US-CENTRAL1", "projectNumber": PROJECT_NUMBER}
        return jsonify({"kind": "storage#bucket", "id": bucket, "name": bucket} | place)

    @app.get("/download/storage/v1/b/<bucket>/o/<path:path>")
    def get_object(bucket, path):
        # The bucket is a part of the path that has to stay below the storage.
        return send_from_directory(service.storage.absolute(), f"{bucket}/{path}")

    @app.errorhandler(ApiError)
    def refuse(error):
        return error_reply(error.code, error.message)

    @app.errorhandler(404)
    def unknown(error):
        message = f"The stand-in does not know {request.method} {request.path}."
        return error_reply(grpc.StatusCode.NOT_FOUND, message)

    return app


def parsed(kind: type):
    """Return the request's body as a message of the real kind. Raises ApiError."""
    try:  # a field that the message does not have is an error
        return kind.from_json(request.get_data(), ignore_unknown_fields=False)
    except json_format.ParseError as error:
        raise invalid(str(error)) from None


def as_dict(message: Message) -> dict:
    """Return a message as the REST APIs write it."""
    return json_format.MessageToDict(message)


def finished(name: str, result: Message | None = None) -> operations_pb2.Operation:
    """Return a long-running operation that has ended: nothing here takes long."""
    operation = operations_pb2.Operation(name=f"{name}/operations/{uuid.uuid4().int % 10**18}")
    operation.done = True
    if result is None:
        operation.response.type_url = "type.googleapis.com/google.protobuf.Empty"
    else:
        operation.response.Pack(result)
    return operation
