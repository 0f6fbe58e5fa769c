"""Send the lines of a file to a topic, and score them by a stream that is killed and goes on.

Arguments: the file, the broker, the topic; the rest is the script's.
"""

import sys
from pathlib import Path

import streaming
from churn import streams
from pyspark.sql import SparkSession


def send(file: str, servers: str, topic: str) -> None:
    """Send each line of a file as a message, in their order."""
    lines = [(line,) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    messages = SparkSession.builder.getOrCreate().createDataFrame(lines, "value STRING")
    to = {"kafka.bootstrap.servers": servers, "topic": topic}
    messages.coalesce(1).write.format("kafka").options(**to).save()


def score_and_die(*arguments):
    """Score a batch, and do not live to tell."""
    SCORE(*arguments)
    raise ConnectionError("killed")


SCORE = streams.score_batch

if __name__ == "__main__":
    send(*sys.argv[1:4])
    streams.score_batch = score_and_die
    try:
        streaming.main(sys.argv[4:])
        sys.exit("nobody died")
    except ConnectionError:
        streams.score_batch = SCORE
    streaming.main(sys.argv[4:])
