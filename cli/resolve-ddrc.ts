/*
 * Module resolution for model files, a hook of `node:module`: `import 'ddrc'` means the installation that runs the command, wherever the model file
 * lies, and a TypeScript or JavaScript file is an ES module whatever its package.json says.
 */

/** What a resolution comes to. */
interface Resolution {
  readonly url: string;
  readonly format?: string | null;
}

/** What is known of the import. */
interface Context {
  readonly parentURL?: string;
}

/** Node's `resolve` hook, for both of its ways of running one: in a loader thread (`next` gives a promise) and in the same thread (it does not). */
export function resolve<R extends Resolution | Promise<Resolution>>(
  specifier: string,
  context: Context,
  next: (specifier: string, context?: Context) => R,
): Resolution | Promise<Resolution> {
  // A package may import itself by its name: seen from this file, ddrc is this installation.
  if (/^ddrc(\/|$)/.test(specifier)) return next(specifier, { ...context, parentURL: import.meta.url });
  const found = next(specifier, context);
  return found instanceof Promise ? found.then(asModule) : asModule(found as Resolution);
}

function asModule(found: Resolution): Resolution {
  const isModelCode = found.url.startsWith('file:') && /\.[jt]s(\?|$)/.test(found.url) && !found.url.includes('/node_modules/');
  return found.format === 'commonjs' && isModelCode ? { ...found, format: 'module' } : found;
}
