# Not run here: no build of ONNX Runtime with the training API can be installed on the machine where this was written.
#
# Trains what `ddrc build models/ddrnet.ts --artifacts ort-training --out DIR` writes, by onnxruntime-training 1.19: python train.py DIR
import json
import sys
from pathlib import Path

import numpy as np
from onnxruntime.training.api import CheckpointState, Module, Optimizer

folder = Path(sys.argv[1])
device = "cpu"  # or "cuda", with a build of onnxruntime-training for it

state = CheckpointState.load_checkpoint(folder / "checkpoint")
module = Module(folder / "training_model.onnx", state, folder / "eval_model.onnx", device=device)
optimizer = Optimizer(folder / "optimizer_model.onnx", module)
# The rate of `ddrc build --lr` is taken where 0.001 is set, as it is by default; 0.002 is twice that rate.
# optimizer.set_learning_rate(0.002)

# Sixteen images of noise about four brightnesses, one for each class.
size = json.loads((folder / "manifest.json").read_text())["options"]["size"]
random = np.random.default_rng(0)
label = np.arange(16, dtype=np.int64) % 4
image = (label.reshape(-1, 1, 1, 1) / 4 + random.random((16, 3, size, size)) / 8).astype(np.float32)


def feeds(step):
    """The inputs in the order in which the module names them: dropout's seed is one of them in training, and another one at each step."""
    arrays = {"image": image, "label": label, "seed": np.array(step, dtype=np.int64)}
    return [arrays[name] for name in module.input_names()]


for step in range(50):
    module.train()
    loss, logits = module(*feeds(step))
    optimizer.step()
    module.lazy_reset_grad()  # without it, the gradients of the next batch are added
    print(f"step {step + 1} loss {float(loss):.4f}")

module.eval()
loss, logits = module(*feeds(0))
print(f"evaluation loss {float(loss):.4f}, {(logits.argmax(axis=1) == label).mean():.0%} right")

# The weights, for `ddrc convert trained weights.safetensors` and `ddrc build MODEL --weights weights.safetensors`: a model.onnx with probabilities,
# the names of the classes and the preprocessing. True: with Adam's moments, to go on from.
CheckpointState.save_checkpoint(state, folder / "trained", True)
# Or without ddrc: the part of eval_model.onnx, which must still be where it was loaded from, that makes the logits.
module.export_model_for_inferencing(folder / "inference.onnx", ["logits"])
