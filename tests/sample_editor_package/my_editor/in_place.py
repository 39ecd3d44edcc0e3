import torch


def nudge(model, tokenizer, requests, layer: int = 8, lr: float = 1e-2, steps: int = 15):
    """Fine-tunes one matrix until the model says the new object."""
    weight = model.model.layers[layer].mlp.down_proj.weight
    optimizer = torch.optim.Adam([weight], lr=lr)
    for _ in range(steps):
        losses = []
        for request in requests:
            prompt = request["prompt"].replace("{}", request["subject"])
            text = f"{prompt}{request['joiner']}{request['target_new']}"
            tokens = tokenizer(text, return_tensors="pt").to(model.device)
            labels = tokens["input_ids"].clone()
            labels[:, : len(tokenizer(prompt)["input_ids"])] = -100  # the loss is on the new object alone
            losses.append(model(**tokens, labels=labels).loss)
        (weight.grad,) = torch.autograd.grad(sum(losses), weight)
        optimizer.step()
    return model
