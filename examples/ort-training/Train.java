// Not run here: no build of ONNX Runtime with the training API can be installed on the machine where this was written.
//
// Trains what `ddrc build models/ddrnet.ts --artifacts ort-training --out DIR` writes, by ONNX Runtime 1.19 built with --build_java
// --enable_training_apis: java -cp onnxruntime.jar Train.java DIR
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import ai.onnxruntime.OrtTrainingSession;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;
import java.util.Set;

public final class Train {
  public static void main(String[] args) throws OrtException {
    Path folder = Path.of(args[0]);
    OrtEnvironment env = OrtEnvironment.getEnvironment();
    try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
      // options.addCUDA(0); // to train on a card, with a build that has CUDA
      try (OrtTrainingSession session =
          env.createTrainingSession(
              folder.resolve("checkpoint").toString(),
              folder.resolve("training_model.onnx").toString(),
              folder.resolve("eval_model.onnx").toString(),
              folder.resolve("optimizer_model.onnx").toString(),
              options)) {
        train(env, session, folder);
      }
    }
  }

  private static void train(OrtEnvironment env, OrtTrainingSession session, Path folder) throws OrtException {
    // The rate of `ddrc build --lr` is taken where 0.001 is set, as it is by default; 0.002 is twice that rate.
    // session.setLearningRate(0.002f);

    // Sixteen images of noise about four brightnesses, one for each class; as large as the model was built for.
    int count = 16, size = 224, pixels = 3 * size * size;
    Random random = new Random(0);
    long[] label = new long[count];
    float[] image = new float[count * pixels];
    for (int i = 0; i < count; i++) label[i] = i % 4;
    for (int i = 0; i < image.length; i++) image[i] = label[i / pixels] / 4f + random.nextFloat() / 8;

    try (OnnxTensor images = OnnxTensor.createTensor(env, FloatBuffer.wrap(image), new long[] {count, 3, size, size});
        OnnxTensor labels = OnnxTensor.createTensor(env, LongBuffer.wrap(label), new long[] {count})) {
      for (int step = 0; step < 50; step++) {
        // Dropout takes another seed at each step.
        try (OnnxTensor seed = OnnxTensor.createTensor(env, LongBuffer.wrap(new long[] {step}), new long[0]);
            OrtSession.Result outputs =
                session.trainStep(ordered(session.getTrainInputNames(), Map.of("image", images, "label", labels, "seed", seed)))) {
          session.optimizerStep();
          session.lazyResetGrad(); // without it, the gradients of the next batch are added
          System.out.printf("step %d loss %.4f%n", step + 1, loss(outputs));
        }
      }
      try (OrtSession.Result outputs =
          session.evalStep(ordered(session.getEvalInputNames(), Map.of("image", images, "label", labels)))) {
        System.out.printf("evaluation loss %.4f%n", loss(outputs));
      }
    }

    // The weights, for `ddrc convert trained weights.safetensors` and `ddrc build MODEL --weights weights.safetensors`: a model.onnx with
    // probabilities, the names of the classes and the preprocessing. true: with Adam's moments, to go on from.
    session.saveCheckpoint(folder.resolve("trained"), true);
    // Or without ddrc: the part of eval_model.onnx, which must still be where it was loaded from, that makes the logits.
    session.exportModelForInference(folder.resolve("inference.onnx"), new String[] {"logits"});
  }

  /** The tensors in the order of these names: the session takes them by their order, whatever their names. */
  private static Map<String, OnnxTensor> ordered(Set<String> names, Map<String, OnnxTensor> tensors) {
    Map<String, OnnxTensor> feeds = new LinkedHashMap<>();
    for (String name : names) feeds.put(name, tensors.get(name));
    return feeds;
  }

  private static float loss(OrtSession.Result outputs) throws OrtException {
    return ((OnnxTensor) outputs.get("loss").orElseThrow()).getFloatBuffer().get(0);
  }
}
