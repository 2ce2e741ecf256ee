"""The process that computes: llama.cpp's own HTTP server over one GGUF file, on a loopback port of its choice.

It never knows the gateway: `local` starts it, it says in a file where it listens, and ends with its standard input.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import signal
import sys
import time
from typing import Any

SUPERFLUOUS = 3  # exit code: another process serves already
CONNECTIONS = 128  # each holds a thread, idle ones for 5 s; one more would wait for that

# The template inside the box's own file, but with a system prompt that a model this small answers better to.
TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant.<|im_end|>\\n' }}"
    "{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def alone(file: int) -> bool:
    """Take the lock that says "there is a process", for life. False if another one has it."""
    for _ in range(20):  # whoever looks whether the lock is free has it for a moment
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(0.005)
        else:
            return True
    return False


def parameters(library: Any, options: dict[str, Any], key: str) -> Any:
    """llama.cpp's parameters for `options` (see `main`)."""
    params = library.CommonParams()
    params.model.path = options["gguf"]
    params.hostname, params.port, params.api_keys = "127.0.0.1", 0, [key]
    params.webui = False
    params.warmup = False
    params.verbosity = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options["threads"]
    params.n_threads_http = CONNECTIONS
    params.n_parallel = options["slots"]
    params.n_ctx = options["slots"] * options["context_tokens"]
    params.kv_unified = False  # a shared cache that fills up fails every answer at once
    params.n_batch = params.n_ubatch = 128  # long prompts in short steps: other answers go on, leaving is noticed soon
    params.cache_ram_mib = 0  # the default keeps up to 8 GiB of old prompts
    if options["boxed"]:
        params.chat_template = TEMPLATE
    return params


def main() -> int:
    """Arguments: a JSON object (gguf, boxed, threads, slots, context_tokens), and the number of the file to report in.

    The report is one JSON object: `url`, `key` and `pid`, or `error`. Returns the exit code.
    """
    options, file = json.loads(sys.argv[1]), int(sys.argv[2])
    key = os.environ.pop("INFRON_LOCAL_KEY")
    if not alone(file):
        return SUPERFLUOUS
    os.ftruncate(file, 0)

    def report(**facts: str | int) -> None:
        os.pwrite(file, json.dumps(facts).encode(), 0)

    try:
        library = importlib.import_module("xllamacpp")
        server = library.Server(parameters(library, options, key))
    except (ImportError, OSError) as error:
        report(error=f"The local model cannot run here: {error}.")
        return 1
    except RuntimeError as error:
        report(error=f"The model file {options['gguf']} cannot be loaded: {error}.")
        return 1
    # The server has taken these two for itself, and would swallow them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    report(url=f"{server.listening_address}/v1", key=key, pid=os.getpid())
    sys.stdin.buffer.read()  # until the last process of the gateway is gone
    os._exit(0)  # the server's threads do not end by themselves


if __name__ == "__main__":
    sys.exit(main())
