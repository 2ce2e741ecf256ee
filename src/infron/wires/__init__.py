"""The wire formats by name, each with both directions. The chat wire fills four files: `openai_chat` and its parts.

It never knows an exchange: a wire is asked, and answers with values. A wire offers to the client's side:
`parse_request(body) -> Request`, `Encoder` and `Folder` (events to the client's bytes), `render_error(error) -> bytes`,
`usage_object` and `cost_members`; to the provider's side: `encode_request(request, provider, own_id, ask_usage) ->
bytes`, `asks_usage(provider)`, `Decoder` (the provider's bytes to events) and `parse_error(status, headers, body,
provider, key, now) -> InfronError`.
"""

from types import ModuleType

from infron.wires import openai_chat

WIRES: dict[str, ModuleType] = {"openai-chat": openai_chat}
