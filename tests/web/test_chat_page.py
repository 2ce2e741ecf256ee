"""The chat page in a real browser, in front of a gateway and a scripted provider."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from infron.runtime.ledger.administration import create_key
from infron.testing import CUT, DONE, FINISH, ROLE, USAGE, Answer, Call, Step, Wait, delta, speak, text

QUICK = {"first_seconds": 0.05, "every_seconds": 0.05}
HOSTILE = """<script>window.broken = "script"</script>
<img src="x" onerror="window.broken = 'img'"><svg onload="window.broken = 'svg'"></svg>

[a](javascript:window.broken='link') [b](JaVaScRiPt:window.broken='case')
[c](data:text/html,<script>parent.broken=1</script>)
[d](vbscript:x) <javascript:window.broken=1> ![picture](https://example.com/picture.png)
[e](https://example.com/"onmouseover="window.broken='attribute') <iframe src="javascript:window.broken=1"></iframe>

| <b onclick="window.broken='table'">x</b> | y |
|---|---|
| `<script>window.broken='cell'</script>` | [f](file:///etc/passwd) |

```html"><script>window.broken='fence'</script>
</code></pre><script>window.broken = "code"</script>
```
<style>body { display: none }</style><base href="https://example.com/"><form action="https://example.com/">
"""


def answered(*pieces: str) -> list[Step]:
    return [ROLE, *map(text, pieces), FINISH, USAGE, DONE]


async def test_page_shows_life_while_it_waits_and_text_as_it_comes(stage: Callable[..., Any]) -> None:
    begin, go_on = asyncio.Event(), asyncio.Event()
    script = [Wait(begin), ROLE, text("The **tall"), Wait(go_on), text("est** one"), FINISH, USAGE, DONE]
    shown = await stage(script, keepalive=QUICK)
    page = shown.page
    await shown.ask()
    await shown.state("processing")
    seen = await page.locator(".answer").get_attribute("data-comments")
    await page.wait_for_function("before => document.querySelector('.answer').dataset.comments > before", arg=seen)
    await expect(page.locator(".head")).to_contain_text("The model is working on it")
    begin.set()
    await shown.state("writing")
    await expect(page.locator(".answer .markdown")).to_have_text("The **tall")
    go_on.set()
    await shown.state("done")
    await expect(page.locator(".answer .markdown strong")).to_have_text("tallest")
    await shown.until("served by mock")
    await shown.until("7 + 3 tokens")
    assert shown.asked[0].json["messages"] == [{"role": "user", "content": "How tall?"}]


@pytest.mark.parametrize("by", ["button", "Escape"])
async def test_stop_reaches_the_provider_and_its_receipt_is_shown(stage: Callable[..., Any], by: str) -> None:
    shown = await stage([ROLE, text("one two "), Wait(asyncio.Event())], definition={"on_disconnect": "cancel"})
    await shown.ask()
    await shown.state("writing")
    await (shown.page.press("#prompt", "Escape") if by == "Escape" else shown.page.click("#stop"))
    async with asyncio.timeout(30):
        await shown.asked[0].closed.wait()
    await shown.until("The provider was stopped")
    await shown.until("after you left: you pay for what was delivered")
    await expect(shown.page.locator(".answer .markdown")).to_have_text("one two")
    assert await shown.page.locator(".answer").get_attribute("data-state") == "stopped"


async def test_stop_says_that_a_provider_cannot_be_stopped(stage: Callable[..., Any]) -> None:
    go_on = asyncio.Event()
    script = [ROLE, text("one "), Wait(go_on), text("two"), FINISH, USAGE, DONE]
    shown = await stage(script, definition={"on_disconnect": "drain"})
    await shown.ask()
    await shown.state("writing")
    await shown.page.click("#stop")
    await shown.until("It is still read to its end")
    go_on.set()
    await shown.until("read to its end and is billed in full")
    await shown.until("7 + 3 tokens")


async def test_stop_before_the_first_byte_finds_its_receipt(stage: Callable[..., Any]) -> None:
    """Its id has not been told yet; that of the answer before must not be taken for it."""
    scripts = [answered("first"), [Wait(asyncio.Event())]]

    def script(call: Call) -> list[Step]:
        return scripts.pop(0) if call.method == "POST" else [DONE]

    shown = await stage(script, definition={"on_disconnect": "cancel"})
    await shown.ask()
    await shown.until("7 + 3 tokens")
    await shown.page.fill("#prompt", "again")
    await shown.page.press("#prompt", "Enter")
    while len(shown.asked) < 2:
        await shown.provider.called(len(shown.provider.calls) + 1)
    await shown.page.click("#stop")
    await shown.until("The provider was stopped")
    assert await shown.page.locator(".answer").last.get_attribute("data-state") == "stopped"


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ([speak("openai-chat").error("overloaded", "no more room")], "no more room"),
        ([CUT], "ended"),
        ([DONE], "ended"),
    ],
)
async def test_failure_in_mid_stream_keeps_the_text_and_says_what_happened(
    stage: Callable[..., Any], end: list[Step], told: str
) -> None:
    go_on = asyncio.Event()
    shown = await stage([ROLE, text("half of it"), Wait(go_on), *end])
    await shown.ask()
    await shown.state("writing")
    go_on.set()
    await shown.state("failed")
    await expect(shown.page.locator(".answer .markdown")).to_have_text("half of it")
    await expect(shown.page.locator(".trouble")).not_to_be_empty()


async def test_refusal_before_the_stream_is_shown(stage: Callable[..., Any]) -> None:
    shown = await stage(
        [
            Answer(
                429,
                (("content-type", "application/json"), ("retry-after", "7")),
                b'{"error":{"message":"slow down","code":"rate"}}',
            )
        ]
    )
    await shown.ask()
    await shown.state("failed")
    await expect(shown.page.locator(".trouble")).to_contain_text("slow down")


async def test_thinking_is_shown_and_folded_when_the_text_comes(stage: Callable[..., Any]) -> None:
    go_on = asyncio.Event()
    script = [ROLE, delta(reasoning="Bedrock "), delta(reasoning="first."), Wait(go_on), *answered("Dig.")[1:]]
    shown = await stage(script)
    await shown.ask()
    await shown.state("thinking")
    thinking = shown.page.locator(".thinking > div")
    await expect(thinking).to_be_visible()
    await expect(thinking).to_have_text("Bedrock first.")
    go_on.set()
    await shown.state("done")
    await expect(thinking).to_be_hidden()
    await shown.page.click(".thinking summary")
    await expect(thinking).to_be_visible()


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_hostile_markdown_is_only_text(stage: Callable[..., Any], size: int) -> None:
    pieces = [HOSTILE[at : at + size] for at in range(0, len(HOSTILE), size)]
    shown = await stage(answered(*pieces))
    page: Page = shown.page
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    await shown.ask()
    await shown.state("done")
    await shown.until("served by mock")
    assert await page.evaluate("window.broken") is None
    inside = "document.querySelector('.markdown')"
    assert await page.evaluate(f"{inside}.querySelectorAll('script, img, svg, iframe, style, base, form').length") == 0
    links = await page.evaluate(f"[...{inside}.querySelectorAll('a')].map(link => link.protocol)")
    assert set(links) <= {"https:"}
    attributes = await page.evaluate(
        f"[...{inside}.querySelectorAll('*')].flatMap(one => one.getAttributeNames())"
        ".filter(name => name.startsWith('on') || name === 'style')"
    )
    assert attributes == []
    assert all(address.startswith(shown.running.url) for address in fetched)
    await page.hover(".markdown a")
    assert await page.evaluate("window.broken") is None


MARKDOWN = {
    "# One\n\n## Two": "<h3>One</h3><h4>Two</h4>",
    "a **b** *c* ~~d~~ `e`": "<p>a <strong>b</strong> <em>c</em> <del>d</del> <code>e</code></p>",
    "snake_case_name and 2 * 3 * 4": "<p>snake_case_name and 2 * 3 * 4</p>",
    "***both***": "<p><strong><em>both</em></strong></p>",
    "1. a\n2. b\n\n   - c\n3. e": '<ol start="1"><li>a</li><li>b<ul><li>c</li></ul></li><li>e</li></ol>',
    "- a\n  more\n- b": "<ul><li>a<br>more</li><li>b</li></ul>",
    "> a\n> b": "<blockquote><p>a<br>b</p></blockquote>",
    "a\n\n---\n\nb": "<p>a</p><hr><p>b</p>",
    "\\*a\\*": "<p>*a*</p>",
    "``a ` b``": "<p><code>a ` b</code></p>",
    "**open": "<p>**open</p>",
    "see https://example.com/a_(b)?c=d, and": '<p>see <a href="https://example.com/a_(b)?c=d" target="_blank" '
    'rel="noopener noreferrer nofollow">https://example.com/a_(b)?c=d</a>, and</p>',
}


@pytest.fixture
async def module(browser: Callable[..., Any], stage: Callable[..., Any]) -> Page:
    return (await stage([DONE])).page


@pytest.mark.parametrize("source", MARKDOWN)
async def test_markdown_is_the_same_however_it_comes(module: Page, source: str) -> None:
    """A block that was shown while half of it was there must not stay as it was."""
    program = """async ([source, size]) => {
        const { MarkdownView } = await import("/chat/markdown.js");
        const target = document.createElement("div");
        const view = new MarkdownView(target);
        for (let end = size; end < source.length + size; end += size) view.show(source.slice(0, end));
        return target.innerHTML;
    }"""
    for size in (1, 3, len(source)):
        assert await module.evaluate(program, [source, size]) == MARKDOWN[source]


@pytest.mark.parametrize(
    "piece", ["*", "_a", "`", "[", "[a](", "> ", "- ", "|a", "**a ", "\n1. ", "https://", "~~~\n", "\\", "<"]
)
async def test_markdown_takes_little_time_for_what_never_closes(module: Page, piece: str) -> None:
    program = """async (piece) => {
        const { MarkdownView } = await import("/chat/markdown.js");
        const begun = performance.now();
        new MarkdownView(document.createElement("div")).show(piece.repeat(200_000 / piece.length));
        return performance.now() - begun;
    }"""
    assert await module.evaluate(program, piece) < 5_000


async def test_conversation_goes_on_is_edited_forked_and_kept(stage: Callable[..., Any]) -> None:
    count = 0

    def script(call: Call) -> list[Step]:
        nonlocal count
        count += call.method == "POST"
        return answered(f"answer {count}")

    shown = await stage(script)
    page = shown.page
    await shown.ask("first")
    await shown.state("done")
    await page.fill("#prompt", "second\nline")
    await page.press("#prompt", "Enter")
    await page.get_by_text("answer 2").wait_for()
    asked = [(message["role"], message["content"]) for message in shown.asked[1].json["messages"]]
    assert asked == [("user", "first"), ("assistant", "answer 1"), ("user", "second\nline")]

    await page.get_by_role("button", name="Ask again").last.click()
    await page.get_by_text("answer 3").wait_for()
    await expect(page.get_by_text("answer 2")).to_have_count(0)

    await page.get_by_role("button", name="Fork from here").first.click()
    await expect(page.locator("#conversations li")).to_have_count(2)
    await expect(page.locator("article")).to_have_count(2)

    await page.get_by_role("button", name="Edit").click()
    await expect(page.locator("#prompt")).to_have_value("first")
    await page.fill("#prompt", "changed")
    await page.press("#prompt", "Enter")
    await page.get_by_text("answer 4").wait_for()
    assert shown.asked[3].json["messages"] == [{"role": "user", "content": "changed"}]

    await page.reload()
    await page.get_by_text("answer 4").wait_for()
    await page.locator("#conversations .name").last.click()
    await page.get_by_text("answer 3").wait_for()

    await page.click("#settings-open")
    async with page.expect_download() as download:
        await page.click("#export")
    exported = json.loads((await (await download.value).path()).read_text())
    assert [message["text"] for message in exported["messages"]] == ["first", "answer 1", "second\nline", "answer 3"]


async def test_settings_reach_the_provider(stage: Callable[..., Any]) -> None:
    shown = await stage(answered("Arr."))
    page = shown.page
    await page.click("#settings-open")
    await page.fill("#system", "Speak like a pirate.")
    await page.fill("#temperature", "0.5")
    await page.fill("#max-tokens", "77")
    await page.select_option("#effort", "low")
    await page.get_by_role("button", name="Done").first.click()
    await shown.ask()
    await shown.state("done")
    sent = shown.asked[0].json
    assert sent["messages"][0] == {"role": "system", "content": "Speak like a pirate."}
    assert (sent["temperature"], sent["max_tokens"]) == (0.5, 77)


async def test_key_is_asked_for_and_kept_for_the_tab_alone(stage: Callable[..., Any], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    _, secret = create_key(url, "page")
    shown = await stage(answered("Hello"), ledger={"url": url})
    page = shown.page
    await page.fill("#key-value", secret)
    await page.press("#key-value", "Enter")
    await expect(page.locator("#key")).to_be_hidden()
    await shown.ask()
    await shown.until("Done")
    kept = await page.evaluate("[JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie]")
    assert [secret in place for place in kept] == [True, False, False]
    other = await page.context.new_page()
    await other.goto(page.url)
    await expect(other.locator("#key")).to_be_visible()


# A PNG of one pixel.
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


async def test_images_are_pasted_and_sent(stage: Callable[..., Any]) -> None:
    shown = await stage(answered("A dot."))
    page = shown.page
    paste = """(png) => {
        const bytes = Uint8Array.from(atob(png), (c) => c.charCodeAt(0));
        const clipboardData = new DataTransfer();
        clipboardData.items.add(new File([bytes], "dot.png", { type: "image/png" }));
        document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
    }"""
    await page.evaluate(paste, DOT)
    await page.locator("#images img").wait_for()
    await shown.ask("What is it?")
    await shown.state("done")
    said, picture = shown.asked[0].json["messages"][0]["content"]
    assert said == {"type": "text", "text": "What is it?"}
    assert picture["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    await expect(page.locator(".user img")).to_be_visible()


async def test_page_is_used_by_the_keyboard_alone(stage: Callable[..., Any]) -> None:
    shown = await stage(answered("Hello"))
    page = shown.page
    await expect(page.locator("#prompt")).to_be_focused()
    await page.keyboard.type("a")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("b")
    await expect(page.locator("#prompt")).to_have_value("a\nb")
    await page.focus("#model")
    await page.keyboard.type("mock/tower")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Settings")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#settings")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("#settings")).to_be_hidden()
    await page.focus("#prompt")
    await page.keyboard.press("Enter")
    await shown.state("done")
    assert shown.asked[0].json["messages"][0]["content"] == "a\nb"
    unnamed = await page.evaluate(
        "[...document.querySelectorAll('button, input, textarea, select')].filter(one => !one.hidden && !("
        "one.textContent.trim() || one.labels?.length || one.getAttribute('aria-label'))).map(one => one.outerHTML)"
    )
    assert unnamed == []


async def test_status_for_screen_readers_changes_with_the_state_alone(stage: Callable[..., Any]) -> None:
    shown = await stage(answered(*(f"word {number} " for number in range(200))))
    await shown.page.evaluate(
        "window.said = []; new MutationObserver(() => said.push(document.getElementById('status').textContent))"
        ".observe(document.getElementById('status'), { childList: true, characterData: true, subtree: true })"
    )
    await shown.ask()
    await shown.state("done")
    said = await shown.page.evaluate("said")
    assert len(said) <= 5
    assert said[-1].startswith("Done")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
async def test_page_fits_and_can_be_read(stage: Callable[..., Any], scheme: str, width: int) -> None:
    shown = await stage(answered("| a | b |\n|---|---|\n| " + "wide " * 60 + "| c |\n\n```\n" + "x" * 400 + "\n```\n"))
    page = shown.page
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size({"width": width, "height": 700})
    await shown.ask("x" * 300)
    await shown.state("done")
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    contrasts = await page.evaluate(CONTRASTS)
    assert {name: ratio for name, ratio in contrasts.items() if ratio < 4.5} == {}


# WCAG 2.2, 1.4.3: of each text on what lies under it.
CONTRASTS = """() => {
    const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const colour = (css) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = css;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const under = (node) => {
        for (; node; node = node.parentElement) {
            const found = colour(getComputedStyle(node).backgroundColor);
            if (found[3] === 255) return found;
        }
        return [255, 255, 255, 255];
    };
    const found = {};
    for (const node of document.querySelectorAll("button, p, .said, .markdown td, .markdown pre, small, span, a")) {
        if (!node.innerText?.trim() || !node.checkVisibility()) continue;
        const [a, b] = [light(colour(getComputedStyle(node).color)), light(under(node))];
        found[`${node.tagName}.${node.className} ${node.id}`] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    }
    return found;
}"""


async def test_page_of_another_origin_can_do_nothing(stage: Callable[..., Any]) -> None:
    shown = await stage(answered("Hello"))
    page: Page = await shown.page.context.new_page()
    async with await asyncio.start_server(elsewhere, "127.0.0.1", 0) as server:
        await page.goto(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        outcomes = await page.evaluate(
            """async (url) => {
                const body = '{"model":"mock/a","stream":true,"messages":[{"role":"user","content":"x"}]}';
                const headers = { "content-type": "application/json" };
                const tries = [
                    fetch(`${url}/v1/models`),
                    fetch(`${url}/v1/chat/completions`, { method: "POST", body, headers }),
                    fetch(`${url}/v1/chat/completions`, { method: "POST", body, mode: "no-cors" }),
                    fetch(`${url}/v1/generations`, { mode: "cors" }),
                ];
                const settled = await Promise.allSettled(tries);
                return settled.map(({ status, value }) => (status === "fulfilled" ? value.type : "refused"));
            }""",
            shown.running.url,
        )
        assert outcomes == ["refused", "refused", "opaque", "refused"]  # of an opaque answer a page sees nothing
        await page.evaluate(
            "url => { const frame = document.createElement('iframe'); frame.src = url; document.body.append(frame);"
            " return new Promise(done => frame.addEventListener('load', done)) }",
            f"{shown.running.url}/",
        )
        assert not any(frame.url.startswith(shown.running.url) for frame in page.frames)
    assert shown.asked == []


async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    page = b"<!doctype html><title>elsewhere</title>"
    writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(page), page))
    await writer.drain()
    writer.close()


async def test_page_is_small_and_lets_in_nothing_from_elsewhere(stage: Callable[..., Any]) -> None:
    shown = await stage([DONE])
    page, fetch = shown.page, shown.page.context.request
    await page.reload(wait_until="networkidle")
    loaded = await page.evaluate(
        "performance.getEntries().map(entry => entry.name).filter(name => name.includes('://'))"
    )
    assert all(address.startswith(shown.running.url) for address in loaded)
    pages = [address for address in loaded if "/v1/" not in address]
    sizes = [len(await (await fetch.get(address)).body()) for address in pages]
    assert len(sizes) >= 12
    assert 20_000 < sum(sizes) < 60_000
    answer = await fetch.get(f"{shown.running.url}/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    again = await fetch.get(answer.url, headers={"if-none-match": answer.headers["etag"]})
    assert again.status == 304


async def test_page_is_not_shown_where_the_setting_says_so(stage: Callable[..., Any]) -> None:
    shown = await stage([DONE], pages={"chat": False})
    assert (await shown.page.context.request.get(f"{shown.running.url}/")).status == 404
    assert (await shown.page.context.request.get(f"{shown.running.url}/chat/main.js")).status == 404


@pytest.mark.parametrize("language", ["Python, requests", "Python, openai"])
async def test_request_as_python_runs(stage: Callable[..., Any], tmp_path: Path, language: str) -> None:
    shown = await stage(answered("It's ", "1 km"))
    program = tmp_path / "program.py"
    program.write_text(await code_of(shown, language))
    run = asyncio.to_thread(subprocess.run, [sys.executable, str(program)], capture_output=True, text=True, timeout=50)
    ended = await run
    assert (ended.stdout, ended.stderr) == ("It's 1 km", "")
    sent = shown.asked[0].json
    assert sent["messages"] == [{"role": "user", "content": 'It\'s "tall"?\nNo $HOME `x`'}]
    assert sent["max_tokens"] == 9


async def test_request_as_curl_runs(stage: Callable[..., Any], tmp_path: Path) -> None:
    shown = await stage(answered("1 km"))
    run = ["bash", "-c", await code_of(shown, "curl")]
    ended = await asyncio.to_thread(subprocess.run, run, capture_output=True, text=True, timeout=50)
    assert "1 km" in ended.stdout
    assert shown.asked[0].json["messages"][0]["content"] == 'It\'s "tall"?\nNo $HOME `x`'


async def code_of(shown: Any, language: str) -> str:
    page = shown.page
    await page.fill("#model", "mock/tower")
    await page.press("#model", "Enter")
    await page.click("#settings-open")
    await page.fill("#max-tokens", "9")
    await page.select_option("#effort", "low")
    await page.keyboard.press("Escape")
    await page.fill("#prompt", 'It\'s "tall"?\nNo $HOME `x`')
    await page.click("#code-open")
    await page.get_by_role("tab", name=language, exact=True).click()
    told: str = await page.inner_text("#code-text")
    return told.replace("sk-infron-…", "any")
