import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readListing } from '../../../runtime/data/layout.ts';
import { errorOf, folderOf } from './files.ts';

const images = ['img/1.png', 'img/2.png', 'img/a,b.png', 'img/4.png'];
const withCsv = (text: string) => join(folderOf([...images, ['sub/labels.csv', text]]), 'sub', 'labels.csv');

describe('readListing of a CSV', () => {
  it('reads path, label, split and group, in the order of the file', () => {
    const csv = withCsv(
      '\ufeffpath,label,split,group\r\n../img/1.png,dog,Train,p1\r\n"../img/a,b.png",cat,TRAIN,\r\n../img/2.png,cat,test,p2\r\n../img/4.png,dog,test,p2\r\n',
    );
    const listing = readListing(csv);
    const folder = join(csv, '..', '..', 'img');
    expect(listing.classes).toEqual(['cat', 'dog']);
    expect(listing.splits).toEqual(['Train', 'test']);
    expect(listing.items).toEqual([
      { path: join(folder, '1.png'), label: 1, split: 'Train', group: 'p1', line: 2 },
      { path: join(folder, 'a,b.png'), label: 0, split: 'Train', group: null, line: 3 },
      { path: join(folder, '2.png'), label: 0, split: 'test', group: 'p2', line: 4 },
      { path: join(folder, '4.png'), label: 1, split: 'test', group: 'p2', line: 5 },
    ]);
  });

  it('needs path and label only, and sorts labels as text', () => {
    const listing = readListing(withCsv('label,path\n10,../img/1.png\n2,../img/2.png\n'));
    expect(listing.classes).toEqual(['10', '2']);
    expect(listing.splits).toEqual([]);
  });

  it('notes a class that the test split lacks', () => {
    const listing = readListing(withCsv('path,label,split\n../img/1.png,a,train\n../img/2.png,b,train\n../img/4.png,a,test\n'));
    expect(listing.notes).toEqual(['test has no images of the class "b".']);
  });

  it.each([
    ['no column label', 'path,class\n../img/1.png,a\n', 'DATA_CSV_COLUMNS', '', 'no column "label"'],
    ['an empty file', '', 'DATA_CSV_COLUMNS', '', 'no column "path"'],
    ['no rows', 'path,label\n', 'DATA_EMPTY', '', 'no images'],
    [
      'two splits for one part',
      'path,label,split\n../img/1.png,a,train\n../img/2.png,b,train\n../img/4.png,a,training\n',
      'DATA_SPLIT',
      '',
      'the splits train and training are both for the same part',
    ],
    ['an unknown split', 'path,label,split\n../img/1.png,a,train\n../img/2.png,b,tset\n', 'DATA_CSV_SPLIT', ':3', '"tset"'],
    [
      'a row without a split',
      'path,label,split\n../img/1.png,a,train\n../img/2.png,b,\n',
      'DATA_CSV_SPLIT',
      ':3',
      'without a split',
    ],
    ['a missing file', 'path,label\n../img/1.png,a\n../img/no.png,b\n', 'DATA_FILE_MISSING', ':3', '"../img/no.png"'],
    ['no label', 'path,label\n../img/1.png,\n', 'DATA_CSV', ':2', 'without a label'],
    ['one label', 'path,label\n../img/1.png,a\n../img/2.png,a\n', 'DATA_ONE_CLASS', '', '"a"'],
    [
      'a label that train lacks',
      'path,label,split\n../img/1.png,a,train\n../img/2.png,b,test\n',
      'DATA_CLASSES_DIFFER',
      '',
      '"b" of test',
    ],
  ])('refuses %s', async (_, text, code, line, sentence) => {
    const csv = withCsv(text);
    const error = await errorOf(() => readListing(csv));
    expect(error.code).toBe(code);
    expect(error.where).toBe(csv + line);
    expect(error.message).toContain(sentence);
  });

  it('refuses an originals.csv without groups', async () => {
    const root = folderOf(['a/1.png', 'b/1.png', ['originals.csv', 'class,file\na,1.png\n']]);
    expect(await errorOf(() => readListing(root))).toMatchObject({
      code: 'DATA_CSV_COLUMNS',
      where: join(root, 'originals.csv'),
    });
  });
});
