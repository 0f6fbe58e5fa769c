"""A pytest plugin (`-p tests.minutes`): at the end of a run, a table of where the minutes went.

It is the table of `tests/README.md`. The columns add up to more than the clock shows: workers run
beside each other, and each has its own row below.
"""

from collections import Counter


def pytest_terminal_summary(terminalreporter):
    """Write the table in Markdown: tests and minutes of each folder, and of each worker."""
    stats = terminalreporter.stats.values()
    reports = [r for found in stats for r in found if hasattr(r, "duration") and r.when]
    tests, minutes, workers = Counter(), Counter(), Counter()
    for report in reports:
        folder = folder_of(report.nodeid)
        tests[folder] += report.when == "call"
        minutes[folder] += report.duration / 60
        workers[worker_of(report)] += report.duration / 60
    lines = ["| folder | tests | minutes |", "| --- | ---: | ---: |"]
    lines += [f"| `{name}` | {tests[name]} | {m:.1f} |" for name, m in minutes.most_common()]
    lines += [f"| all | {tests.total()} | {minutes.total():.1f} |"]
    lines += [f"| of it, {name} | | {m:.1f} |" for name, m in sorted(workers.items())]
    terminalreporter.section("where the minutes go")
    terminalreporter.write_line("\n".join(lines))


def folder_of(nodeid: str) -> str:
    """Return the folder below tests/ that a test lies in; each notebook is its own."""
    if "test_a_notebook_runs_to_its_end[" in nodeid:
        return "notebook " + nodeid.partition("[")[2].partition("]")[0]
    parts = nodeid.partition("::")[0].removeprefix("tests/").split("/")
    return parts[0] if len(parts) > 1 else "."


def worker_of(report) -> str:
    """Return the worker that a report comes from."""
    node = getattr(report, "node", None)
    return node.gateway.id if node else "one worker"
