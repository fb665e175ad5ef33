import { execFile } from 'node:child_process';
import type { Command } from './program.ts';

/** A Python that has a module. */
export interface Python {
  readonly file: string;
  /** Version of the module. */
  readonly version: string;
}

// A file of the working folder must not stand for a module.
const ownModulesOnly = 'import sys\nsys.path[:] = [place for place in sys.path if place]\n';

/** The start of every program: what `program.ts` describes. `serve(run)` calls `run` with the arrays by name and says what it returns. */
const prelude = `${ownModulesOnly}
import json

asked = json.loads(sys.argv[1])

def say(**answer):
    print('ddrc ' + json.dumps(answer), flush=True)

def attempt(action):
    try:
        return action()
    except Exception as error:
        say(failed=str(error) or type(error).__name__)
        sys.exit()

def serve(run):
    import math
    import numpy
    say(ready=True)
    while True:
        feeds = {}
        for port in asked['inputs']:
            dtype = numpy.dtype(port['dtype'])
            size = dtype.itemsize * int(numpy.prod(port['shape'], dtype=numpy.int64))
            data = sys.stdin.buffer.read(size)
            if len(data) < size:
                return
            feeds[port['name']] = numpy.frombuffer(data, dtype).reshape(port['shape'])
        values = attempt(lambda: run(feeds))
        say(values=[float(value) if math.isfinite(value) else None for value in values.ravel()])
`;

/** A program for a Python, on the prelude above. */
export function pythonProgram({ file }: Python, text: string): Command {
  return { file, args: ['-c', `${prelude}\n${text}`] };
}

/** The Pythons among these commands that have a module, each version of it once. */
export async function pythonsWith(module: string, commands: readonly string[]): Promise<Python[]> {
  const versions = await Promise.all(commands.map((file) => versionOf(module, file)));
  return commands
    .map((file, i) => ({ file, version: versions[i] }))
    .filter(
      (python): python is Python => python.version !== null && versions.indexOf(python.version) === commands.indexOf(python.file),
    );
}

function versionOf(module: string, file: string): Promise<string | null> {
  const text = `${ownModulesOnly}import ${module}\nprint('ddrc ' + ${module}.__version__)`;
  return new Promise((resolve) => {
    execFile(file, ['-c', text], { timeout: 30_000 }, (error, stdout) => {
      resolve(error ? null : (/^ddrc (\S+)/m.exec(stdout)?.[1] ?? null));
    });
  });
}
