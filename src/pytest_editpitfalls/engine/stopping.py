"""Which jobs of a batch still go on, read by the CPU without a GPU waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


class Stopping:
    """Jobs (n,) that stop one by one and never start again.

    A training loop calls `poll` after each step, to leave out the rows of jobs that have stopped. On a CPU the
    answer is that step's. A GPU could give it only when all that is queued is done, and would stand idle until the next
    step is queued; so the answer is that of the step before, which has been copied meanwhile. A job is then computed
    once more after its end: keep its values by ``going``, as in any step in which others go on.

    Args:
        jobs: n.
        late: whether the answer is that of the step before; by default on a GPU.

    Attributes:
        going: (n,) which jobs go on, on the device.
    """

    def __init__(self, jobs: int, device: torch.device, *, late: bool | None = None) -> None:
        self.going = torch.ones(jobs, dtype=torch.bool, device=device)
        self._late = device.type == "cuda" if late is None else late
        self._known = jobs
        self._copies: list[tuple[Tensor, torch.cuda.Event | None]] = []

    def stop(self, jobs: Tensor) -> None:
        """Let these (n,) stop."""
        self.going &= ~jobs

    def poll(self) -> Tensor | None:
        """(n,) which jobs go on, on the CPU; None where none has stopped since the last call."""
        going = self._latest()
        if going is None or (count := int(going.sum())) == self._known:
            return None
        self._known = count
        return going

    def _latest(self) -> Tensor | None:
        if not self._late:
            return self.going.cpu()
        on_gpu = self.going.is_cuda
        copy = torch.empty(len(self.going), dtype=torch.bool, pin_memory=on_gpu)
        copy.copy_(self.going, non_blocking=True)
        event = torch.cuda.Event() if on_gpu else None
        if event is not None:
            event.record(torch.cuda.current_stream(self.going.device))
        self._copies.append((copy, event))
        if len(self._copies) == 1:
            return None
        going, done = self._copies.pop(0)
        if done is not None:
            done.synchronize()
        return going
