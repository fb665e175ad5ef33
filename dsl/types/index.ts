export type * from './axes.ts';
export type * from './broadcast.ts';
export type * from './element.ts';
export type * from './indexing.ts';
export type * from './known-options.ts';
export type * from './mistake.ts';
export type * from './reshape.ts';
export type * from './window.ts';
