"""The .slt scripts of tests/logic under several settings that must not change any answer."""
import datetime
import json
import pathlib
import re

import pytest
import slt

LOGIC = pathlib.Path(__file__).resolve().parents[1] / "logic"
CONFIGS = {path.stem: json.loads(path.read_text()) for path in sorted((LOGIC / "configs").glob("*.json"))}


@pytest.mark.parametrize("config", sorted(CONFIGS))
@pytest.mark.parametrize("script", sorted(path.name for path in LOGIC.glob("*.slt")))
def test_script(start, script, config):
    arguments = [word for key, value in CONFIGS[config].get("settings", {}).items() for word in ("--set", f"{key}={value}")]
    servers = [start(*arguments)]

    def restart():
        servers[-1].kill()
        servers.append(start(*arguments))
        return servers[-1]

    # {days_ago_N} in a script is that date: fixed dates would fall out of the retention.
    text = re.sub(r"\{days_ago_(\d+)\}", lambda found: (datetime.date.today() - datetime.timedelta(
        days=int(found[1]))).isoformat(), (LOGIC / script).read_text())
    ran = slt.Runner(servers[0], restart, config).run(text)
    assert ran > 0, "the script ran nothing"
