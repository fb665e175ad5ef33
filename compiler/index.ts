export type { Manifest, ManifestFile, ManifestPort, ManifestRole, TableEntry } from '../contract/manifest.ts';
export { DdrcError, type ErrorCode, formatDiagnosis, isDdrcError } from '../diagnostics/error.ts';
export { type Artifact, type Compiled, type CompileRequest, compile } from './compile.ts';
export { portable, type Target } from './emit/lowering.ts';
export type { NDArray } from './ir/ndarray.ts';
export { print } from './ir/printer.ts';
export type { Program } from './ir/program.ts';
export { operators } from './ops/index.ts';
