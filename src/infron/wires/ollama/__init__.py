"""Ollama's API, the client's side: its streams are lines of JSON."""

from infron.wires.ollama.client_request import NAME, NEAR, PATHS, parse
from infron.wires.ollama.encoder import Accumulator, Encoder, render_error

ID_HEADER = b""

__all__ = ["ID_HEADER", "NAME", "NEAR", "PATHS", "Accumulator", "Encoder", "parse", "render_error"]
