"""Stamp: a small batched editor. It adds one rank-one change per fact to one down-projection."""

import torch

from pytest_editpitfalls.editors import EditResult, Hyperparameters, LowRankDelta, Overlay


class StampHyperparameters(Hyperparameters):
    layer: int = 8
    """the block whose down-projection is written"""
    lr: float = 1.0
    """learning rate of Adam"""
    steps: int = 5
    """steps of Adam"""
    clamp: float = 4.0
    """longest change of the matrix's output, in lengths of the output itself"""


class Stamp:
    """Adds ``u k^T / (k^T k)`` for each fact; k is the matrix's input at the subject's last token, u is learnt."""

    hyperparameters = StampHyperparameters
    title = "Stamp"
    writes = "1 down-projection"

    def __init__(self, hyperparameters, resources):
        self.hp = hyperparameters
        self.host = resources.host
        self.module = self.host.down_projection_path(hyperparameters.layer)

    def prepare(self, progress=None):
        pass  # nothing is shared by all cases

    def edit(self, jobs, progress=None):
        """Writes the facts of all jobs at once; row i of every pass belongs to job owner[i]."""
        requests = [(i, request) for i, job in enumerate(jobs) for request in job.requests]
        owner = torch.tensor([i for i, _ in requests], device=self.host.device)
        prompts, subject_ends = zip(*(self.prompt(request) for _, request in requests), strict=True)
        targets = [self.host.encoder.target(request.target_new) for _, request in requests]
        before = [job.model for job in jobs]
        keys, lengths = self.read(before, owner, prompts, subject_ends)
        u = torch.zeros(len(requests), self.host.matrix_shape(self.hp.layer)[0], device=self.host.device)
        u = u.to(self.host.edit_dtype).requires_grad_()
        optimizer = torch.optim.Adam([u], lr=self.hp.lr)
        with torch.enable_grad():
            for _ in range(self.hp.steps):
                optimizer.zero_grad()
                changes = self.changes(len(jobs), owner, u, keys)
                models = [(*old, change) for old, change in zip(before, changes, strict=True)]
                with Overlay(self.host, models).rows(owner):
                    loss = self.loss(prompts, targets)
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    longest = self.hp.clamp * lengths
                    u *= (longest / u.norm(dim=1)).clamp(max=1)[:, None]
        changes = self.changes(len(jobs), owner, u.detach(), keys)
        return [EditResult((*job.model, change)) for job, change in zip(jobs, changes, strict=True)]

    def changes(self, jobs, owner, u, keys):
        scaled = keys / keys.square().sum(dim=1, keepdim=True)
        return [LowRankDelta(self.module, u[owner == i].T, scaled[owner == i].T) for i in range(jobs)]

    def prompt(self, request):
        start = request.prompt.index("{}")
        return self.host.encoder.subject_last(request.question, start, request.subject)

    @torch.no_grad()
    def read(self, models, owner, prompts, positions):
        """(rows, d_k) what the matrix gets at those positions, and (rows,) the length of what it gives."""
        found = []
        hook = self.host.module(self.module).register_forward_hook(lambda _, args, out: found.extend([*args, out]))
        try:
            with Overlay(self.host, models).rows(owner):
                self.states(prompts)
        finally:
            hook.remove()
        rows = torch.arange(len(prompts), device=self.host.device)
        given, got = (each[rows, list(positions)].to(self.host.edit_dtype) for each in found)
        return given, got.norm(dim=1)

    def loss(self, prompts, targets):
        """What the model pays for saying the targets, given as rows of prompt and target."""
        states = self.states([(*p, *t) for p, t in zip(prompts, targets, strict=True)])
        head = self.host.model.get_output_embeddings()
        total = 0.0
        for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
            logits = head(states[row, len(prompt) - 1 : len(prompt) + len(target) - 1])
            total += torch.nn.functional.cross_entropy(logits, torch.tensor(target, device=logits.device))
        return total

    def states(self, rows):
        """What the last block gives, (rows, tokens, hidden). Padded on the right; nothing looks at the padding."""
        longest = max(map(len, rows))
        ids = torch.tensor([[*row] + [0] * (longest - len(row)) for row in rows], device=self.host.device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=ids.device)
        return self.host.model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
