"""No two programs are given one port, and nobody is taken for somebody else."""

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc
import pytest
import requests
from flask import Flask

from churnlab.errors import CourseError
from churnlab.run.library import course_module
from churnlab.standins import ports
from churnlab.standins.batches import BatchService
from churnlab.standins.batches_grpc import serve_grpc
from churnlab.standins.functions import serve_function
from churnlab.standins.rest import serve_app

PARENT = "projects/demo/locations/us-central1"
# Listens on the port it is told, 0 for any, and says so.
LISTENER = """
import socket, sys, time
with socket.socket() as listener:
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    listener.listen()
    time.sleep(600)
"""


def listener(port: int) -> subprocess.Popen:
    """Start a program that listens on a port, or ends because somebody else does."""
    return subprocess.Popen([sys.executable, "-c", LISTENER, str(port)], stderr=subprocess.DEVNULL)


@pytest.fixture
def programs():
    """A stack of programs that the test starts; they are ended."""
    with ExitStack() as ends:

        def started(process: subprocess.Popen) -> subprocess.Popen:
            ends.callback(process.wait)
            ends.callback(process.kill)
            return process

        yield started


@pytest.fixture
def service(tmp_path):
    """A batch service without a port."""
    service = BatchService(tmp_path)
    yield service
    service.close()


def number(address: str) -> int:
    return int(address.rpartition(":")[2])


def test_the_second_grpc_stand_in_of_a_port_is_refused_and_the_first_is_heard(service, tmp_path):
    first, address = serve_grpc(service)
    other = BatchService(tmp_path / "other")
    try:
        with pytest.raises(CourseError, match=f"Port {number(address)} of this machine is taken"):
            serve_grpc(other, number(address))
        client = course_module("serverless_batches").batch_client("us-central1", address)
        assert list(client.list_batches(parent=PARENT)) == []
    finally:
        first.stop(0)
        other.close()


def test_a_grpc_server_that_shares_ports_gets_none_of_ours(service):
    """What another program on this machine may be: gRPC shares a port unless told otherwise."""
    ours, address = serve_grpc(service)
    theirs = grpc.server(ThreadPoolExecutor(1))
    try:
        with pytest.raises(RuntimeError, match="Failed to bind"):
            theirs.add_insecure_port(address)
    finally:
        ours.stop(0)
        theirs.stop(0)


def test_the_second_rest_stand_in_of_a_port_is_refused(service):
    server, url = serve_app(Flask("first"))
    try:
        with pytest.raises(CourseError, match=f"Port {number(url)} of this machine is taken"):
            serve_app(Flask("second"), number(url))
        assert requests.get(url, timeout=600).status_code == 404
    finally:
        server.shutdown()


def test_a_port_that_was_used_a_moment_ago_can_be_taken_again():
    server, url = serve_app(Flask("first"))
    assert requests.get(url, timeout=600).status_code == 404
    server.shutdown()
    server.server_close()
    again, same = serve_app(Flask("second"), number(url))
    again.shutdown()
    assert same == url


@pytest.mark.slow
def test_stand_ins_that_start_at_once_all_get_ports_of_their_own(tmp_path):
    from google.cloud import aiplatform_v1 as vertex

    from churnlab.standins.server import stand_ins

    with ExitStack() as ends, ThreadPoolExecutor(20) as callers:
        started = list(
            callers.map(
                lambda n: ends.enter_context(stand_ins(tmp_path / str(n))),
                range(20),
            )
        )
        found = [a for one in started for a in (one.batches, one.batches_url, one.vertex_url)]
        assert len({number(address) for address in found}) == 60
        for name, one in enumerate(started):
            dataset = vertex.Dataset(display_name=str(name), metadata_schema_uri="gs://x")
            one.pipelines.create_dataset(PARENT, dataset)
        for name, one in enumerate(started):  # each answers for itself
            answer = requests.get(f"{one.vertex_url}/v1/{PARENT}/datasets", timeout=600).json()
            assert [found["displayName"] for found in answer["datasets"]] == [str(name)]


def test_a_program_that_is_told_0_is_asked_where_it_listens(programs):
    first, second = (programs(listener(0)) for _ in range(2))
    found = [ports.listening_port(process, patience=600) for process in (first, second)]
    assert all(found) and found[0] != found[1]


def test_somebody_else_on_a_port_is_not_taken_for_the_program(programs):
    owner = programs(listener(0))
    port = ports.listening_port(owner, patience=600)
    late = programs(listener(port))
    assert ports.listening_port(late, patience=600, port=port) == 0
    assert late.poll()  # it could not have the port
    assert ports.listening_port(owner, patience=600, port=port) == port


def test_a_program_whose_port_was_snatched_is_started_on_another(programs):
    asked = []

    def start(port: int) -> subprocess.Popen:
        asked.append(port)
        if len(asked) == 1:  # somebody was quicker
            assert ports.listening_port(programs(listener(port)), 600, port)
        return programs(listener(port))

    process, port = ports.start_on_a_port(start, patience=600)
    assert len(asked) == 2 and port == asked[1]
    assert port in ports.ports_of(process)


def test_a_spare_port_is_none_that_the_system_hands_out():
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        assert asked.getsockname()[1] not in ports.SPARE
    assert ports.spare_port() in ports.SPARE


def test_a_wanted_port_is_taken_if_it_is_free_and_makes_way_if_not():
    wanted = ports.spare_port()
    assert ports.spare_port(wanted) == wanted
    with ports.listening_socket(wanted):
        assert ports.spare_port(wanted) != wanted


@pytest.mark.slow
@pytest.mark.xdist_group("function")
def test_functions_that_start_at_once_are_not_mixed_up(tmp_path):
    for name in "abcd":
        text = f"def answer(request):\n    return '{name}'\n"
        (tmp_path / f"{name}.py").write_text(text)
    with ExitStack() as ends, ThreadPoolExecutor(4) as callers:
        serving = [serve_function(tmp_path / f"{n}.py", "answer", {}) for n in "abcd"]
        started = list(callers.map(ends.enter_context, serving))
        answers = [requests.get(function.url, timeout=600).text for function in started]
    assert answers == list("abcd")
