"""The starter's CLIP in PyTorch, with the parameter names of its checkpoint, and a training step as the library takes it."""
import json
import os
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import blas
import worker

STEM_GROUPS = 8


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, mask):
        b, l, d = x.shape
        q, k, v = (p(x).view(b, l, self.heads, d // self.heads).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        scores = q @ k.transpose(-2, -1) * (d // self.heads) ** -0.5
        if mask is not None:
            scores = scores + mask
        return self.out_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, l, d))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, hidden, eps = c["hidden_size"], c["intermediate_size"], c["layer_norm_eps"]
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.self_attn = Attention(width, c["num_attention_heads"])
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, x, mask=None):
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.layer_norm2(x))))


def layers(c):
    return nn.ModuleDict({"layers": nn.ModuleList(Block(c) for _ in range(c["num_hidden_layers"]))})


class Vision(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, eps = c["hidden_size"], c["layer_norm_eps"]
        patches = (c["image_size"] // c["patch_size"]) ** 2
        stem, channels = [], c["num_channels"]
        first_halving = len(c["stem_channels"]) - (c["patch_size"].bit_length() - 1)
        for i, out in enumerate(c["stem_channels"]):
            conv = nn.Conv2d(channels, out, 3, 1 if i < first_halving else 2, 1, bias=False)
            stem.append(nn.ModuleDict({"conv": conv, "norm": nn.GroupNorm(STEM_GROUPS, out, eps)}))
            channels = out
        self.embeddings = nn.ModuleDict({
            "stem": nn.ModuleList(stem),
            "patch_embedding": nn.Conv2d(channels, width, 1, bias=False),
            "position_embedding": nn.Embedding(1 + patches, width),
        })
        self.embeddings.register_parameter("class_embedding", nn.Parameter(torch.zeros(width)))
        self.pre_layrnorm, self.post_layernorm = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.encoder = layers(c)

    def forward(self, x):
        for layer in self.embeddings["stem"]:
            x, norm = layer["conv"](x), layer["norm"]
            # In bf16, old releases refuse a norm whose weights autocast has left in fp32.
            x = F.gelu(F.group_norm(x, norm.num_groups, norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps))
        x = self.embeddings["patch_embedding"](x).flatten(2).transpose(1, 2)
        cls = self.embeddings.class_embedding.expand(x.shape[0], 1, -1)
        x = self.pre_layrnorm(torch.cat([cls, x], 1) + self.embeddings["position_embedding"].weight)
        for block in self.encoder["layers"]:
            x = block(x)
        return self.post_layernorm(x[:, 0])


class Text(nn.Module):
    def __init__(self, c):
        super().__init__()
        width = c["hidden_size"]
        self.embeddings = nn.ModuleDict({
            "token_embedding": nn.Embedding(c["vocab_size"], width),
            "position_embedding": nn.Embedding(c["max_position_embeddings"], width),
        })
        self.encoder = layers(c)
        self.final_layer_norm = nn.LayerNorm(width, c["layer_norm_eps"])

    def forward(self, ids):
        length = ids.shape[1]
        x = self.embeddings["token_embedding"](ids) + self.embeddings["position_embedding"].weight[:length]
        mask = torch.full((length, length), -torch.inf).triu(1)
        for block in self.encoder["layers"]:
            x = block(x, mask)
        return self.final_layer_norm(x)[torch.arange(len(ids)), ids.argmax(1)]  # the end token has the highest id


class Clip(nn.Module):
    def __init__(self, c):
        super().__init__()
        vision, text, width = c["vision_config"], c["text_config"], c["projection_dim"]
        if {vision["hidden_act"], text["hidden_act"]} != {"gelu"}:
            raise ValueError("the script knows gelu only")
        self.vision_model, self.text_model = Vision(vision), Text(text)
        self.visual_projection = nn.Linear(vision["hidden_size"], width, bias=False)
        self.text_projection = nn.Linear(text["hidden_size"], width, bias=False)
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def loss(self, pixels, ids, groups):
        # Each distinct text goes through the tower once, as in the library.
        distinct, which = torch.unique(ids, dim=0, return_inverse=True)
        self.images = F.normalize(self.visual_projection(self.vision_model(pixels)).float(), dim=-1)
        texts = F.normalize(self.text_projection(self.text_model(distinct)).float(), dim=-1)[which]
        logits = self.logit_scale.exp() * self.images @ texts.T
        positive = (groups[:, None] == groups[None, :]).float()

        def rows(logits, positive):
            return -(F.log_softmax(logits, 1) * positive / positive.sum(1, keepdim=True)).sum(1).mean()

        return (rows(logits, positive) + rows(logits.T, positive.T)) / 2


def read_safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            values = np.frombuffer(data[begin:end], {"F32": np.float32, "F16": np.float16}[entry["dtype"]])
            tensors[name] = torch.tensor(values.astype(np.float32)).reshape(entry["shape"])
    return tensors


state = {}


def load(folder, pixels, size, ids, groups, templates, threads):
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    with open(os.path.join(folder, "config.json")) as file:
        model = Clip(json.load(file))
    model.load_state_dict(read_safetensors(os.path.join(folder, "model.safetensors")))
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
                                  lr=1e-3, betas=(0.9, 0.98), eps=1e-6)
    state.update(
        model=model, optimizer=optimizer, average=[p.detach().clone() for p in model.parameters()], templates=templates,
        pixels=torch.tensor(np.fromfile(pixels, np.float32)).reshape(-1, 3, size, size), ids=torch.tensor(ids),
        groups=torch.tensor(groups))
    return {}


def check(caption):
    model = state["model"]
    model.zero_grad()
    loss = model.loss(state["pixels"], state["ids"][torch.tensor(caption)], state["groups"])
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), float("inf"))
    return {"embeds": model.images.tolist(), "loss": loss.item(), "norm": norm.item()}


def step(batch, bf16):
    model, optimizer = state["model"], state["optimizer"]
    rows = torch.randint(len(state["pixels"]), (batch,))
    pixels, groups = state["pixels"][rows], state["groups"][rows]
    pixels = torch.where(torch.rand(batch, 1, 1, 1) < 0.5, pixels.flip(3), pixels)
    ids = state["ids"][groups * state["templates"] + torch.randint(state["templates"], (batch,))]
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = model.loss(pixels, ids, groups)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(max=np.log(100))
        torch._foreach_mul_(state["average"], 0.999)
        torch._foreach_add_(state["average"], list(model.parameters()), alpha=0.001)
    if not np.isfinite(loss.item()):
        raise ValueError("the loss is not finite")


def train(batch, warm_up, steps, bf16):
    for _ in range(warm_up):
        step(batch, bf16)
    start = time.perf_counter()
    for _ in range(steps):
        step(batch, bf16)
    return {"seconds": time.perf_counter() - start}


worker.serve({"PyTorch": torch.__version__, "OpenBLAS": blas.describe()}, load=load, check=check, train=train)
