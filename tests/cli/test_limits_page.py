"""The commands of docs/limits.md, run as they stand there, one after the other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from commands import Infron

PAGE = (Path(__file__).parents[2] / "docs/limits.md").read_text()


def test_commands_of_the_page_of_limits_do_what_it_says(infron: Infron) -> None:
    commands = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()]
    assert len(commands) > 12
    shown = {}
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "infron"
        code, out, err = infron(*words)
        assert code == 0, (command, err)
        shown[command] = out, err
    [table] = re.findall(r"```text\n(.*?)```", PAGE, re.S)
    listed = [re.split(r"\s{2,}", line.strip()) for line in shown["infron keys list"][0].splitlines()]
    columns = listed[1]
    expected, *rows = (re.split(r"\s{2,}", line.strip()) for line in table.splitlines())
    assert [[line[columns.index(name)] for name in expected] for line in listed[3:]] == rows
    twice = "infron credits add acme 20 --reference invoice-17"
    assert commands.count(twice) == 2
    assert "This was done before" in shown[twice][1]
    assert [line.split()[-1] for line in infron("credits", "list")[1].splitlines()[3:]] == ["$25.00"]
    assert "its limits: $8.00/week, $60.00" in shown["infron keys edit bob --budget none/day --budget 8/week"][1]
