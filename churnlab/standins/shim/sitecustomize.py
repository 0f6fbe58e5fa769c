"""Python runs this file at its start if this folder is on PYTHONPATH.

It points Google's client libraries of that process at the stand-ins, so that production code runs
unchanged.
"""

from churnlab.standins.clients import redirect_on_import

redirect_on_import()
