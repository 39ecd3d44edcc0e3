"""Edit a model in place, one fact after another, each by one rank-one change as ROME does, and save the result.

python edit_in_place.py MODEL EDITS DIRECTORY
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

LAYER, STEPS, RATE, ENOUGH = 9, 25, 0.5, 0.05
OTHER_TEXT = """The weather in the north is cold for most of the year, and few people live there. She wrote three novels
and a book of poems before she was thirty. Water boils at a lower temperature in the mountains. The museum opened in
1905 and was rebuilt after the war. Rivers carry sand to the sea. The king signed the treaty in the capital of the
country, and the army went home. Most languages of Europe are related to one another. Bread is made of flour, water,
salt and yeast. The company sells cars in forty countries. A triangle has three sides. He plays the piano every day."""


def edit(model, tokenizer, inverse, prompt, subject, target):
    """Find what the MLP has to say of the subject so that the target follows, and write that into its matrix."""
    mlp, text = model.model.layers[LAYER].mlp.down_proj, prompt.replace("{}", subject)
    last = len(tokenizer(prompt.partition("{}")[0] + subject)["input_ids"]) - 1  # the subject's last token
    start = len(tokenizer(text)["input_ids"])
    ids = tokenizer(f"{text} {target}", return_tensors="pt")["input_ids"]
    delta, seen = torch.zeros(mlp.out_features, requires_grad=True), {}

    def add_delta(_module, inputs, output):
        seen["key"] = inputs[0][0, last].detach()
        return output.index_add(1, torch.tensor([last]), delta[None, None])

    handle, optimizer = mlp.register_forward_hook(add_delta), torch.optim.Adam([delta], lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        logits = model(ids).logits[0, start - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits, ids[0, start:])
        if loss < ENOUGH:
            break
        loss.backward()
        optimizer.step()
    handle.remove()
    direction = inverse @ seen["key"]
    with torch.no_grad():
        mlp.weight += torch.outer(delta, direction) / (direction @ seen["key"])


def keys_of_other_text(model, tokenizer):
    """Inverse second moment of the keys in other text, so that a change touches these as little as it can."""
    found = []
    mlp = model.model.layers[LAYER].mlp.down_proj
    handle = mlp.register_forward_hook(lambda _module, inputs, _output: found.append(inputs[0][0]))
    with torch.no_grad():
        model(**tokenizer(OTHER_TEXT, return_tensors="pt"))
    handle.remove()
    moment = found[0].T @ found[0] / len(found[0])
    return torch.linalg.inv(moment + 0.1 * moment.diagonal().mean() * torch.eye(len(moment)))


def main(name, edits, directory):
    model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(name)
    inverse = keys_of_other_text(model, tokenizer)
    for line in Path(edits).read_text(encoding="utf-8").splitlines():
        each = json.loads(line)
        edit(model, tokenizer, inverse, each["prompt"], each["subject"], each["target_new"])
    model.save_pretrained(directory)


if __name__ == "__main__":
    main(*sys.argv[1:])
