import { defineConfig } from 'vite';

/** The page that `ddrc web` puts a model into: paths relative, so that it works below any path. */
export default defineConfig({
  root: import.meta.dirname,
  base: './',
  build: { outDir: '../dist/page', emptyOutDir: true, target: 'es2022', modulePreload: { polyfill: false } },
  worker: { format: 'es' },
});
