"""The bundled model, as a real process: found, started once, shared, restarted, and gone with the gateway."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from rawclient import ask as ask_gateway
from rawclient import gateway, true

from infron.errors import ProviderUnavailable
from infron.runtime.local.model import LocalModel, explain
from infron.settings import Local

SMALL = Local(slots=1, context_tokens=512)


@pytest.fixture
def model() -> Iterator[LocalModel]:
    model = LocalModel.prepare(SMALL)
    if reason := model.missing():
        model.close()
        pytest.skip(reason)
    yield model
    model.close()


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(url)
    return await asyncio.open_connection(address.hostname, address.port)


async def ask(url: str, key: str) -> tuple[int, list[dict]]:
    """The status of one streamed completion, and its frames up to [DONE]."""
    reader, writer = await connect(url)
    body = json.dumps(
        {
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 8,
        }
    ).encode()
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: local\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s" % (key.encode(), len(body), body)
    )
    try:
        status = int((await reader.readline()).split()[1])
        frames = []
        async for line in reader:
            if line == b"data: [DONE]\n":
                break
            if line.startswith(b"data: "):
                frames.append(json.loads(line[6:]))
        return status, frames
    finally:
        writer.close()


def another_worker(model: LocalModel) -> subprocess.Popen[bytes]:
    """A second process with the same file and pipe: it prints what `ensure` gives, and lives until its input ends."""
    file, lifeline = model._file, model._lifeline
    program = (
        "import asyncio, sys\n"
        "from infron.settings import Local\n"
        "from infron.runtime.local.model import LocalModel\n"
        f"model = LocalModel(Local(slots=1, context_tokens=512), {file}, {lifeline})\n"
        "print(*asyncio.run(model.ensure()), flush=True)\n"
        "sys.stdin.read()\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(file, *lifeline)
    )


async def test_it_streams_a_real_answer_with_usage_to_whoever_has_the_key(model: LocalModel) -> None:
    url, key = await model.ensure()
    status, frames = await ask(url, key)
    assert status == 200
    assert any(choice["delta"].get("content") for frame in frames for choice in frame["choices"])
    assert frames[-1]["usage"]["completion_tokens"] > 0
    assert (await ask(url, "another key"))[0] == 401


async def test_callers_who_come_while_it_starts_wait_for_the_same_start(model: LocalModel) -> None:
    assert model.pid is None
    impatient = asyncio.create_task(model.ensure())
    others = [asyncio.create_task(model.ensure()) for _ in range(4)]
    await asyncio.sleep(0)
    impatient.cancel()
    assert len(set(await asyncio.gather(*others))) == 1
    assert impatient.cancelled()
    assert await model.ensure() == others[0].result()


async def test_a_model_that_was_killed_is_started_again_on_the_next_use(model: LocalModel) -> None:
    before, pid = await model.ensure(), model.pid
    assert pid
    reader, writer = await connect(before[0])
    os.kill(pid, signal.SIGKILL)
    assert await reader.read() == b""
    writer.close()
    assert model.pid is None
    after = await model.ensure()
    assert after != before
    assert (await ask(*after))[0] == 200
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)  # no zombie is left either


async def test_a_gateway_starts_a_model_that_was_killed_again(model: LocalModel) -> None:
    """Its address was asked for once: after a crash every later request went there, and was a 502 for ever."""
    async with gateway(local={"enabled": True, "slots": 1, "context_tokens": 512}) as running:
        bundled = running.context.providers.bundled
        assert bundled is not None
        for _ in range(2):
            client = await (await ask_gateway(running.port, model="local/smollm2-135m", max_tokens=4)).head()
            await client.rest()
            assert (client.status, client.frames()[-1]) == (200, "[DONE]")
            assert not any("error" in frame for frame in client.frames()[:-1])
            assert bundled.pid is not None
            os.kill(bundled.pid, signal.SIGKILL)
            await true(lambda: bundled.pid is None)


async def test_ctrl_c_in_the_terminal_does_not_reach_it(model: LocalModel) -> None:
    await model.ensure()
    assert model.pid
    assert os.getsid(model.pid) != os.getsid(0)


async def test_two_workers_that_start_it_at_once_share_one_and_the_last_one_takes_it_along(model: LocalModel) -> None:
    sibling = another_worker(model)
    assert sibling.stdout
    url, key = await model.ensure()
    assert (await asyncio.to_thread(sibling.stdout.readline)).decode().split() == [url, key]
    reader, writer = await connect(url)

    os.close(model._lifeline[1])  # this worker goes
    model._lifeline = (model._lifeline[0], os.dup(model._lifeline[0]))
    assert (await ask(url, key))[0] == 200

    await asyncio.to_thread(sibling.communicate)  # and so does the other
    assert await reader.read() == b""
    writer.close()


async def test_a_gateway_that_closes_it_finds_it_gone(model: LocalModel) -> None:
    url, _ = await model.ensure()
    pid = model.pid
    assert pid
    gone = LocalModel(SMALL, os.dup(model._file), os.pipe())
    model.close()
    assert gone.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ConnectionRefusedError):
        await connect(url)
    model._file, model._lifeline, model._child = gone._file, gone._lifeline, None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (Local(enabled=False), "switched off"),
        (Local(gguf="/nowhere/model.gguf"), "There is no model file /nowhere/model.gguf"),
    ],
)
async def test_where_there_is_no_model_one_sentence_says_why(settings: Local, sentence: str) -> None:
    model = LocalModel.prepare(settings)
    if settings.enabled and "xllamacpp" in (model.missing() or ""):
        model.close()
        pytest.skip("xllamacpp is not installed")
    assert sentence in (model.missing() or "")
    with pytest.raises(ProviderUnavailable, match=sentence):
        await model.ensure()
    model.close()


async def test_a_file_that_is_no_model_is_named(model: LocalModel, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.gguf"
    garbage.write_bytes(b"GGUF but not really")
    broken = LocalModel.prepare(Local(gguf=str(garbage)))
    with pytest.raises(ProviderUnavailable, match=r"garbage\.gguf cannot be loaded"):
        await broken.ensure()
    broken.close()


async def test_a_processor_that_is_too_old_is_explained(
    model: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nkill -ILL $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ProviderUnavailable, match="AVX2"):
        await model.ensure()


@pytest.mark.parametrize(
    ("code", "sentence"), [(-signal.SIGKILL, "memory"), (-signal.SIGABRT, "signal 6"), (1, "exit code 1")]
)
def test_every_other_end_before_it_was_ready_gets_a_sentence(code: int, sentence: str) -> None:
    assert sentence in explain(code)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_bundled_model_knows_no_secret_of_the_gateway(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Native code that reads callers' prompts had every provider's key in its environment."""
    for name in ("OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "LLAMA_API_KEY", "INFRON_CONFIG", "SOME_TOKEN"):
        monkeypatch.setenv(name, "a-secret-word")
    await model.ensure()
    environ = Path(f"/proc/{model.pid}/environ").read_text()
    assert "a-secret-word" not in environ
    assert "PATH=" in environ
