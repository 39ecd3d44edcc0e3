"""What the model thinks of the facts: the scores that build_suites.py selects cases by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HIDDEN_LAYER = 20
Objects = Mapping[str, Mapping[str, tuple[str, ...]]]


class ModelScorer:
    """The builder's `Scorer`: asks a Hugging Face model in float32; answers are kept.

    Args:
        directory: Hugging Face model directory.
        relations: the tables of ``relations.toml``.
        objects: relation to subject to true objects.
    """

    def __init__(self, directory: str, relations: dict[str, Any], objects: Objects) -> None:
        self.relations = relations
        self.objects = objects
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        self._known: dict[tuple[str, str], dict[str, float]] = {}
        self._vectors: dict[tuple[str, str], Any] = {}
        self._centre: dict[str, Any] = {}

    def _labels(self, relation: str) -> list[str]:
        return list(dict.fromkeys(o for known in self.objects[relation].values() for o in known))

    def _ids(self, relation: str, subject: str, label: str) -> tuple[list[int], list[int]]:
        prompt = self.relations[relation]["prompt"].replace("{}", subject, 1)
        start = self.tokenizer(prompt)["input_ids"]
        target = self.tokenizer(" " + label, add_special_tokens=False)["input_ids"]
        return start, target

    def logprob(self, relation: str, subject: str, label: str) -> float:
        """Mean log-probability of the label's tokens after the rewrite prompt and one space."""
        known = self._known.setdefault((relation, subject), {})
        if label not in known:
            # Asked for one label, a prompt is nearly always asked for all: score them together.
            labels = [o for o in {*self._labels(relation), label} if o not in known]
            known.update(zip(labels, self._score(relation, subject, labels), strict=True))
        return known[label]

    def _score(self, relation: str, subject: str, labels: list[str]) -> list[float]:
        start, _ = self._ids(relation, subject, labels[0])
        targets = [self._ids(relation, subject, label)[1] for label in labels]
        with torch.no_grad():
            out = self.model(torch.tensor([start]), use_cache=True)
            first = out.logits[0, -1].log_softmax(-1)
            scores = [[float(first[target[0]])] for target in targets]
            longer = [i for i, target in enumerate(targets) if len(target) > 1]
            if longer:
                width = max(len(targets[i]) for i in longer) - 1
                rows = torch.zeros(len(longer), width, dtype=torch.long)
                mask = torch.zeros(len(longer), len(start) + width, dtype=torch.long)
                mask[:, : len(start)] = 1
                for row, i in enumerate(longer):
                    rows[row, : len(targets[i]) - 1] = torch.tensor(targets[i][:-1])
                    mask[row, len(start) : len(start) + len(targets[i]) - 1] = 1
                cache = out.past_key_values
                cache.batch_repeat_interleave(len(longer))
                positions = torch.arange(len(start), len(start) + width).repeat(len(longer), 1)
                hidden = self.model.get_decoder()(
                    input_ids=rows, attention_mask=mask, position_ids=positions, past_key_values=cache
                ).last_hidden_state
                # The vocabulary projection only where a token is predicted: padding is most of the rows.
                logits = self.model.get_output_embeddings()(hidden[mask[:, len(start) :].bool()])
                tokens = torch.tensor([token for i in longer for token in targets[i][1:]])
                values = iter((logits[range(len(tokens)), tokens] - logits.logsumexp(-1)).tolist())
                for i in longer:
                    scores[i] += [next(values) for _ in targets[i][1:]]
        return [sum(score) / len(score) for score in scores]

    def _vector(self, relation: str, subject: str, label: str) -> Any:
        key = (f"{relation}/{subject}", label)
        if key not in self._vectors:
            start, target = self._ids(relation, subject, label)
            with torch.no_grad():
                hidden = self.model(torch.tensor([start + target]), output_hidden_states=True).hidden_states[
                    HIDDEN_LAYER
                ]
            self._vectors[key] = hidden[0, len(start) :].mean(0)
        return self._vectors[key]

    def closeness(self, relation: str, subject: str, label: str) -> float:
        """Cosine of the object's centred vector to the mean of its siblings' (see build_suites.py)."""
        if relation not in self._centre:
            known = self.objects[relation].items()
            every = [self._vector(relation, other, o) for other, true in known for o in true]
            self._centre[relation] = torch.stack(every).mean(0)
        centre = self._centre[relation]
        siblings = [o for o in self.objects[relation][subject] if o != label]
        mean = torch.stack([self._vector(relation, subject, o) - centre for o in siblings]).mean(0)
        own = self._vector(relation, subject, label) - centre
        return float(torch.nn.functional.cosine_similarity(own, mean, dim=0))
