"""The applications that take turns through the gateway in the tests: where each is, how it is asked, what it does then.

Address, key and model are not here: docs/clients.md tells them, and the tests take them from there.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any, NamedTuple

SAID = "from-the-shell"
QUESTION = "Look, then say what you saw."
CODEX_IS_ALONE = (
    "--skip-git-repo-check",
    "--dangerously-bypass-approvals-and-sandbox",
    *("-c", "analytics.enabled=false"),
    *("-c", "check_for_update_on_startup=false"),
)
AIDER_IS_ALONE = (
    *("--yes-always", "--no-git", "--analytics-disable", "--no-check-update", "--no-show-release-notes"),
    *("--no-show-model-warnings", "--edit-format", "whole"),
)


class Application(NamedTuple):
    """`heading` on the page of clients; `folder` of its lock, "" for one in Python; `program`: the pattern of its path.

    `wires`: of the providers that play the model, others than it speaks itself. `tool`: the one that the model calls,
    with arguments that make it say SAID; None for one that acts on text, the model's `text`. `again`: the failures in
    the middle of a stream after which it asks again. `environment_of`: the lock of one in Python.
    """

    heading: str
    folder: str
    program: str
    arguments: tuple[str, ...]
    wires: tuple[str, ...]
    tool: tuple[str, Mapping[str, Any]] | None
    text: str = "Looking."
    again: frozenset[str] = frozenset({"error", "cut"})
    environment: Mapping[str, str] = {}
    stopped_by: signal.Signals = signal.SIGINT
    environment_of: str = "clients"

    @property
    def name(self) -> str:
        return self.folder or self.program


APPLICATIONS = [
    Application(
        heading="Claude Code",
        folder="claude-code",
        program="@anthropic-ai/claude-code-*/claude",
        arguments=("--print", QUESTION, "--allowedTools", "Bash"),
        wires=("openai-chat", "gemini"),
        tool=("Bash", {"command": f"echo {SAID}", "description": "Look"}),
        environment={"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_TELEMETRY": "1"},
    ),
    Application(
        heading="Codex",
        folder="codex",
        program="@openai/codex/bin/codex.js",
        arguments=("exec", *CODEX_IS_ALONE, QUESTION),
        wires=("anthropic",),
        # A function's only string, and in a namespace: so its custom tool `exec`, which takes JavaScript, is offered.
        tool=("functions__exec", {"input": f"text((await tools.exec_command({{cmd: 'echo {SAID}'}})).output)"}),
    ),
    Application(
        heading="opencode",
        folder="opencode",
        program="opencode-*/bin/opencode",
        arguments=("run", QUESTION),
        wires=("anthropic",),
        tool=("bash", {"command": f"echo {SAID}", "description": "Look"}),
        environment={"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"},
        stopped_by=signal.SIGTERM,  # it reads on after an interrupt, at times
    ),
    Application(
        heading="pi",
        folder="pi",
        program="@mariozechner/pi-coding-agent/dist/cli.js",
        arguments=("--print", "--provider", "infron", "--model", "openai/gpt-5.4-mini", QUESTION),
        wires=("anthropic",),
        tool=("bash", {"command": f"echo {SAID}"}),
        environment={"PI_OFFLINE": "1", "PI_TELEMETRY": "0"},
    ),
    Application(
        heading="Qwen Code",
        folder="qwen-code",
        program="@qwen-code/qwen-code/cli.js",
        arguments=("--auth-type", "openai", "--yolo", QUESTION),
        wires=("anthropic",),
        tool=("run_shell_command", {"command": f"echo {SAID}", "is_background": False, "description": "Look"}),
        again=frozenset(),
    ),
    Application(
        heading="GitHub Copilot CLI",
        folder="copilot",
        program="@github/copilot-*/copilot",
        arguments=("--prompt", QUESTION, "--allow-all-tools", "--silent"),
        wires=("anthropic",),
        tool=("bash", {"command": f"echo {SAID}", "description": "Look"}),
        environment={"COPILOT_OFFLINE": "true", "COPILOT_AUTO_UPDATE": "false"},
    ),
    Application(
        heading="llm",
        folder="",
        program="llm",
        arguments=("-m", "infron", "--functions", f"def look(): return '{SAID}'", QUESTION),
        wires=("anthropic",),
        tool=("look", {}),
        again=frozenset(),
    ),
    Application(
        heading="Gemini CLI",
        folder="gemini-cli",
        program="@google/gemini-cli/bundle/gemini.js",
        arguments=("--yolo", "--prompt", QUESTION),
        wires=("anthropic", "openai-chat"),
        tool=("run_shell_command", {"command": f"echo {SAID}", "description": "Look"}),
        environment={"GEMINI_CLI_TRUST_WORKSPACE": "true"},
    ),
    Application(
        heading="Cline",
        folder="cline",
        program="@cline/cli-*/bin/cline",
        arguments=(QUESTION,),
        wires=("anthropic",),
        tool=("run_commands", {"commands": [f"echo {SAID}"]}),
        again=frozenset(),
        environment={
            "CLINE_NO_AUTO_UPDATE": "1",
            "CLINE_SESSION_BACKEND_MODE": "local",
            "AI_SDK_LOG_WARNINGS": "false",
        },
    ),
    Application(
        heading="aider",
        folder="",
        program="aider",
        arguments=("--message", QUESTION, *AIDER_IS_ALONE, "--auto-test", "--test-cmd", f"echo {SAID}; false"),
        wires=("anthropic",),
        tool=None,  # the model writes files into its answer; the command that tests them says what it says
        text="notes.txt\n```\nA box.\n```\n",
        environment={"HTTPS_PROXY": "http://127.0.0.1:9"},  # for its list of prices
        environment_of="clients-apart",
    ),
]
