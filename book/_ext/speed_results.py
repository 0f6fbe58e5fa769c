"""The speed page: `{speed-picture}`, `{speed-table}`, `{speed-of} benchmark`, `{speed-made}`.

On the status page `{stale-benchmarks}` names what was measured with other code. All numbers come
from the files that `make bench` writes; without them the page says so.
"""

import json
import subprocess
from datetime import datetime
from html import escape
from importlib.metadata import version
from pathlib import Path

from course_status import duration, table
from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
LIBRARY = "scripts_generated/churn"
STEPS = ("preprocessing", "training", "tuning", "scoring")
MEND = "Run `make bench` to measure again."
NAMES = {"roc_auc": "ROC AUC", "average_precision": "average precision"}
WIDTH, LEFT, ROOM, BAR, STEP, TOP = 720, 130, 210, 20, 42, 76  # of the picture, in its own pixels

logger = logging.getLogger(__name__)


class SpeedDirective(SphinxDirective):
    """A directive that shows what the benchmarks wrote, or says that there is nothing."""

    needs = STEPS

    def run(self):
        """The nodes of the directive."""
        reports = {}
        for name in (*ALL, "growth"):
            file = RESULTS / f"{name}.json"
            self.env.note_dependency(str(file))
            try:
                reports[name] = json.loads(file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue
            except ValueError as error:
                return self._damaged(name, error)
        found = {name: reports[name] for name in self.wanted() if name in reports}
        if not found:
            return self.missing()
        try:
            return self.content_nodes(found)
        except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
            return self._damaged(", ".join(found), error)

    def _damaged(self, name, error):
        problem = f"The results of a benchmark ({name}) are damaged: {error!r}."
        logger.warning("%s %s", problem, MEND, type="speed_results", location=self.get_location())
        return [nodes.paragraph(text=f"{problem} {MEND}")]

    def wanted(self):
        """The benchmarks to show."""
        return self.needs

    def missing(self):
        """What stands in the place of results that nobody has measured."""
        return [words("Not measured on this copy of the course: ", code("make bench"), " does it.")]


class SpeedPicture(SpeedDirective):
    """The picture: how many times as fast each step is, and has to be."""

    def missing(self):
        """Nothing: the table says that there is nothing."""
        return []

    def content_nodes(self, reports):
        """An SVG in the page, with its text."""
        return [nodes.raw("", picture(list(reports.values())), format="html")]


class SpeedTable(SpeedDirective):
    """The table of steps: seconds, ratio, whole process, jobs and stages."""

    def content_nodes(self, reports):
        """The table."""
        head = ["Step", "Straightforward", "Course", "Ratio", "To reach", "Whole process"]
        rows = [table_row(report) for report in reports.values()]
        widths = [16, 16, 10, 18, 9, 18, 14, 14]
        return [table([*head, "Spark jobs", "Stages"], rows, widths=widths)]


class SpeedOf(SpeedDirective):
    """What was measured of one benchmark, in words."""

    required_arguments = 1

    def wanted(self):
        """The benchmark that the page names."""
        return self.arguments

    def content_nodes(self, reports):
        """A paragraph."""
        [(name, report)] = reports.items()
        return [nodes.paragraph(text=TELL.get(name, step_words)(report))]


class SpeedMade(SpeedDirective):
    """On what the figures were measured."""

    def wanted(self):
        """Every benchmark: they may have been measured on different days."""
        return ALL

    def content_nodes(self, reports):
        """A table: one row where all were measured alike, else one for each kind."""
        groups = {}
        for name, report in reports.items():
            groups.setdefault(tuple(circumstances(report)), []).append(name)
        rows = [[", ".join(names), *values] for values, names in groups.items()]
        head = ["Benchmarks", "Day and commit", "Machine", "Versions", "Customers"]
        return [table(head, rows, widths=[22, 16, 24, 18, 20])]


ALL = (*STEPS, "start-up", "quality", "serving")


class StaleBenchmarks(SpeedDirective):
    """What was measured with another library or another Spark than this copy has."""

    def wanted(self):
        """Every benchmark, the growth as well."""
        return (*ALL, "growth")

    def content_nodes(self, reports):
        """A table of those that are stale, or a sentence that none is."""
        parts = reports | older_sizes(reports.get("growth", {}))
        found = {name: differences(report) for name, report in parts.items()}
        rows = [
            [name, circumstances(parts[name])[0], ", ".join(what)]
            for name, what in found.items()
            if what
        ]
        if not rows:
            return [words("All were measured with the library and the Spark of this copy.")]
        return [table(["Benchmark", "Measured", "Differs in"], rows, widths=[24, 40, 36])]


def older_sizes(growth):
    """The sizes of a growth that were measured before the others, each as a report."""
    return {
        f"growth, {size['rows']:,} customers": growth | size["measured"]
        for size in growth.get("older_sizes", [])
    }


def differences(report):
    """In what a report's code differs from this copy's, as far as it can be told."""
    found = []
    measured, ours = report.get("library_tree") or tree(report["commit"]), tree("HEAD")
    if measured and ours and measured != ours:
        found.append("the library")
    if report["versions"]["pyspark"] != version("pyspark"):
        found.append(f"Spark {report['versions']['pyspark']}")
    return found


def tree(commit):
    """Git's name of the library's folder in a commit, "" if this copy does not know it."""
    if not commit:
        return ""
    command = ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet"]
    try:
        done = subprocess.run(
            [*command, f"{commit.removesuffix('+')}:{LIBRARY}"], capture_output=True, text=True
        )
    except OSError:
        return ""
    return done.stdout.strip()


def circumstances(report):
    """Day, machine, versions and customers of a report, each in words."""
    day = datetime.fromisoformat(report["date"])
    machine, versions, data = report["machine"], report["versions"], report["data"]
    parts = [f"{machine['cores']} cores", machine["cpu"]]
    if machine["memory_gb"]:
        parts.insert(1, f"{machine['memory_gb']:g} GB")
    small = "; small forests and grids, to try it out" if report["quick"] else ""
    return [
        f"{day.day} {day:%B %Y}, {report['commit'] or 'no commit'}",
        ", ".join(part for part in parts if part),
        f"Spark {versions['pyspark']}, Java {versions['java']}, Python {versions['python']}",
        f"{data['label']}, {data['rows']:,}{small}",
    ]


def table_row(report):
    """The cells of a step."""
    summary = report["summary"]
    slow, fast = summary["straightforward"], summary["course"]
    return [
        report["benchmark"],
        seconds(slow["seconds"]),
        seconds(fast["seconds"]),
        f"{summary['ratio']:.1f} ({spread(summary)})"
        if len(report["rounds"]) > 1
        else f"{summary['ratio']:.1f}",
        f"{report['to_reach']:g}",
        f"{seconds(slow['process_seconds'])} → {seconds(fast['process_seconds'])}",
        f"{slow['jobs']:,.0f} → {fast['jobs']:,.0f}",
        f"{slow['stages']:,.0f} → {fast['stages']:,.0f}",
    ]


def spread(summary):
    """The least and the largest ratio of a round."""
    least, most = summary["ratio_of_rounds"]
    return f"{least:.1f} to {most:.1f}"


def seconds(value):
    """Seconds with a decimal, from two minutes on in the words of a reader."""
    return f"{value:.1f} s" if value < 120 else duration(value)


def by_round(report):
    """The least and the largest ratio of a round, where there are several."""
    return f", {spread(report['summary'])} by round" if len(report["rounds"]) > 1 else ""


def times(count):
    """How often something was measured."""
    return "measured once" if count == 1 else f"median of {count}"


def step_words(report):
    """The measurement of a step."""
    summary = report["summary"]
    slow, fast = summary["straightforward"], summary["course"]
    said = (
        f"The straightforward version takes {seconds(slow['seconds'])} and "
        f"{slow['jobs']:,.0f} Spark jobs, the course {seconds(fast['seconds'])} and "
        f"{fast['jobs']:,.0f} ({times(len(report['rounds']))}): {summary['ratio']:.1f} times "
        f"as fast{by_round(report)}, with {report['to_reach']:g} to reach."
    )
    if summary["ratio"] < report["to_reach"]:
        said = f"{said} It falls short. {profile(report)}".rstrip()
    return f"{said} {comparison_words(report['equality'])}"


def comparison_words(equality):
    """What the results of both sides have in common."""
    differing = [claim for claim, holds in equality["equal"].items() if not holds]
    if differing:
        return f"The two sides differ in {', '.join(differing)}, so the times compare nothing."
    if "split_sizes" in equality:
        customers = sum(equality["split_sizes"]["course"].values())
        return f"Both make the same of each of the {customers:,} customers."
    if "test_metrics" in equality:
        slow, fast = (equality["test_metrics"][side] for side in ("straightforward", "course"))
        metrics = (f"{NAMES[name]} {slow[name]:.3f} and {fast[name]:.3f}" for name in NAMES)
        customers = equality["test_customers"]["course"]
        return f"On the same {customers:,} test customers the forests have {', '.join(metrics)}."
    return (
        f"Both score the same {equality['scored_customers']['course']:,} customers; the "
        "probabilities differ as the forests do, by "
        f"{equality['mean_difference_of_probability']:.3f} on average."
    )


def profile(report):
    """Where the course's last run spent its time, "" if that is not known."""
    figures = report["rounds"][-1]["course"]
    if not figures.get("longest_jobs"):
        return ""
    jobs = ", ".join(
        f"{job['job']} ({job['count']} in {job['seconds']:.1f} s)"
        for job in figures["longest_jobs"][:3]
    )
    return (
        f"In its last round a Spark job was running for {figures['seconds_in_jobs']:.1f} s, and "
        f"none for {figures['seconds_between_jobs']:.1f} s; the longest jobs: {jobs}."
    )


def start_up_words(report):
    """The measurement of an empty session."""
    without, with_it = report["summary"]["without"], report["summary"]["with"]
    if not report["archive_in_use"]:
        return (
            f"An empty session, from spark-submit to its end, takes "
            f"{seconds(with_it['process_seconds'])}; there was no archive to compare with."
        )
    return (
        f"An empty session, from spark-submit to its end, takes "
        f"{seconds(without['process_seconds'])} without the archive and "
        f"{seconds(with_it['process_seconds'])} with it ({times(len(report['rounds']))}): "
        f"{report['summary']['ratio']:.1f} times as fast."
    )


def quality_words(report):
    """The quality of the tuned forest."""
    parts = [
        f"{NAMES[name]} {report['mean'][name]:.4f} ± {report['standard_deviation'][name]:.4f}"
        for name in NAMES
    ]
    floors = " and ".join(f"{report['to_reach'][name]:g}" for name in NAMES)
    said = f"{report['evaluation']} of the chosen forest: {', '.join(parts)} (mean and spread)."
    if report["reached"] is None:
        return f"{said} What is to reach, {floors}, is said of the real customers only."
    verdict = "Both are reached" if all(report["reached"].values()) else "Not all is reached"
    return f"{said} {verdict}: {floors} were asked for."


def serving_words(report):
    """The measurement of the model server."""
    took = report["summary"]
    return (
        f"From its start to its first answer the server takes {took['cold_start_seconds']:.1f} s. "
        f"One caller waits {took['one_caller_p50_ms']:.1f} ms for a customer with reasons "
        f"(p50; p99 {took['one_caller_p99_ms']:.1f} ms), of which the ONNX file takes "
        f"{took['model_alone_us'] / 1000:.3f} ms. {report['callers']} callers at once, on the "
        f"same cores, get {took['callers_per_second']:,.0f} answers a second and wait "
        f"{took['callers_p50_ms']:.1f} ms (p99 {took['callers_p99_ms']:.1f} ms); "
        f"{times(len(report['rounds']))}."
    )


TELL = {"start-up": start_up_words, "quality": quality_words, "serving": serving_words}


def finding(reports):
    """What the picture shows, in two lines."""
    ratios = [report["summary"]["ratio"] for report in reports]
    short = [r for r in reports if r["summary"]["ratio"] < r["to_reach"]]
    line = f"{min(ratios):.1f} to {max(ratios):.1f} times as fast as the straightforward version"
    if not short:
        return ("Every step is as fast as it has to be:", line)
    names = ", ".join(report["benchmark"] for report in short)
    return (f"{line};", f"short of what is to reach: {names}")


def picture(reports):
    """The SVG of the ratios, a bar a step."""
    marks = [(*r["summary"]["ratio_of_rounds"], r["to_reach"]) for r in reports]
    scale = (WIDTH - LEFT - ROOM) / max(max(mark) for mark in marks)
    height = TOP + STEP * len(reports) + 52
    rows = [_row(report, TOP + STEP * row, scale) for row, report in enumerate(reports)]
    said = "; ".join(f"{report['benchmark']}: {bar_words(report)}" for report in reports)
    title = finding(reports)
    axis = "times as fast (seconds straightforward / seconds of the course, medians)"
    return "\n".join(
        [
            f'<figure style="overflow-x: auto"><svg viewBox="0 0 {WIDTH} {height}" role="img"'
            ' aria-labelledby="speed-title speed-text" font-size="15" fill="currentColor"'
            ' style="width: 100%; min-width: 560px; max-width: 720px">',
            f'<title id="speed-title">{escape(" ".join(title))}</title>',
            f'<desc id="speed-text">{escape(said)}.</desc>',
            *(
                f'<text y="{y}" font-size="17" font-weight="600">{escape(line)}</text>'
                for y, line in zip((20, 44), title, strict=True)
            ),
            f'<line x1="{LEFT}" x2="{LEFT}" y1="{TOP - 8}" y2="{height - 48}"'
            ' stroke="currentColor" stroke-opacity="0.4"/>',
            *rows,
            f'<text x="{LEFT}" y="{height - 30}">{axis};</text>',
            f'<text x="{LEFT}" y="{height - 10}">dashed: to reach; thin: by round</text>',
            "</svg></figure>",
        ]
    )


def _row(report, y, scale):
    summary, middle = report["summary"], y + BAR / 2
    least, most = (LEFT + scale * ratio for ratio in summary["ratio_of_rounds"])
    aim = LEFT + scale * report["to_reach"]
    end = max(LEFT + scale * summary["ratio"], most, aim) + 10
    slow, fast = (seconds(summary[side]["seconds"]) for side in ("straightforward", "course"))
    return (
        f'<text x="{LEFT - 10}" y="{y + 15}" text-anchor="end">{report["benchmark"]}</text>'
        f'<rect x="{LEFT}" y="{y}" height="{BAR}" width="{scale * summary["ratio"]:.1f}"'
        ' fill="var(--pst-color-primary, #17607c)"/>'
        f'<line x1="{least:.1f}" x2="{most:.1f}" y1="{middle}" y2="{middle}"'
        ' stroke="currentColor" stroke-width="2"/>'
        f'<line x1="{aim:.1f}" x2="{aim:.1f}" y1="{y - 6}" y2="{y + BAR + 6}"'
        ' stroke="currentColor" stroke-width="2" stroke-dasharray="4 3"/>'
        f'<text x="{end:.1f}" y="{y + 15}">{summary["ratio"]:.1f}: {slow} → {fast}</text>'
    )


def bar_words(report):
    """A bar in words."""
    summary = report["summary"]
    slow, fast = (seconds(summary[side]["seconds"]) for side in ("straightforward", "course"))
    return (
        f"{summary['ratio']:.1f} times as fast, {slow} to {fast}{by_round(report)}, "
        f"{report['to_reach']:g} to reach"
    )


def words(*parts):
    """A paragraph of texts and nodes."""
    return nodes.paragraph(
        "", "", *(part if isinstance(part, nodes.Node) else nodes.Text(part) for part in parts)
    )


def code(text):
    """A command in the text."""
    return nodes.literal(text=text)


def setup(app):
    """Register the extension with Sphinx."""
    app.add_directive("speed-picture", SpeedPicture)
    app.add_directive("speed-table", SpeedTable)
    app.add_directive("speed-of", SpeedOf)
    app.add_directive("speed-made", SpeedMade)
    app.add_directive("stale-benchmarks", StaleBenchmarks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
