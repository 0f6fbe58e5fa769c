"""Serve the packaged champion over HTTP, by the contract of Vertex AI's custom containers.

An instance is an object of the model's columns ({"tenure": 2, "contract": "Two year", …}); what
else it has, an id for instance, is ignored. GET /openapi.json says which columns and values.

Environment (https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements, read
2026-11-27): AIP_STORAGE_URI is a package, or the folder of packages with the pointer to the
champion's, gs://… or local; AIP_HTTP_PORT, AIP_HEALTH_ROUTE and AIP_PREDICT_ROUTE are 8080, /health
and /predict unless set. Ours: CHURNLAB_POLL_SECONDS (30) between two looks at the pointer,
CHURNLAB_BODY_SECONDS (10) for a body to arrive, CHURNLAB_HOST (0.0.0.0) to listen on.
"""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import uvicorn
from champion import (
    Champion,
    PackageError,
    Predictions,
    RequestError,
    find_package,
    read_champion,
)
from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

# A public endpoint of Vertex AI takes no larger body:
# https://cloud.google.com/vertex-ai/docs/predictions/choose-endpoint-type (read 2026-11-27)
MAX_BODY = 1_500_000
ANSWER_SECONDS = 30
STOP_SECONDS = 25
MAX_WAITING = 100  # who comes while so many wait for an answer is told to come back

log = logging.getLogger("serving")


class Problem(BaseModel):
    """One thing that is wrong with a request."""

    instance: int | None = None
    field: str | None = None
    problem: str


class Refusal(BaseModel):
    """Why there is no prediction."""

    error: str
    problems: list[Problem] = []


class Health(BaseModel):
    """Which model answers."""

    status: str
    model_version: str


class Refused(Exception):
    """A request that gets no prediction, with the status of its answer."""

    def __init__(self, status: int, error: str):
        self.status, self.error = status, error
        super().__init__(error)


@dataclass(frozen=True)
class Settings:
    """Where the model lies, where the server listens, and how patient it is."""

    storage_uri: str
    port: int
    health_route: str
    predict_route: str
    host: str
    poll_seconds: float
    body_seconds: float


def read_settings(environment: dict[str, str]) -> Settings:
    """Return the settings that environment variables pass. Raises PackageError."""
    uri = environment.get("AIP_STORAGE_URI", "")
    if not uri:
        raise PackageError("AIP_STORAGE_URI is not set. Name a package's folder: gs://… or local.")
    port = environment.get("AIP_HTTP_PORT", "8080")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise PackageError(f"AIP_HTTP_PORT must be a port, from 1 to 65535, not {port!r}.")
    return Settings(
        storage_uri=uri,
        port=int(port),
        health_route=environment.get("AIP_HEALTH_ROUTE", "/health"),
        predict_route=environment.get("AIP_PREDICT_ROUTE", "/predict"),
        host=environment.get("CHURNLAB_HOST", "0.0.0.0"),
        poll_seconds=seconds(environment, "CHURNLAB_POLL_SECONDS", 30),
        body_seconds=seconds(environment, "CHURNLAB_BODY_SECONDS", 10),
    )


def seconds(environment: dict[str, str], name: str, default: float) -> float:
    """Return a variable's positive number of seconds. Raises PackageError."""
    text = environment.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 86_400:
        raise PackageError(f"{name} must be seconds, above 0 and below a day, not {text!r}.")
    return value


