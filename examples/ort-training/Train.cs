// Not run here: no build of ONNX Runtime with the training API can be installed on the machine where this was written.
//
// Trains what `ddrc build models/ddrnet.ts --artifacts ort-training --out DIR` writes. In a console project:
// dotnet add package Microsoft.ML.OnnxRuntime.Training --version 1.19.2 && dotnet run DIR
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

var folder = Path.GetFullPath(args[0]);
string In(string name) => Path.Combine(folder, name);
using var options = new SessionOptions();
// options.AppendExecutionProvider_CUDA(0); // to train on a card, with a build that has CUDA

// The state must outlive the session.
using var state = CheckpointState.LoadCheckpoint(In("checkpoint"));
using var session = new TrainingSession(options, state, In("training_model.onnx"), In("eval_model.onnx"), In("optimizer_model.onnx"));
// The rate of `ddrc build --lr` is taken where 0.001 is set, as it is by default; 0.002 is twice that rate.
// session.SetLearningRate(0.002f);

// Sixteen images of noise about four brightnesses, one for each class; as large as the model was built for.
const int count = 16, size = 224, classes = 4, pixels = 3 * size * size;
var random = new Random(0);
var label = Enumerable.Range(0, count).Select(i => (long)(i % classes)).ToArray();
var image = Enumerable.Range(0, count * pixels).Select(i => label[i / pixels] / 4f + random.NextSingle() / 8).ToArray();

// The inputs in the order in which the session names them: dropout's seed is one of them in training, and another one at each step.
List<FixedBufferOnnxValue> Feeds(bool training, long seed) => session.InputNames(training).Select(name => name switch
{
    "image" => FixedBufferOnnxValue.CreateFromTensor(new DenseTensor<float>(image, new[] { count, 3, size, size })),
    "label" => FixedBufferOnnxValue.CreateFromTensor(new DenseTensor<long>(label, new[] { count })),
    "seed" => FixedBufferOnnxValue.CreateFromTensor(new DenseTensor<long>(new[] { seed }, Array.Empty<int>())),
    _ => throw new InvalidOperationException($"the model has another input: {name}"),
}).ToList();

for (var step = 0; step < 50; step++)
{
    var feeds = Feeds(true, step);
    using var outputs = session.TrainStep(feeds); // loss, logits
    session.OptimizerStep();
    session.LazyResetGrad(); // without it, the gradients of the next batch are added
    Console.WriteLine($"step {step + 1} loss {outputs.First().AsTensor<float>().First():F4}");
    feeds.ForEach(value => value.Dispose());
}

// An evaluation writes into tensors that it is given.
var loss = new DenseTensor<float>(new float[1], Array.Empty<int>());
var logits = new DenseTensor<float>(new[] { count, classes });
var inputs = Feeds(false, 0);
var results = new List<FixedBufferOnnxValue> { FixedBufferOnnxValue.CreateFromTensor(loss), FixedBufferOnnxValue.CreateFromTensor(logits) };
session.EvalStep(inputs, results);
Console.WriteLine($"evaluation loss {loss.GetValue(0):F4}");
inputs.Concat(results).ToList().ForEach(value => value.Dispose());

// The weights, for `ddrc convert trained weights.safetensors` and `ddrc build MODEL --weights weights.safetensors`: a model.onnx with
// probabilities, the names of the classes and the preprocessing. true: with Adam's moments, to go on from.
CheckpointState.SaveCheckpoint(state, In("trained"), true);
// Or without ddrc: the part of eval_model.onnx, which must still be where it was loaded from, that makes the logits.
session.ExportModelForInferencing(In("inference.onnx"), new[] { "logits" });
