"""Typical mistakes in the exercises: a change of the solution, and words of what the check says."""

WRONG_ANSWERS = [
    # 08
    ("a name for tonight's batch", 'step.replace("_", "-")', "step", "the service refuses"),
    ("a name for tonight's batch", "63 - len(end)", "63", "the service refuses"),
    ("a name for tonight's batch", 'rstrip("-") ', "strip() ", "two hyphens in a row"),
    ("a name for tonight's batch", "attempt > 1", "attempt > 0", "is called score-20261103-t1"),
    ("run it again?", "attempt < most", "attempt <= most", "of at most"),
    ("run it again?", 'state != "FAILED"', 'state == "SUCCEEDED"', "CANCELLED was submitted"),
    ("run it again?", "unrecognized", "wrong", "the second time"),
    ("the price before the batch", "1 + executors", "executors", "12 units"),
    ("the price before the batch", "8 * cores", "64", "16 cores"),
    ("the price before the batch", "max(seconds, 60)", "seconds", "five seconds"),
    # 09
    ("a gate that NaN can't pass", "math.isfinite(found[name]) and ", "", "infinite"),
    (
        "a gate that NaN can't pass",
        "return all(math.isfinite(found[name]) and found[name] >= least[name] for name in least)",
        "return not any(found[name] < least[name] for name in least)",
        "NaN",
    ),
    ("a gate that NaN can't pass", "math.nan", "1.0", "a metric is missing"),
    ("a component of your own", "    import json\n", "", "does not know 'json'"),
    ("a component of your own", '["precision"]', '["recall"]', "that is the recall"),
    ("a component of your own", '["test"]', "", "another one than 0.9"),
    ("what is missing this morning?", "lost |= found", "break", "through the evaluation"),
    (
        "what is missing this morning?",
        "return sorted(missing)",
        "return sorted(lost)",
        "nobody waits",
    ),
    # 10
    ("the same key, another wish", "200 if started[key] == wish else 409", "200", "without a word"),
    ("the same key, another wish", "if key not in started", "if not started.get(key)", "repeated"),
    ("a number that is a share", " and not isinstance(value, bool)", "", "may ask for true"),
    ("a number that is a share", "0 <= value <= 1", "not (value < 0 or value > 1)", "for NaN"),
    ("a number that is a share", "to 1.", "to 1, not {value!r}.", "repeats what was sent"),
    ("one line in the log", "name.lower()", "name", "tells a secret"),
    (
        "one line in the log",
        'json.dumps(kept | {"severity": severity, "message": message}, default=str)',
        "str(kept)",
        "can't read this as JSON",
    ),
    ("one line in the log", "default=str", "default=str, indent=2", "or several"),
    # 11
    ("the next ticks of six o'clock", "tick <= after", "tick < after", "asked at the tick itself"),
    (
        "the next ticks of six o'clock",
        "[(tick + timedelta(days=n)).astimezone(UTC) for n",
        "[tick.astimezone(UTC) + timedelta(days=n) for n",
        "clocks go back",
    ),
    (
        "the next ticks of six o'clock",
        "astimezone(ZoneInfo(zone))",
        "astimezone(UTC)",
        "Berlin in July",
    ),
    (
        "half past two at night",
        "sum(moment.astimezone(there).replace(tzinfo=None) == wall for moment in minutes)",
        "1",
        "1 times 02:30 on 2026-10-25",
    ),
    ("half past two at night", "- timedelta(days=1)", "", "Pacific/Auckland"),
    ("when is the week lost?", "min(wait, most)", "wait", "Google's example"),
    ("when is the week lost?", "if later <= 0", "if True", "Google's example"),
    # 12
    ("which day's file?", ".astimezone(UTC)", "", "another day in UTC"),
    ("which day's file?", 'replace("{date}", day)', "format(date=day, old=1)", "other braces"),
    ("has the market moved?", "abs(moved)", "moved", "25 points less"),
    ("has the market moved?", "> limit", "> 0.1", "the limit that was given"),
    (
        "publish, whole and forward",
        "partial.write_text(json.dumps(pointer))\n    partial.replace(target)",
        "target.write_text(json.dumps(pointer))",
        "a reader saw the file change",
    ),
    ("publish, whole and forward", '] > pointer["', '] >= pointer["', "may publish again"),
    (
        "publish, whole and forward",
        "partial.replace(target)",
        'partial.replace(target)\n    (folder / "log").touch()',
        "more than the pointer",
    ),
]
