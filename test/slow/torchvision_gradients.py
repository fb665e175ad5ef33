"""Logits, loss and gradients of a torchvision network in double precision, for comparison with ours.

usage: torchvision_gradients.py NAME OPTIONS FOLDER, with OPTIONS as JSON; writes FOLDER/in.safetensors and, in float64, out.safetensors
"""
import json
import math
import struct
import sys

import torch
import torchvision
from torch import nn
from torchvision.models.vision_transformer import ConvStemConfig, VisionTransformer

CLASSES = 3
KINDS = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}


def write(path, tensors, precision=torch.float32):
    header, chunks, at = {}, [], 0
    for name, tensor in tensors.items():
        to = precision if tensor.dtype.is_floating_point else torch.int64
        data = tensor.detach().to(to).contiguous().numpy().tobytes()
        header[name] = {"dtype": KINDS[to], "shape": list(tensor.shape), "data_offsets": [at, at + len(data)]}
        chunks.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def narrowed(model, width):
    """The same network with `width` in place of 64 filters in its first layer, and all others in proportion."""
    scale = lambda size: size if size in (3, CLASSES) else size * width // 64
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Conv2d):
                new = nn.Conv2d(scale(layer.in_channels), scale(layer.out_channels), layer.kernel_size, layer.stride, layer.padding)
            elif isinstance(layer, nn.Linear):
                new = nn.Linear(scale(layer.in_features), scale(layer.out_features))
            else:
                continue
            nn.init.kaiming_normal_(new.weight, nonlinearity="relu")
            setattr(parent, name, new)
    return model


def kernel_size(channels):
    """As the authors of ECA-Net round it."""
    size = int(abs((math.log2(channels) + 1) / 2))
    return size if size % 2 else size + 1


class Vgg16Eca(nn.Module):
    def __init__(self, vgg):
        super().__init__()
        self.features, self.avgpool, self.classifier = vgg.features, vgg.avgpool, vgg.classifier
        channels = [vgg.features[i].out_channels for i in (2, 7, 14, 21, 28)]
        kernels = [kernel_size(c) for c in channels]
        self.eca = nn.ModuleList(nn.Conv1d(1, 1, k, padding=k // 2, bias=False) for k in kernels)

    def forward(self, x):
        attention = iter(self.eca)
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                x = x * torch.sigmoid(next(attention)(x.mean((2, 3)).unsqueeze(1))).squeeze(1)[:, :, None, None]
            x = layer(x)
        return self.classifier(self.avgpool(x).flatten(1))


def build(name, options):
    models = torchvision.models
    if name == "mobilenetv2":
        return models.mobilenet_v2(num_classes=CLASSES, width_mult=options["width"], dropout=0.0)
    if name == "alexnet":
        return narrowed(models.AlexNet(CLASSES, dropout=0.0), options["width"])
    if name == "vgg16-eca":
        return Vgg16Eca(narrowed(models.vgg16(num_classes=CLASSES, dropout=0.0), options["width"]))
    dim = options["dim"]
    stem = [ConvStemConfig(dim // share, 3, 2) for share in (8, 4, 2, 1)] if options["stem"] == "convolutional" else None
    return VisionTransformer(
        options["size"], 16, options["depth"], options["heads"], dim, 4 * dim, num_classes=CLASSES, conv_stem_configs=stem
    )


def main(name, options, folder):
    torch.manual_seed(7)
    options = json.loads(options)
    model = build(name, options)
    around = lambda tensor, reach: (2 * torch.rand_like(tensor) - 1) * reach
    with torch.no_grad():
        # No scale, shift, mean or variance stays 0 or 1, and neither do zeros that are only an initial value.
        for p in model.parameters():
            p += around(p, 0.2 if p.dim() == 1 else 0.02)
        for key, buffer in model.named_buffers():
            if buffer.dtype.is_floating_point:
                buffer += around(buffer, 0.2)
    model = model.double()
    size = options["size"]
    image, label = torch.rand(3, 3, size, size), torch.tensor([2, 0, 1])
    write(f"{folder}/in.safetensors", {**model.state_dict(), "image": image, "label": label})

    model.eval()
    out = {"eval_logits": model(image.double())}
    model.train()
    logits = model(image.double())
    loss = nn.functional.cross_entropy(logits, label)
    loss.backward()
    out.update({"train_logits": logits, "loss": loss, **{f"grad:{key}": p.grad for key, p in model.named_parameters()}})
    write(f"{folder}/out.safetensors", out, torch.float64)


main(*sys.argv[1:])
