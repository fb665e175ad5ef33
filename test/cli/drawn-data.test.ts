import { expect, it } from 'vitest';
import { drawnDataset } from '../../cli/drawn-data.ts';

it('drawn cells are called by their index', () => {
  const ports = { model: 'm', names: ['image', 'label'], label: 'label', image: { input: 'image', size: 16 } };
  const { paths, groups } = drawnDataset('test', ports, 3);
  expect(paths).toEqual(['0', '1', '2']);
  expect(groups).toEqual([null, null, null]);
});
