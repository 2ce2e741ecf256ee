"""The wire formats by name. Each is one file that holds both directions.

A wire offers: `parse_request(body) -> Request`, `Encoder` and `Folder` (events to the client's bytes),
`render_error(error) -> bytes`; `encode_request(request, provider, own_id, ask_usage) -> bytes`, `Decoder` (the
provider's bytes to events) and `parse_error(status, headers, body, provider) -> InfronError`.
"""

from types import ModuleType

from infron.wires import openai_chat

WIRES: dict[str, ModuleType] = {"openai-chat": openai_chat}
