"""What the REST faces share: errors in the shape of Google's APIs, a server on loopback."""

import threading

import grpc
from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from churnlab.standins.ports import listening_socket

# https://cloud.google.com/apis/design/errors#handling_errors
HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
}


def error_reply(code: grpc.StatusCode, message: str) -> tuple[Response, int]:
    """Return an error as Google's REST APIs write it."""
    status = HTTP_STATUS[code]
    return jsonify({"error": {"code": status, "status": code.name, "message": message}}), status


def answer_in_json(app: Flask) -> None:
    """Let an application say what nobody else has handled as Google's REST APIs do, never in HTML.

    A fault of the stand-in is INTERNAL, and its trace goes to the log of the program.
    """
    codes = {status: code for code, status in HTTP_STATUS.items()}
    codes |= {400: grpc.StatusCode.INVALID_ARGUMENT, 405: grpc.StatusCode.UNIMPLEMENTED}

    @app.errorhandler(HTTPException)
    def refuse(error):
        code = codes.get(error.code, grpc.StatusCode.INVALID_ARGUMENT)
        return error_reply(code, f"{request.method} {request.path}: {error.description}")

    @app.errorhandler(Exception)
    def fail(error):
        app.logger.exception("The stand-in has failed.")
        return error_reply(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, *arguments) -> None:
        """Say nothing: clients poll every second."""


def serve_app(app: Flask, port: int = 0) -> tuple[BaseWSGIServer, str]:
    """Serve an application on loopback in a thread; return the server and its URL.

    Raises CourseError if the port is taken.
    """

    answer_in_json(app)

    @app.before_request
    def only_this_machine():
        """A page in a browser must not start anything here, whatever name leads it to the port."""
        host = request.host.rpartition(":")[0] or request.host
        if "Origin" in request.headers or host not in ("127.0.0.1", "localhost"):
            message = "The stand-ins answer programs of this machine only."
            return error_reply(grpc.StatusCode.PERMISSION_DENIED, message)

    with listening_socket(port) as listener:  # the server keeps a copy of it
        options = {"threaded": True, "request_handler": _QuietHandler, "fd": listener.fileno()}
        server = make_server("127.0.0.1", port, app, **options)
    # Between two looks at whether it shall end, a server takes calls: the end need not wait long.
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server, f"http://127.0.0.1:{server.port}"
