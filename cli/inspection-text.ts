import { counted } from '../diagnostics/counted.ts';
import { printable } from '../diagnostics/printable.ts';
import { hashRadius, leastCorrelation } from '../runtime/data/alike.ts';
import type { Inspection, LabelConflict, NearDuplicates } from '../runtime/data/inspect.ts';
import type { Shared } from '../runtime/data/shared.ts';
import { grouped } from './quantity.ts';
import { shown } from './shown-path.ts';
import { textTable } from './text-table.ts';

/** Lines that a list of findings shows; --json has all. */
const most = 10;

/** What `ddrc data inspect` prints. */
export function inspectionText(found: Inspection): string {
  const parts = [
    `${shown(found.data)}: ${counted(found.images, 'image')} of ${counted(found.classes.length, 'class', 'classes')}`,
    countTable(found),
    `sizes: ${tallied(found.sizes)}\nkinds: ${tallied(found.modes)}`,
    section(
      'images that cannot be read',
      found.unreadable.map(({ path, code, message }) => `${path}: ${code}, ${message}`),
    ),
    ...(found.changed.length > 0 ? [section('images whose bytes are not those that the CSV states', found.changed)] : []),
    section(
      'sets of files with the same bytes',
      found.duplicates.map((paths) => paths.join(' = ')),
    ),
    section(
      'same bytes in two splits',
      found.duplicatesShared.map((each) => sharedLine(each, 'content')),
    ),
    section(
      `near-duplicates between splits (hashes differ in at most ${hashRadius} of 63 bits, looks correlate by at least ${leastCorrelation}; mirrored and turned by quarters too)`,
      found.nearDuplicates.map(nearLine),
    ),
    section('near-duplicates within a split', found.nearDuplicatesWithin.map(nearLine)),
    found.groups === null
      ? 'groups in two splits: not known, as the data name no groups'
      : section(
          'groups in two splits',
          found.groupsShared.map((each) => sharedLine(each, 'group')),
        ),
    ...(found.originals === null
      ? []
      : [
          section(
            'originals in two splits',
            found.originalsShared.map((each) => sharedLine(each, 'original')),
          ),
        ]),
    section('several labels (of a group: a conflict only where it shows one thing)', found.labelConflicts.map(conflictLine)),
    ...(found.notes.length > 0 ? [section('notes', found.notes)] : []),
  ];
  return `${parts.join('\n\n')}\n`;
}

function countTable({ splits, groups, originals }: Inspection): string {
  const columns = [
    ['images', splits],
    ['groups', groups],
    ['originals', originals],
  ] as const;
  const known = columns.flatMap(([name, counts]) => (counts === null ? [] : [{ name, counts }]));
  const rows = Object.entries(splits).flatMap(([split, classes]) =>
    Object.keys(classes).map((name) => [split, name, ...known.map(({ counts }) => grouped(counts[split][name]))]),
  );
  return textTable(
    [['split', 'class', ...known.map(({ name }) => name)], ...rows],
    ['left', 'left', ...known.map(() => 'right' as const)],
  );
}

function tallied(counts: Readonly<Record<string, number>>): string {
  const all = Object.entries(counts);
  const texts = all.slice(0, most).map(([name, count]) => `${name} (${grouped(count)})`);
  return `${texts.join(', ') || 'none'}${all.length > most ? ` and ${counted(all.length - most, 'other')}` : ''}`;
}

function section(title: string, lines: readonly string[]): string {
  if (lines.length === 0) return `${title}: none`;
  const more = lines.length > most ? [`and ${grouped(lines.length - most)} more, which --json lists`] : [];
  return [`${title}: ${grouped(lines.length)}`, ...[...lines.slice(0, most), ...more].map((line) => `  ${printable(line)}`)].join(
    '\n',
  );
}

function sharedLine({ splits: [a, b], count, names, images }: Shared, what: string): string {
  const listed = names.slice(0, most).map((name) => (what === 'content' ? name.slice(0, 12) : name));
  const more = names.length > most ? ', …' : '';
  return `${a} and ${b}: ${counted(count, what)}, ${counted(images[a], 'image')} of ${a} and ${grouped(images[b])} of ${b} (${listed.join(', ')}${more})`;
}

function nearLine({ splits: [a, b], count, images, pairs }: NearDuplicates): string {
  const where = a === b ? a : `${a} and ${b}`;
  const of = a === b ? counted(images[a], 'image') : `${counted(images[a], 'image')} of ${a} and ${grouped(images[b])} of ${b}`;
  return `${where}: ${counted(count, 'pair')} of ${of}, such as ${pairs[0].join(' and ')}`;
}

function conflictLine({ by, name, classes, originals, paths }: LabelConflict): string {
  const each = Object.entries(classes).map(([label, count]) => {
    const from = originals === undefined ? '' : ` (${originals[label].slice(0, 4).join(', ')})`;
    return `${grouped(count)} ${label}${from}`;
  });
  const what = { bytes: 'the same bytes', original: `original ${name}`, group: `group ${name}`, look: 'near-duplicates' }[by];
  return `${what}: ${each.join(', ')}${paths ? `: ${paths.slice(0, 4).join(', ')}` : ''}`;
}
