import { defineConfig } from 'vitest/config';

/** `npm run test:slow`: what takes minutes, and needs more than a processor. One file after the other, so that each has the machine. */
export default defineConfig({
  test: {
    include: ['test/slow/**/*.slow.test.ts'],
    reporters: ['default', './test/plain-reporter.ts'],
    testTimeout: 900_000,
    hookTimeout: 900_000,
    maxWorkers: 1,
    fileParallelism: false,
  },
});
