export { DdrcError, type ErrorCode, formatDiagnosis, isDdrcError } from '../diagnostics/error.ts';
export { random, seed24 } from '../numeric/random.ts';
export { type Artifacts, readArtifacts } from './build-folder.ts';
export {
  type Checkpoint,
  loadCheckpoint,
  loadStart,
  loadWeights,
  type Progress,
  type Reset,
  type Start,
  saveCheckpoint,
} from './checkpoint.ts';
export { type AugmentationSettings, defaultAugmentation, parseAugmentation } from './data/augment.ts';
export { cacheFolder } from './data/cache.ts';
export {
  type BatchAugmentation,
  type Dataset,
  epochOrder,
  type InputNames,
  imageDataset,
  openArrays,
  subset,
} from './data/dataset.ts';
export { decodeFile, decodeImage } from './data/decode.ts';
export {
  type Divided,
  type Division,
  divide,
  divideByFold,
  divideIntoFolds,
  type FoldDivision,
  type Folds,
} from './data/division.ts';
export { type BadImage, type LoadedImages, type LoadOptions, loadImageFile, loadImages } from './data/images.ts';
export { type Inspection, inspect } from './data/inspect.ts';
export { listImages, readListing } from './data/layout.ts';
export { itemsOfSplit, type Listing, type ListingItem, type ListingOptions } from './data/listing.ts';
export type { MixSettings } from './data/mix.ts';
export type { TestAugmentation } from './data/orientations.ts';
export { type Preparation, type Prepared, prepare } from './data/prepare.ts';
export { chooseParts, defaultFraction, type Parts, parseSplit, type SplitOptions } from './data/split.ts';
export { type DrawnSmears, type DrawnSmearsOptions, drawnClasses, drawnSmears } from './data/synthetic.ts';
export {
  Engine,
  type EngineOptions,
  inferenceSession,
  type SessionOptions,
  type SessionPort,
  type SessionPorts,
  trainingSession,
} from './engine.ts';
export {
  type EpochFigures,
  type Evaluation,
  type EvaluationRequest,
  evaluate,
  figuresOf,
  namesOf,
  type TestFigures,
  testFiguresOf,
} from './evaluator.ts';
export { appendLine, makeFolder, readBytes, readLines, writeFileAtomic, writeLines } from './files.ts';
export { type ExpectedState, packState, tableLength, unpackState, type Weights } from './flat-state.ts';
export {
  expectedState,
  fileOf,
  type Manifest,
  type ManifestFile,
  type ManifestPort,
  type ManifestRole,
  parseManifest,
  portsOf,
  type Scores,
  scoresOf,
} from './manifest.ts';
export {
  type BootstrapOptions,
  bootstrap,
  bootstrapOverGroups,
  type GroupIntervals,
  groupNumbers,
  type Interval,
} from './metrics/bootstrap.ts';
export { type Calibration, type CalibrationBin, calibration, logLoss } from './metrics/calibration.ts';
export { rocAuc } from './metrics/ranking.ts';
export { type OverRuns, overRuns } from './metrics/runs.ts';
export type { Scored } from './metrics/scored.ts';
export { type ClassMetrics, type Confusion, formatReport, type Report, report } from './metrics.ts';
export { readOnnxMetadata } from './onnx-metadata.ts';
export {
  isOrtCheckpoint,
  type OrtCheckpoint,
  type OrtOptimizer,
  parseOrtCheckpoint,
  readOrtCheckpoint,
  serializeOrtCheckpoint,
} from './ort-checkpoint.ts';
export { ortCheckpointOf, safetensorsOf } from './ort-weights.ts';
export { type Predictions, predictionsOf, readPredictions, writePredictions } from './predictions.ts';
export { describeModel, type ModelDescription, modelFile, type OpenModel, openModel, type Prediction } from './predictor.ts';
export { createProgress, duration, type ProgressDisplay, type ProgressStream } from './progress.ts';
export {
  blockSize,
  type Choice,
  chooseProvider,
  type Device,
  type ProbeResult,
  type Provider,
  parseDevice,
  probe,
  providers,
} from './providers.ts';
export {
  type RangePoint,
  type RangeSuggestion,
  type RangeTest,
  type RangeTestRequest,
  rangeTest,
  suggestRates,
} from './range-test.ts';
export { createRun, nextRunFolder, openRun, type Run, type RunConfig, type RunPaths, runPaths } from './runfolder.ts';
export { parseSafetensors, type Safetensors, serializeSafetensors } from './safetensors.ts';
export { readSafetensors } from './safetensors-file.ts';
export { createSchedule, parseSchedule, type Rate, type Schedule, type ScheduleDescription } from './schedule.ts';
export type { TensorData } from './tensor.ts';
export { type EpochLine, type TrainingUpdate, type TrainRequest, type TrainResult, train } from './trainer.ts';
