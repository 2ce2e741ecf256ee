"""One scripted provider for all tests of a module that only look at what stands before it."""

import pytest
import pytest_asyncio

from infron.testing import DONE, FINISH, ROLE, USAGE, ScriptedProvider, text

HELLO = [ROLE, text("Hello"), FINISH, USAGE, DONE]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def playing():
    async with ScriptedProvider(HELLO) as playing:
        yield playing


@pytest.fixture
def provider(playing):
    """The provider behind the gateway, without the calls of other tests."""
    playing.calls.clear()
    return playing
