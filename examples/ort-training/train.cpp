// Not run here: no build of ONNX Runtime with the training API can be installed on the machine where this was written.
//
// Trains what `ddrc build models/ddrnet.ts --artifacts ort-training --out DIR` writes, by ONNX Runtime 1.19 with --enable_training_apis.
// g++ -std=c++17 train.cpp -I ORT/include -L ORT/lib -lonnxruntime -o train && ./train DIR
#include <onnxruntime_training_cxx_api.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  const std::filesystem::path folder = argc > 1 ? argv[1] : ".";
  const auto in = [&](const char* name) { return (folder / name).native(); };
  Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "train");
  Ort::SessionOptions options;
  // options.AppendExecutionProvider_CUDA(OrtCUDAProviderOptions{});  // to train on a card, with a build that has CUDA

  // The state must outlive the session.
  auto state = Ort::CheckpointState::LoadCheckpoint(in("checkpoint"));
  Ort::TrainingSession session(env, options, state, in("training_model.onnx"), in("eval_model.onnx"), in("optimizer_model.onnx"));
  // The rate of `ddrc build --lr` is taken where 0.001 is set, as it is by default; 0.002 is twice that rate.
  // session.SetLearningRate(0.002f);

  // Sixteen images of noise about four brightnesses, one for each class; as large as the model was built for.
  const int64_t count = 16, size = 224, pixels = 3 * size * size;
  std::mt19937 generator(0);
  std::uniform_real_distribution<float> noise(0.0f, 0.125f);
  std::vector<float> image(count * pixels);
  std::vector<int64_t> label(count);
  for (int64_t i = 0; i < count; i++) label[i] = i % 4;
  for (int64_t i = 0; i < count * pixels; i++) image[i] = label[i / pixels] / 4.0f + noise(generator);

  // The inputs in the order in which the session names them: dropout's seed is one of them in training, and another one at each step.
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const std::vector<int64_t> imageShape{count, 3, size, size}, labelShape{count}, scalar;
  int64_t seed = 0;
  const auto feeds = [&](bool training) {
    std::vector<Ort::Value> values;
    for (const std::string& name : session.InputNames(training)) {
      if (name == "image") {
        values.push_back(Ort::Value::CreateTensor<float>(memory, image.data(), image.size(), imageShape.data(), imageShape.size()));
      } else if (name == "label") {
        values.push_back(Ort::Value::CreateTensor<int64_t>(memory, label.data(), label.size(), labelShape.data(), labelShape.size()));
      } else if (name == "seed") {
        values.push_back(Ort::Value::CreateTensor<int64_t>(memory, &seed, 1, scalar.data(), scalar.size()));
      } else {
        throw std::runtime_error("the model has another input: " + name);
      }
    }
    return values;
  };

  for (int step = 0; step < 50; step++) {
    seed = step;
    const auto outputs = session.TrainStep(feeds(true));  // loss, logits
    session.OptimizerStep();
    session.LazyResetGrad();  // without it, the gradients of the next batch are added
    std::printf("step %d loss %.4f\n", step + 1, outputs[0].GetTensorData<float>()[0]);
  }
  const auto outputs = session.EvalStep(feeds(false));
  std::printf("evaluation loss %.4f\n", outputs[0].GetTensorData<float>()[0]);

  // The weights, for `ddrc convert trained weights.safetensors` and `ddrc build MODEL --weights weights.safetensors`: a model.onnx with
  // probabilities, the names of the classes and the preprocessing. true: with Adam's moments, to go on from.
  Ort::CheckpointState::SaveCheckpoint(state, in("trained"), true);
  // Or without ddrc: the part of eval_model.onnx, which must still be where it was loaded from, that makes the logits. Not in a minimal build.
  session.ExportModelForInferencing(in("inference.onnx"), {"logits"});
}
