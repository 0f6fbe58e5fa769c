"""Run scripts one after another in one session: each as the program itself, with its arguments.

The one argument is a JSON list of lists, a script's name and its arguments.
"""

import json
import runpy
import sys

from pyspark.sql import SparkSession

if __name__ == "__main__":
    SparkSession.stop = lambda session: session.catalog.clearCache()  # the next one goes on
    for command in json.loads(sys.argv[1]):
        sys.argv = command
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
