import { basename } from 'node:path';
import { DdrcError } from '../../diagnostics/error.ts';

/** What the name of a C-NMC 2019 image says. */
export interface CnmcName {
  /** The subject in upper case: `11`, or `H10` for one without leukaemia. One cell image of the set has its `h` in lower case. */
  readonly subject: string;
  readonly image: number;
  readonly cell: number;
  /** `all`: acute lymphoblastic leukaemia; `hem`: normal. */
  readonly className: 'all' | 'hem';
}

const pattern = /^UID_(H?\d+)_(\d+)_(\d+)_(all|hem)\.\w+$/i;

/** Whether a file is named as those of C-NMC 2019 are. */
export function isCnmcName(path: string): boolean {
  return pattern.test(basename(path));
}

/**
 * Reads the name of a C-NMC 2019 image, `UID_<subject>_<image>_<cell>_<class>.bmp`; another ending than `.bmp` is fine. A folder `all` or `hem` that holds the
 * file has to agree with its name.
 *
 * @throws DATA_FILE_NAME
 */
export function parseCnmcName(path: string): CnmcName {
  const name = basename(path);
  const match = pattern.exec(name);
  if (match === null) {
    const message = `"${name}" is no name of a C-NMC image, which other files here have`;
    throw nameError(
      path,
      message,
      'expected is UID_<subject>_<image>_<cell>_<all|hem>.bmp, as in UID_H10_1_1_hem.bmp: rename or remove it',
    );
  }
  const className = match[4].toLowerCase() as CnmcName['className'];
  const folder = path.split(/[/\\]/).at(-2)?.toLowerCase();
  if ((folder === 'all' || folder === 'hem') && folder !== className) {
    throw nameError(path, `"${name}" is in the folder ${folder}, and its name says ${className}`, 'move it, or rename it');
  }
  return { subject: match[1].toUpperCase(), image: Number(match[2]), cell: Number(match[3]), className };
}

function nameError(where: string, message: string, hint: string): DdrcError {
  return new DdrcError({ code: 'DATA_FILE_NAME', message, where, hint });
}
