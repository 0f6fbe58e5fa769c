"""Ports of loopback: taken first and asked for afterwards, never chosen for later.

A port that was free when somebody looked need not be when it is bound: another program may have
got it, and would then be sent what was meant for us. So our own servers bind port 0 and are asked;
foreign ones are told 0 where they take it, and the system says where they listen. Only who insists
on a number gets one, and is tried again if somebody was quicker.
"""

import random
import socket
import subprocess
import time
from collections.abc import Callable

import psutil

from churnlab.errors import CourseError

# Below what systems hand out to those who ask for any port: from 32768 on, on macOS from 49152.
SPARE = range(20_000, 32_000)
BACKLOG = 128  # calls that may wait for an answer


def listening_socket(port: int = 0, patience: float = 2) -> socket.socket:
    """Return a socket that listens on a port of loopback, on a free one for 0.

    A port that is taken is tried for ``patience`` seconds: its server may be about to end, or a
    call may have it for a moment. Raises CourseError if it stays taken.
    """
    deadline = time.monotonic() + patience
    while True:
        listener = socket.socket()
        try:
            # A server that has just ended must not keep its successor waiting.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(BACKLOG)
            return listener
        except OSError as error:
            listener.close()
            if time.monotonic() > deadline:
                raise taken(port) from error
        time.sleep(0.05)


def taken(port: int) -> CourseError:
    """Return the error for a port that another program has."""
    problem = f"Port {port} of this machine is taken."
    return CourseError(problem, "End the program that listens there, or choose another port.")


def spare_port(wanted: int = 0) -> int:
    """Return the wanted port if it is free, else one that nobody gets who asks for any.

    For programs that have to be told a number: see ``start_on_a_port``. Raises CourseError.
    """
    for port in filter(None, (wanted, *random.sample(SPARE, 50))):
        try:
            listening_socket(port, patience=0).close()
        except CourseError:
            continue
        return port
    raise CourseError("No port of this machine is free.", "End programs that listen.")


def ports_of(process: subprocess.Popen) -> set[int]:
    """Return the TCP ports on which a process or its children listen."""
    found = set()
    try:
        leader = psutil.Process(process.pid)
        for member in (leader, *leader.children(recursive=True)):
            for connection in member.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add(connection.laddr.port)
    except psutil.Error:
        pass  # it has ended meanwhile
    return found


def listening_port(process: subprocess.Popen, patience: float, port: int = 0) -> int:
    """Wait until a process listens, on a certain port or on any, and return the port.

    Returns 0 if it ends before, or does not listen within ``patience`` seconds. That somebody
    answers on the port is not enough: it has to be this process, or a child of it.
    """
    deadline = time.monotonic() + patience
    while process.poll() is None and time.monotonic() < deadline:
        found = ports_of(process)
        if port in found or (found and not port):
            return port or min(found)
        time.sleep(0.05)
    return 0


def start_on_a_port(
    start: Callable[[int], subprocess.Popen], patience: float, tries: int = 3
) -> tuple[subprocess.Popen, int]:
    """Start a program that has to be told its port; return the process, and the port or 0.

    ``start`` gets the port. A program that ends at once is started again on another one: somebody
    may have been quicker. 0 means that the last one, which may still run, does not listen.
    """
    for _ in range(tries):
        wanted = spare_port()
        process = start(wanted)
        port = listening_port(process, patience, wanted)
        if port or process.poll() is None:
            break
    return process, port
