"""Run the stream and kill it, with its Java, at a point of one file's batch.

The first three arguments are the file, a function of churn.streams and the moment: half or after
it. The rest is the script's.
"""

import os
import signal
import sys

import streaming
from churn import streams


def kill_at(file: str, name: str, moment: str) -> None:
    """Let a function of the library be the last thing that this process does for a file."""
    names_of, function, held = streams.names_of, getattr(streams, name), []

    def noted(*arguments):
        held.append(names_of(*arguments))
        return held[-1]

    def last(*arguments):
        if held[-1] != [file]:
            return function(*arguments)
        if moment == "half":  # the first of several tables
            frames, *rest = arguments
            first = next(iter(frames))
            function({first: frames[first]}, *rest)
        else:
            function(*arguments)
        os.killpg(0, signal.SIGKILL)

    streams.names_of = noted
    setattr(streams, name, last)


if __name__ == "__main__":
    kill_at(*sys.argv[1:4])
    streaming.main(sys.argv[4:])
