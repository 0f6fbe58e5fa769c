"""Measure two sides in turn, and say what came of it."""

import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.programs import Program, Runner, course_step, straightforward_step
from churnlab.run.library import library

STEPS = ("preprocessing", "training", "tuning", "scoring")
NEEDS = {"training": "preprocessing", "tuning": "preprocessing", "scoring": "training"}
SIDES = ("straightforward", "course")


@dataclass(frozen=True)
class Measured:
    """A program that ran: the folder it wrote to, the key of its run, and its figures."""

    folder: Path
    run: str
    figures: dict


@dataclass
class Bench:
    """Where benchmarks run: a temporary folder, its raw customers, and how programs are started."""

    folder: Path
    raw: Path
    runner: Runner
    quick: bool = False
    same_settings: bool = False
    done: dict[tuple[str, str], Measured] = field(default_factory=dict)

    def run(self, side: str, step: str, label: str) -> Measured:
        """Run a side's step on a fresh copy of what the step before it left."""
        before = self.last(side, NEEDS[step]).folder if step in NEEDS else self.raw
        folder = self.folder / f"{side}-{step}-{label}"
        shutil.copytree(before, folder)
        run = library.runs.new_pipeline_id()
        defaults = None if self.same_settings else self.folder / "spark-defaults"
        if side == "course":
            trained = f"{self.last(side, 'training').run}-training" if step == "scoring" else ""
            program = course_step(step, folder, run, self.quick, trained)
        else:
            program = straightforward_step(step, folder, self.quick, defaults)
        return Measured(folder, run, self.runner(program, folder))

    def last(self, side: str, step: str) -> Measured:
        """Return the last run of a side's step; without one it runs now, not measured."""
        if (side, step) not in self.done:
            self.done[side, step] = self.run(side, step, "prepared")
        return self.done[side, step]

    def compare(
        self, step: str, rounds: int, announce: Callable[[str], None]
    ) -> list[dict[str, dict]]:
        """Run a step of both sides in turn; return each round's figures by side."""
        for side in SIDES:
            if step in NEEDS:
                self.last(side, NEEDS[step])
        measured = []
        for number in range(rounds):
            figures = {}
            # Whoever comes second finds the machine warm, so the sides change places.
            for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                done = self.run(side, step, str(number + 1))
                self.done[side, step], figures[side] = done, done.figures
                announce(f"{step}, round {number + 1}, {side}: {done.figures['seconds']:.1f} s")
            measured.append({side: figures[side] for side in SIDES})
        return measured


def start_ups(
    folder: Path, runner: Runner, rounds: int, announce: Callable[[str], None]
) -> list[dict[str, dict]]:
    """Start empty sessions with and without the class-data archive, in turn."""
    # In the environment -Xshare:off holds wherever the archive is named, and wins over its name.
    programs = {
        "without": Program(environment={"JAVA_TOOL_OPTIONS": "-Xshare:off"}),
        "with": Program(),
    }
    measured = []
    for number in range(rounds):
        figures = {}
        for name in list(programs)[:: 1 if number % 2 == 0 else -1]:
            place = folder / f"start-up-{name}-{number + 1}"
            place.mkdir(parents=True)
            figures[name] = runner(programs[name], place)
            took = figures[name]["process_seconds"]
            announce(f"start-up, round {number + 1}, {name} archive: {took:.1f} s")
        measured.append({name: figures[name] for name in programs})
    return measured


def summarise(rounds: list[dict[str, dict]], figure: str = "seconds") -> dict:
    """Return the median of each side's figures and how many times as fast the second side is.

    The ratio is that of the medians; beside it stand the least and the largest ratio of a round.
    """
    slow, fast = rounds[0]
    summary = {side: medians([turn[side] for turn in rounds]) for side in (slow, fast)}
    ratios = [turn[slow][figure] / turn[fast][figure] for turn in rounds]
    return summary | {
        "ratio": round(summary[slow][figure] / summary[fast][figure], 2),
        "ratio_of_rounds": [round(min(ratios), 2), round(max(ratios), 2)],
    }


def medians(figures: list[dict]) -> dict:
    """Return the median of every number that all runs of a side have."""
    names = [
        name
        for name, value in figures[0].items()
        if all(type(run.get(name)) in (int, float) for run in figures)
    ]
    return {name: round(statistics.median(run[name] for run in figures), 2) for name in names}
