/**
 * Keeps ONNX Runtime from reporting usage to its makers: from 1.30 on, its Linux library has a telemetry client that starts with the first session and leaves
 * files in the temporary folder. The library reads the variable when it is loaded, so this is called before that, in the process's main thread (a worker's
 * `process.env` is a copy that native code does not see).
 */
export function disableTelemetry(): void {
  process.env.ORT_DISABLE_TELEMETRY = '1';
}
