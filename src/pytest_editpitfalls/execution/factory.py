"""Makes the executor that the user asked for."""

from __future__ import annotations

from pytest_editpitfalls.options.config import RunConfig

from .executor import Executor, ProgressListener
from .local import LocalExecutor


def make_executor(run: RunConfig, listener: ProgressListener, sharing: int = 1) -> Executor:
    """Return the executor that the user asked for; it loads nothing before it is asked something.

    Args:
        run: what the user asked for.
        listener: learns about progress.
        sharing: processes of the run that share the device, this one included.
    """
    if run.engine == "ray":
        from .ray.executor import RayExecutor  # Ray is an optional dependency

        return RayExecutor(run, listener)
    return LocalExecutor(run, listener, sharing)
