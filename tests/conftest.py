"""What all tests share: the loop of production, and property tests that try the same values in each run.

So a change alone can turn one red. `HYPOTHESIS_PROFILE=exploring` tries others each time; `make fuzz` does so for an
hour.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

try:
    import uvloop
except ImportError:  # not on Windows, and not for every Python
    uvloop = None  # type: ignore[assignment]

MOST_WORKERS = 8

# How long an example takes says how busy the machine is.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", patient, derandomize=True)
settings.register_profile("exploring", patient)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    """The loop that the gateway runs on in production."""
    return {"loop": uvloop.new_event_loop if uvloop else asyncio.new_event_loop}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two for each core that is ours: most tests wait more than they compute."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(2 * cores, MOST_WORKERS)
