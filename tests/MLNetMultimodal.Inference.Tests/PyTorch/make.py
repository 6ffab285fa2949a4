"""Writes the two folders beside this file with PyTorch's own exporter (1.13), in the way of optimum: a text encoder whose graph gives
tokens, and a model of both senses whose graph leaves every size open. Their model types are of no family here.
expected.json holds what PyTorch computes."""
import json
import os
import torch

WIDTH, CONTEXT, SCALE = 8, 16, 3.5
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "run", "##s", "red"]
TEXTS = {"a cat": ["a", "cat"], "A red dog runs": ["a", "red", "dog", "run", "##s"]}


class Text(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(len(WORDS), WIDTH)
        self.positions = torch.nn.Embedding(CONTEXT, WIDTH)
        self.types = torch.nn.Embedding(2, WIDTH)
        self.layer = torch.nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True, dropout=0.0)

    def forward(self, input_ids, attention_mask, token_type_ids):
        x = self.words(input_ids) + self.positions(torch.arange(input_ids.shape[1])) + self.types(token_type_ids)
        return self.layer(x, src_key_padding_mask=attention_mask == 0)


class Both(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = torch.nn.Conv2d(3, WIDTH, 4, 4)
        self.words = torch.nn.Embedding(len(WORDS), WIDTH)
        self.image = torch.nn.Linear(WIDTH, 6, bias=False)
        self.text = torch.nn.Linear(WIDTH, 6, bias=False)
        self.logit_scale = torch.nn.Parameter(torch.tensor(SCALE))

    def forward(self, input_ids, pixel_values, attention_mask):
        keep = attention_mask.unsqueeze(-1).float()
        text = torch.nn.functional.normalize(self.text((self.words(input_ids) * keep).sum(1) / keep.sum(1)), dim=-1)
        image = torch.nn.functional.normalize(self.image(self.patches(pixel_values).flatten(2).mean(2)), dim=-1)
        logits = image @ text.T * self.logit_scale.exp()
        return logits, logits.T, text, image


def ids(words):
    return torch.tensor([[2, *(WORDS.index(w) for w in words), 3]])


def write(name, content):
    os.makedirs(os.path.dirname(name), exist_ok=True)
    with open(name, "w") as file:
        file.write(content if isinstance(content, str) else json.dumps(content) + "\n")


os.chdir(os.path.dirname(os.path.abspath(__file__)))
torch.manual_seed(0)
text, both = Text(), Both()
for folder, config in (("text", {"model_type": "mpnet", "max_position_embeddings": CONTEXT}), ("both", {"model_type": "align"})):
    write(f"{folder}/config.json", config)
    write(f"{folder}/vocab.txt", "\n".join(WORDS) + "\n")
    write(f"{folder}/tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "model_max_length": CONTEXT, "do_lower_case": True})
write("both/preprocessor_config.json", {
    "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": 8}, "do_center_crop": True,
    "crop_size": {"height": 8, "width": 8}, "resample": 3, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]})

sample = ids(["a", "cat"])
mask, types = torch.ones_like(sample), torch.zeros_like(sample)
tokens = {0: "batch_size", 1: "sequence_length"}
os.makedirs("text/onnx", exist_ok=True)
torch.onnx.export(
    text, (sample, mask, types), "text/onnx/model.onnx", opset_version=14, training=torch.onnx.TrainingMode.PRESERVE,
    input_names=["input_ids", "attention_mask", "token_type_ids"], output_names=["last_hidden_state"],
    dynamic_axes={name: tokens for name in ("input_ids", "attention_mask", "token_type_ids", "last_hidden_state")})
texts = {0: "text_batch_size", 1: "sequence_length"}
torch.onnx.export(
    both, (sample, torch.randn(2, 3, 8, 8), mask), "both/model.onnx", opset_version=14,
    input_names=["input_ids", "pixel_values", "attention_mask"],
    output_names=["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"],
    dynamic_axes={"input_ids": texts, "attention_mask": texts,
                  "pixel_values": {0: "image_batch_size", 1: "num_channels", 2: "height", 3: "width"},
                  "logits_per_image": {0: "image_batch_size", 1: "text_batch_size"},
                  "logits_per_text": {0: "text_batch_size", 1: "image_batch_size"},
                  "text_embeds": {0: "text_batch_size"}, "image_embeds": {0: "image_batch_size"}})

pixels = torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)
with torch.no_grad():
    pooled = [text(i, torch.ones_like(i), torch.zeros_like(i)).mean(1) for i in map(ids, TEXTS.values())]
    pairs = [both(i, pixels, torch.ones_like(i)) for i in map(ids, TEXTS.values())]
    write("./expected.json", {
        "texts": list(TEXTS), "text": [torch.nn.functional.normalize(p)[0].tolist() for p in pooled],
        "both_text": [p[2][0].tolist() for p in pairs], "both_image": pairs[0][3][0].tolist(),
        "logits": [p[0][0, 0].item() for p in pairs], "logit_scale": both.logit_scale.exp().item()})