class JsonLines(logging.Formatter):
    """One JSON object a line, with the names that Cloud Logging reads."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a line; ``facts`` of the call become fields of their own."""
        line = {
            "severity": record.levelname,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["stack_trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_as_json() -> None:
    """Send everything that is logged to standard output, a JSON object a line."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class Serving:
    """Who answers now. A request keeps the champion it began with."""

    def __init__(self, champion: Champion):
        self.champion = champion
        self.waiting = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Count who waits for an answer. Raises Refused if there are too many."""
        if self.waiting >= MAX_WAITING:
            raise Refused(503, f"{MAX_WAITING} requests wait already. Come back.")
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    async def follow(self, settings: Settings) -> None:
        """Look for a new champion again and again; a broken one is reported and left alone."""
        said = ""
        while True:
            await asyncio.sleep(settings.poll_seconds)
            try:
                folder = await run_in_threadpool(find_package, settings.storage_uri)
                if folder != self.champion.folder:
                    before = self.champion.version
                    self.champion = await run_in_threadpool(read_champion, folder)
                    facts = {"before": before, "model_version": self.champion.version}
                    log.info("A new champion answers", extra={"facts": facts})
                said = ""
            except Exception as error:  # whatever it is, the old champion goes on answering
                if said != str(error):
                    said = str(error)
                    log.error("The former champion goes on answering: %s", error)


async def read_body(request: Request, settings: Settings) -> bytes:
    """Return a request's body. Raises Refused if it is too large or comes too slowly."""
    too_large = Refused(413, f"The body has more than {MAX_BODY:,} bytes. Send fewer instances.")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_BODY:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise too_large
    except TimeoutError:
        raise Refused(408, f"The body did not arrive within {settings.body_seconds:g} s.") from None
    return bytes(body)


def make_app(serving: Serving, settings: Settings) -> FastAPI:
    """Return the two routes of the contract, and their OpenAPI."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(serving.follow(settings))
        yield
        following.cancel()

    app = FastAPI(title="churn", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    texts = {
        400: "Instance and field that are wrong",
        408: "The body came too slowly",
        413: "The body is too large",
        503: "Too busy; come back",
    }
    refusals = {code: {"model": Refusal, "description": text} for code, text in texts.items()}

    @app.get(settings.health_route)
    async def health() -> Health:
        return Health(status="ready", model_version=serving.champion.version)

    @app.post(settings.predict_route, response_model=Predictions, responses=refusals)
    async def predict(request: Request) -> JSONResponse:
        champion = serving.champion
        request.state.model_version = champion.version
        try:
            with serving.place():
                body = await read_body(request, settings)
                # onnxruntime works outside Python's lock: another request can come in meanwhile.
                answer = run_in_threadpool(champion.answer, body)
                answered = await asyncio.wait_for(answer, ANSWER_SECONDS)
        except TimeoutError:
            raise Refused(503, f"No answer within {ANSWER_SECONDS} s. Come back.") from None
        except RequestError as error:
            content = {"error": str(error), "problems": error.problems}
            return JSONResponse(content, status_code=400)
        request.state.instances = len(answered["predictions"])
        return JSONResponse(answered)

    @app.exception_handler(Refused)
    async def refuse(request: Request, refused: Refused) -> JSONResponse:
        headers = {"Retry-After": "5"} if refused.status == 503 else {"Connection": "close"}
        return JSONResponse({"error": refused.error}, refused.status, headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        return JSONResponse({"error": "The client has gone."}, 400)

    @app.middleware("http")
    async def log_request(request: Request, call_next):
        started = time.perf_counter()
        status = 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            if request.url.path != settings.health_route:
                log_answer(request, status, time.perf_counter() - started)

    app.openapi = lambda: openapi(app, serving.champion, settings)
    return app


def log_answer(request: Request, status: int, seconds: float) -> None:
    """Log a request: how it went, and nothing of what it says about customers."""
    facts = {
        "httpRequest": {
            "requestMethod": request.method,
            "requestUrl": request.url.path,
            "status": status,
            "latency": f"{seconds:.6f}s",
        },
        "trace": request.headers.get("x-cloud-trace-context", "")[:100],
    }
    facts |= {
        name: getattr(request.state, name)
        for name in ("model_version", "instances")
        if hasattr(request.state, name)
    }
    level = logging.INFO if status < 500 else logging.ERROR
    log.log(level, "%s %s", request.method, status, extra={"facts": facts})


def openapi(app: FastAPI, champion: Champion, settings: Settings) -> dict:
    """Return the OpenAPI, with the columns and values of the model that answers now."""
    schema = get_openapi(title=app.title, version=champion.version, routes=app.routes)
    request = champion.request.model_json_schema(ref_template="#/components/schemas/{model}")
    schema["components"]["schemas"] |= request.pop("$defs") | {"Instances": request}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Instances"}}}
    operation = schema["paths"][settings.predict_route]["post"]
    operation["requestBody"] = {"required": True, "content": content}
    return schema


def main() -> None:
    """Load the champion, then listen: who can connect gets predictions."""
    log_as_json()
    try:
        settings = read_settings(dict(os.environ))
        champion = read_champion(find_package(settings.storage_uri))
    except PackageError as error:
        sys.exit(f"error: {error}")
    facts = {"model_version": champion.version, "package": champion.folder}
    log.info("Serving", extra={"facts": facts})
    uvicorn.run(
        make_app(Serving(champion), settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


if __name__ == "__main__":
    main()
