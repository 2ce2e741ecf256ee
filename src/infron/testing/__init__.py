"""The public test kit: a scripted provider with real failure shapes, and a whole gateway to put in front of it."""

from infron.testing.openai_chat import DONE, FINISH, ROLE, USAGE, delta, frame, text
from infron.testing.provider import RunningGateway, ScriptedProvider, gateway
from infron.testing.scripts import CUT, RESET, Answer, Call, Pause, Raw, Script, Step, Voice, Wait, split
from infron.testing.voices import SCRIPTS, speak

__all__ = [
    "CUT",
    "DONE",
    "FINISH",
    "RESET",
    "ROLE",
    "SCRIPTS",
    "USAGE",
    "Answer",
    "Call",
    "Pause",
    "Raw",
    "RunningGateway",
    "Script",
    "ScriptedProvider",
    "Step",
    "Voice",
    "Wait",
    "delta",
    "frame",
    "gateway",
    "speak",
    "split",
    "text",
]
