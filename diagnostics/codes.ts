/**
 * Every error code and the situation it stands for; `docs/errors.md` is generated from this table.
 * Codes are stable: a program may branch on them.
 */
export const codes = {
  // The language and the compiler
  SHAPE_MISMATCH: 'Two tensors do not have the shapes that an operator needs.',
  SHAPE_RANK: 'A tensor has the wrong number of dimensions for an operator.',
  SHAPE_ATTRIBUTE: 'An attribute of an operator (axis, kernel, stride, groups, …) does not fit its input.',
  DTYPE_MISMATCH: 'A tensor has an element type that an operator does not take.',
  GRAPH_INVALID: 'The compiler made a graph that its own verifier refuses: a defect of ddrc, please report it.',
  GRADIENT_MISSING: 'A trainable parameter is behind an operator that has no gradient.',
  LOWERING_MISSING: 'No lowering of an operator fits the target.',
  PARAMETER_DUPLICATE: 'Two parameters of a model have the same name.',
  MODEL_INVALID: 'defineModel was given something that does not make a model.',
  // Files, checkpoints and run folders
  FILE_MISSING: 'A file or folder to read does not exist.',
  FILE_UNREADABLE: 'A file to read exists but cannot be read.',
  OUTPUT_UNWRITABLE: 'A file or folder cannot be written where it was asked for.',
  DISK_FULL: 'The disk (or the quota on it) has no room for a file.',
  SAFETENSORS_TRUNCATED: 'A safetensors file ends before its own header says it should.',
  SAFETENSORS_INVALID: 'A file is not safetensors, or its header contradicts itself.',
  SAFETENSORS_DTYPE: 'A safetensors file holds an element type that ddrc does not read.',
  CHECKPOINT_INVALID: 'A safetensors file is no training checkpoint, or one of another version of ddrc.',
  CHECKPOINT_DAMAGED: 'The bytes of a checkpoint do not have the checksum that was stored with them.',
  CHECKPOINT_MODEL: 'A file of parameters belongs to another model: parameters are missing, unknown or of another shape.',
  CHECKPOINT_NOT_FINITE: 'A parameter, statistic or moment contains NaN or infinity.',
  RUN_INVALID: 'A folder is not a run folder, or its config.json cannot be used.',
  RUN_EXISTS: 'A new run was to be written into a folder that already holds something.',
  RUN_LOCKED: 'Another process is training into the same run folder.',
  SCHEDULE_INVALID: 'The text of a learning rate schedule is not understood, or does not fit the training.',
} as const satisfies Record<string, string>;
