import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the package that runs this command: above `dist/cli`, or above `cli` where a loader runs the sources. */
export const packageRoot = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? '..' : '../..', import.meta.url)).replace(
  /[\\/]$/,
  '',
);

/** Version of the running ddrc. */
export const packageVersion: string = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')).version;

/** Version of the ONNX Runtime that it runs. */
export function onnxruntimeVersion(): string {
  const require = createRequire(import.meta.url);
  return JSON.parse(readFileSync(require.resolve('onnxruntime-node/package.json'), 'utf8')).version;
}

/**
 * How a project in `folder` names this ddrc as its dependency, so that `npm install` there finds it: as the project does that this installation
 * belongs to, by version, or by path where it runs from a checkout.
 */
export function dependencySpec(folder: string): string {
  const modules = dirname(packageRoot);
  if (!/[\\/]node_modules$/.test(modules)) return fileSpec(folder, packageRoot);
  const owner = dirname(modules);
  const spec = specIn(join(owner, 'package.json'));
  if (spec === undefined) return `^${packageVersion}`;
  return spec.startsWith('file:') ? fileSpec(folder, resolve(owner, spec.slice('file:'.length))) : spec;
}

function fileSpec(folder: string, target: string): string {
  return `file:${relative(folder, target).replaceAll('\\', '/')}`;
}

function specIn(file: string): string | undefined {
  try {
    const { dependencies, devDependencies } = JSON.parse(readFileSync(file, 'utf8'));
    return dependencies?.ddrc ?? devDependencies?.ddrc;
  } catch {
    return undefined;
  }
}
