"""Run the stream and kill it, with its Java, when it reaches a function: before it, half, or after.

The first two arguments are the function of churn.streams and the moment; the rest is the script's.
"""

import os
import signal
import sys

import streaming
from churn import streams


def kill_at(name: str, moment: str) -> None:
    """Let a function of the library be the last thing that this process does."""
    function = getattr(streams, name)

    def last(*arguments, **named):
        if moment == "half":  # the first of several tables
            frames, *rest = arguments
            first = next(iter(frames))
            function({first: frames[first]}, *rest)
        elif moment == "after":
            function(*arguments, **named)
        os.killpg(0, signal.SIGKILL)

    setattr(streams, name, last)


if __name__ == "__main__":
    kill_at(*sys.argv[1:3])
    streaming.main(sys.argv[3:])
