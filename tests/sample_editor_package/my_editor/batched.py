import torch

from pytest_editpitfalls.editors import EditResult, Hyperparameters, LowRankDelta, Overlay


class RankOneHyperparameters(Hyperparameters):
    layer: int = 8
    """the block whose down-projection is written"""
    lr: float = 0.5
    """learning rate of Adam"""
    steps: int = 15
    """steps of Adam"""


class RankOne:
    """Adds ``u k^T / (k^T k)`` to a down-projection; k is the input at the last token, u is learnt."""

    hyperparameters = RankOneHyperparameters
    title = "rank one"
    writes = "1 down-projection"

    def __init__(self, hyperparameters, resources):
        self.hp = hyperparameters
        self.host = resources.host
        self.module = self.host.down_projection_path(hyperparameters.layer)

    def prepare(self, progress=None):
        pass  # what all cases share would be computed here

    def edit(self, jobs, progress=None):
        rows = [(i, request) for i, job in enumerate(jobs) for request in job.requests]
        owner = torch.tensor([i for i, _ in rows], device=self.host.device)
        encoder = self.host.encoder
        prompts = [encoder.prompt(request.question) for _, request in rows]
        targets = [encoder.target(request.target_new, request.joiner) for _, request in rows]
        keys = self.keys([job.model for job in jobs], owner, prompts)
        d_o, _ = self.host.matrix_shape(self.hp.layer)
        u = torch.zeros(len(rows), d_o, dtype=self.host.edit_dtype, device=self.host.device, requires_grad=True)
        optimizer = torch.optim.Adam([u], lr=self.hp.lr)
        with torch.enable_grad():
            for _ in range(self.hp.steps):
                optimizer.zero_grad()
                models = [self.edited(i, job, owner, u, keys) for i, job in enumerate(jobs)]
                # every row is answered by its own case's model, in one pass
                with Overlay(self.host, models).rows(owner):
                    loss = self.loss(prompts, targets)
                loss.backward()
                optimizer.step()
        u = u.detach()
        return [EditResult(self.edited(i, job, owner, u, keys)) for i, job in enumerate(jobs)]

    def edited(self, i, job, owner, u, keys):
        mine = owner == i
        return (*job.model, LowRankDelta(self.module, u[mine].T, keys[mine].T))

    @torch.no_grad()
    def keys(self, models, owner, prompts):
        """(rows, d_k) what the matrix gets at the last token of each prompt, divided by its square."""
        found = []
        hook = self.host.module(self.module).register_forward_pre_hook(lambda _, args: found.append(args[0]))
        try:
            with Overlay(self.host, models).rows(owner):
                self.logits(prompts)
        finally:
            hook.remove()
        last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=self.host.device)
        keys = found[0][torch.arange(len(prompts), device=last.device), last].to(self.host.edit_dtype)
        return keys / keys.square().sum(dim=1, keepdim=True)

    def loss(self, prompts, targets):
        logits = self.logits([(*p, *t) for p, t in zip(prompts, targets, strict=True)])
        total = 0.0
        for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
            own = logits[row, len(prompt) - 1 : len(prompt) + len(target) - 1]
            total = total + torch.nn.functional.cross_entropy(own, torch.tensor(target, device=own.device))
        return total

    def logits(self, rows):
        """Rows padded on the right; nothing looks at the padding."""
        longest = max(map(len, rows))
        ids = torch.tensor([[*row] + [0] * (longest - len(row)) for row in rows], device=self.host.device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=ids.device)
        return self.host.model(input_ids=ids, attention_mask=mask).logits
