"""A real browser: Debian's Chromium, started once, with a context of its own for each test."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright

from infron.testing import Call, RunningGateway, ScriptedProvider, gateway

PATIENCE = 30_000  # ms
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Without the last four it looks for hosts of its maker.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--remote-debugging-port=0", "--disable-quic", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
SHOTS = os.environ.get("INFRON_SCREENSHOTS")  # a folder: each test leaves a picture of its last page there


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address at which it is driven."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("Chromium is not installed")
    folder = tmp_path_factory.mktemp("chromium")
    command = [found, *FLAGS, f"--user-data-dir={folder}"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        said = b""
        while not (address := re.search(rb"DevTools listening on (ws://\S+)", said)):
            line = process.stderr.readline()
            if not line:
                pytest.skip(f"Chromium does not start: {said.decode(errors='replace')[-300:]}")
            said += line
        # what it says later would fill the pipe
        drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        yield address[1].decode()
        process.terminate()
        process.wait(20)
        drain.wait(20)


@pytest.fixture
async def browser(chromium: str, request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Any]]:
    """`await browser(**options)`: a context of Playwright's; what goes wrong in any of its pages fails the test."""
    wrong: list[str] = []
    async with async_playwright() as playwright:
        driven = await playwright.chromium.connect_over_cdp(chromium)
        contexts: list[BrowserContext] = []

        async def context(**options: Any) -> BrowserContext:
            made = await driven.new_context(viewport={"width": 1200, "height": 800}, **options)
            made.set_default_timeout(PATIENCE)
            made.on("weberror", lambda error: wrong.append(str(error.error)))
            made.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
            contexts.append(made)
            return made

        yield context
        for number, made in enumerate(contexts):
            for page in made.pages:
                if SHOTS and page.url.startswith("http"):
                    name = re.sub(r"\W+", "-", request.node.name)
                    await page.screenshot(path=Path(SHOTS) / f"{name}-{number}.png")
            await made.close()
        await driven.close()
    assert wrong == []


class Stage(NamedTuple):
    page: Page
    running: RunningGateway
    provider: ScriptedProvider

    @property
    def asked(self) -> list[Call]:
        """What reached the provider, without the question which models it has."""
        return [call for call in self.provider.calls if call.method == "POST"]

    async def ask(self, question: str = "How tall?", model: str = "mock/tower") -> None:
        """By the keyboard, as people do."""
        await self.page.fill("#model", model)
        await self.page.press("#model", "Enter")
        await self.page.fill("#prompt", question)
        await self.page.press("#prompt", "Enter")

    async def state(self, name: str) -> None:
        """Until the newest answer is in this state."""
        await self.page.locator(f".answer:last-of-type[data-state={name}]").wait_for()

    async def until(self, text: str) -> None:
        """Until the newest answer's facts, or what went wrong with it, say so."""
        await self.page.locator(".answer").last.get_by_text(text).first.wait_for()


@pytest.fixture
async def stage(browser: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:
    """`await stage(script, …)`: the chat page of a gateway in front of a provider that plays the script.

    `options`: of the browser's context; `definition`: of the provider; all else are sections of the settings.
    """
    async with contextlib.AsyncExitStack() as stack:

        async def build(script: Any, options: Any = None, definition: Any = None, **sections: Any) -> Stage:
            provider = await stack.enter_async_context(ScriptedProvider(script))
            providers = {"mock": provider.definition(**(definition or {}))}
            running = await stack.enter_async_context(gateway(providers=providers, **sections))
            page = await (await browser(**(options or {}))).new_page()
            await page.goto(f"{running.url}/")
            return Stage(page, running, provider)

        yield build
