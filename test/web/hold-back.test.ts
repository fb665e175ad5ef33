import { expect, it } from 'vitest';
import { type Example, holdBack, type Roles } from '../../runtime/web/finetune.ts';

const picture = (value: number, label: number): Example => ({ pixels: Uint8Array.of(value, value >> 1, 7), label });
const pictures = Array.from({ length: 40 }, (_, i) => picture(i, i % 2));

it('holds a share of each class back', () => {
  const { train, held } = holdBack(pictures, { holdBack: 0.25, seed: 1 });
  expect([train.length, held.length]).toEqual([30, 10]);
  expect(held.filter(({ label }) => label === 0)).toHaveLength(5);
  expect(new Set([...train, ...held])).toEqual(new Set(pictures));
});

it('does not depend on the order of the pictures, and copies of one are on the same side', () => {
  const values = ({ held }: { held: readonly Example[] }) => new Set(held.map(({ pixels }) => pixels[0]));
  const first = values(holdBack(pictures, { holdBack: 0.25, seed: 1 }));
  const twice = [...pictures].reverse().flatMap((each) => [each, picture(each.pixels[0], each.label)]);
  const both = holdBack(twice, { holdBack: 0.25, seed: 1 });
  expect(values(both)).toEqual(first);
  expect(both.held).toHaveLength(20);
  expect(values(holdBack(pictures, { holdBack: 0.25, seed: 2 }))).not.toEqual(first);
});

it('never trains on what was held back before, and never holds back what was trained on', () => {
  const roles: Roles = new Map();
  const before = holdBack(pictures.slice(0, 20), { holdBack: 0.2, seed: 1 }, roles);
  expect(before.held).toHaveLength(4);
  const after = holdBack(pictures, { holdBack: 0.5, seed: 9 }, roles);
  expect(after.held).toHaveLength(20);
  expect(before.held.every((each) => after.held.includes(each))).toBe(true);
  expect(before.train.every((each) => after.train.includes(each))).toBe(true);
});

it('trains on the only picture of a class', () => {
  expect(holdBack([picture(1, 0)], { holdBack: 0.9, seed: 0 }).train).toHaveLength(1);
});
