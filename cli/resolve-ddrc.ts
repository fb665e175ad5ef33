/**
 * Module resolution for model files (hooks of `node:module`, run in Node's loader thread): `import 'ddrc'` means the installation that runs
 * the command, wherever the model file lies, and a TypeScript or JavaScript file is an ES module whatever its package.json says.
 */
interface Resolution {
  readonly url: string;
  readonly format?: string | null;
}

interface Context {
  readonly parentURL?: string;
}

/** Node's `resolve` hook. */
export async function resolve(
  specifier: string,
  context: Context,
  next: (specifier: string, context?: Context) => Resolution | Promise<Resolution>,
): Promise<Resolution> {
  // A package may import itself by its name: seen from this file, ddrc is this installation.
  if (/^ddrc(\/|$)/.test(specifier)) return next(specifier, { ...context, parentURL: import.meta.url });
  const found = await next(specifier, context);
  return found.format === 'commonjs' && isModelCode(found.url) ? { ...found, format: 'module' } : found;
}

function isModelCode(url: string): boolean {
  return url.startsWith('file:') && /\.[jt]s(\?|$)/.test(url) && !url.includes('/node_modules/');
}
