"""The model and endpoint services over REST, on the port of the pipeline service."""

from flask import Flask, jsonify, request
from google.cloud import aiplatform_v1 as vertex

from churnlab.standins.models import ModelService
from churnlab.standins.pipelines_rest import PLACE, as_dict, finished, parsed


def add_models(app: Flask, service: ModelService) -> None:
    """Add the routes of models, their evaluations and endpoints to an application."""

    def parent() -> str:
        return "projects/{project}/locations/{region}".format(**request.view_args)

    def name(kind: str) -> str:
        return f"{parent()}/{kind}/{request.view_args['key']}"

    def said(message):
        return jsonify(as_dict(type(message).pb(message)))

    def listed(field: str, found: list):
        return jsonify({field: [as_dict(type(resource).pb(resource)) for resource in found]})

    def done(of: str, result):
        return jsonify(as_dict(finished(of, type(result).pb(result))))

    @app.post(f"{PLACE}/models:upload")
    def upload(project, region):
        made = service.upload(parent(), parsed(vertex.UploadModelRequest))
        return done(made.model, made)

    @app.get(f"{PLACE}/models")
    def list_models(project, region):
        return listed("models", service.list_models(parent(), request.args.get("filter", "")))

    @app.get(f"{PLACE}/models/<key>:listVersions")
    def list_versions(project, region, key):
        found = service.list_versions(name("models"), request.args.get("filter", ""))
        return listed("models", found)

    @app.get(f"{PLACE}/models/<key>")
    def get_model(project, region, key):
        return said(service.get_model(name("models")))

    @app.post(f"{PLACE}/models/<key>:mergeVersionAliases")
    def merge_aliases(project, region, key):
        asked = parsed(vertex.MergeVersionAliasesRequest)
        return said(service.merge_aliases(name("models"), list(asked.version_aliases)))

    @app.post(f"{PLACE}/models/<key>/evaluations:import")
    def import_evaluation(project, region, key):
        asked = parsed(vertex.ImportModelEvaluationRequest)
        return said(service.import_evaluation(name("models"), asked.model_evaluation))

    @app.get(f"{PLACE}/models/<key>/evaluations")
    def list_evaluations(project, region, key):
        return listed("modelEvaluations", service.list_evaluations(name("models")))

    @app.get(f"{PLACE}/endpoints")
    def list_endpoints(project, region):
        return listed("endpoints", service.list_endpoints(parent()))

    @app.get(f"{PLACE}/endpoints/<key>")
    def get_endpoint(project, region, key):
        return said(service.get_endpoint(name("endpoints")))

    @app.post(f"{PLACE}/endpoints/<key>:deployModel")
    def deploy(project, region, key):
        deployed = service.deploy(name("endpoints"), parsed(vertex.DeployModelRequest))
        return done(name("endpoints"), vertex.DeployModelResponse(deployed_model=deployed))

    @app.post(f"{PLACE}/endpoints/<key>:undeployModel")
    def undeploy(project, region, key):
        asked = parsed(vertex.UndeployModelRequest)
        service.undeploy(name("endpoints"), asked.deployed_model_id)
        return done(name("endpoints"), vertex.UndeployModelResponse())
