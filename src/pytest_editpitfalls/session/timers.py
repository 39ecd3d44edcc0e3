"""The timers that limit a single test, stopped while the engine works for many: pytest-timeout's and faulthandler's.

The first test of a batch runs the whole batch. On its own timer the batch would be cut off and begun again by each
next test.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class TestTimers:
    """Registered as a plugin, in every process of the run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._running: dict[str, Any] | None = None

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: object) -> None:
        """Remember how to start the timer again; pytest-timeout, or whoever replaces its timer, starts it."""
        self._running = {"item": item, "settings": settings}

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_timeout_cancel_timer(self) -> None:
        """No timer runs any more."""
        self._running = None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the timers of the running test inside the block; afterwards each begins again at its full time."""
        hook, running = self._config.hook, self._running
        restart_dump = _stop_dump(self._config)
        if running is not None:
            hook.pytest_timeout_cancel_timer(item=running["item"])
        try:
            yield
        finally:
            if restart_dump is not None:
                faulthandler.dump_traceback_later(**restart_dump)
            if running is not None:
                hook.pytest_timeout_set_timer(**running)


def seconds_per_test(config: pytest.Config) -> float | None:
    """Return what pytest-timeout gives every test; None where it gives no limit or is not there."""
    plugin: Any = config.pluginmanager.get_plugin("timeout")
    if not hasattr(plugin, "get_env_settings"):
        return None
    seconds: float | None = plugin.get_env_settings(config).timeout
    return seconds or None


def _stop_dump(config: pytest.Config) -> dict[str, Any] | None:
    """Stop the timer of ``faulthandler_timeout``, and return how to start it again; None where it does not run.

    With ``faulthandler_exit_on_timeout`` (pytest 9) it ends the process.
    """
    plugin = config.pluginmanager.get_plugin("faulthandler")
    if plugin is None or not (seconds := plugin.get_timeout_config_value(config)):
        return None
    faulthandler.cancel_dump_traceback_later()
    ends = getattr(plugin, "get_exit_on_timeout_config_value", None)
    return {
        "timeout": seconds,
        "file": config.stash[plugin.fault_handler_stderr_fd_key],
        "exit": ends is not None and ends(config),
    }
