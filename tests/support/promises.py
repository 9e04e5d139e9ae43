"""Figures for docs/promises.md, written by the tests that measure them.

    promises.record("kill", "crash/kill", "0 lost in 421,983 acknowledged rows over 104 kills", seed)

writes {"promise", "test", "figure", "date", "seed"} as JSON into the folder $MS_TEST_PROMISES_DIR; without the variable
nothing happens. `scripts/promises` puts the figures into the page. `promise` is a row's id there.
"""
import datetime
import json
import os
import pathlib
import re


def record(promise, test, figure, seed=None):
    folder = os.environ.get("MS_TEST_PROMISES_DIR")
    if not folder:
        return
    path = pathlib.Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    content = {"promise": promise, "test": test, "figure": figure, "date": date, "seed": seed}
    name = re.sub(r"[^\w.-]+", "-", f"{promise}.{test}")
    (path / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
