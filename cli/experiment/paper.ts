/*
 * The figures that the paper prints (Jawahar, Jani Anbarasi, Narayanan, Gandomi, Scientific Reports, 2024), in its own units.
 */

/** Table 3: by class MCC, recall, precision, F1 as shares and accuracy in %. */
export const table3 = {
  EOSINOPHIL: { mcc: 0.97, recall: 0.99, precision: 0.99, f1: 0.98, accuracy: 91.1 },
  MONOCYTE: { mcc: 1, recall: 1, precision: 1, f1: 1, accuracy: 92.8 },
  NEUTROPHIL: { mcc: 0.97, recall: 1, precision: 0.96, f1: 0.98, accuracy: 91 },
  LYMPHOCYTE: { mcc: 1, recall: 1, precision: 1, f1: 1, accuracy: 93 },
} as const;

/** Table 4: minutes of training and accuracy in %. */
export const table4 = {
  'ResNet-18': { minutes: 399 + 17 / 60, accuracy: 99.06 },
  'ResNet-50': { minutes: 1203 + 21 / 60, accuracy: 99.2 },
  'ResNet-101': { minutes: 1678 + 39 / 60, accuracy: 99.6 },
  DDRNet: { minutes: 161 + 19 / 60, accuracy: 99.86 },
} as const;

/** Table 5: how many images of a class its confusion matrices have. */
export const table5 = { images: 4974, classes: [1248, 1241, 1236, 1249] } as const;

/** Table 6: accuracy in % on what was trained on, and on the test. */
export const table6 = {
  'convolution block': { train: 95.37, test: 84.3 },
  '+ DRDB': { train: 96.22, test: 85.23 },
  '+ DRDB + CSAB': { train: 96.48, test: 86.14 },
  '+ GLFEB': { train: 97.15, test: 87.56 },
  '+ GLFEB + CSAB': { train: 97.39, test: 87.98 },
  '+ DRDB + GLFEB': { train: 98.21, test: 88.93 },
  '+ DRDB + GLFEB + CSAB': { train: 99.86, test: 91.98 },
} as const;
