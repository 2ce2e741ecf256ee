"""Makes docs/chat.png: the chat page of a real gateway while a scripted provider writes. `python docs/picture.py`.

It never reaches a network: Chromium is the system's, and everything else is on this machine.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from playwright.async_api import async_playwright

from infron.testing import ROLE, Pause, ScriptedProvider, Step, Wait, delta, gateway, text

TARGET = Path(__file__).parent / "chat.png"
QUESTION = "How would you build the tallest building ever?"
THOUGHT = "Wind decides above 600 m, so the form comes first; then lifts, then the ground."
ANSWER = """Three things decide, in **this** order:

1. **Wind.** Taper and twist the tower, so that no vortex finds a rhythm.
2. **Lifts.** Above 500 m a steel rope carries mostly itself: use `carbon` belts, or sky lobbies.
3. **Ground.** A raft on piles, down to rock.

| part | height | share of the steel |
|---|---:|---:|
| core | 1,000 m | 61 % |
| outriggers | 840 m | 27 % |
| spire | 170 m | 4 % |

```python
def sway(height: float, period: float) -> float:
    return height / 500 * period ** 0.5
```

So begin with a wind tunnel, not with a crane: the form that"""


def script(_: object) -> list[Step]:
    pieces = [ANSWER[at : at + 5] for at in range(0, len(ANSWER), 5)]
    said = [step for piece in pieces for step in (text(piece), Pause(0.02))]
    return [ROLE, Pause(1.3), delta(reasoning=THOUGHT), Pause(0.5), *said, Wait(asyncio.Event())]


async def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"acme": provider.definition(on_disconnect="cancel")}) as running,
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1180, "height": 860}, color_scheme="light")
        await page.goto(f"{running.url}/")
        await page.fill("#model", "acme/tower-1")
        await page.press("#model", "Enter")
        await page.fill("#prompt", QUESTION)
        await page.press("#prompt", "Enter")
        await page.get_by_text("not with a crane: the form that").wait_for()
        await page.screenshot(path=TARGET)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
