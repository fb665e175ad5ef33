/*
 * Integer arithmetic on literal types, by long arithmetic on decimal digits: the cost grows with the number of digits,
 * not with the number (a map of 50,176 pixels costs what 99,999 does). Numbers are lists of digits, lowest first.
 * Every operation falls to `number` (or `Dim`) when an operand is not a whole literal.
 */
import type { Dim } from '../../compiler/ir/types.ts';

type Digit = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9;
type Digits = readonly Digit[];
type Unary = readonly 1[];

/** A digit as a tuple of that length. */
type Ones = [
  [],
  [1],
  [1, 1],
  [1, 1, 1],
  [1, 1, 1, 1],
  [1, 1, 1, 1, 1],
  [1, 1, 1, 1, 1, 1],
  [1, 1, 1, 1, 1, 1, 1],
  [1, 1, 1, 1, 1, 1, 1, 1],
  [1, 1, 1, 1, 1, 1, 1, 1, 1],
];

/** `224` → `[4, 2, 2]`; never for what is no whole literal (`number`, a name, a fraction, a negative number). */
type digits<N extends Dim> = number extends N ? never : N extends number ? scan<`${N}`> : never;
type scan<Text extends string, Found extends Digits = []> = Text extends `${infer D extends Digit}${infer Rest}`
  ? scan<Rest, [D, ...Found]>
  : Text extends ''
    ? Found
    : never;

/** `[4, 2, 2]` → `224`. */
type numberOf<D extends Digits> = text<trim<D>> extends `${infer N extends number}` ? N : 0;
type text<D extends Digits, Tail extends string = ''> = D extends readonly [infer Low extends Digit, ...infer High extends Digits]
  ? text<High, `${Low}${Tail}`>
  : Tail;
type trim<D extends Digits> = D extends readonly [...infer Low extends Digits, 0] ? trim<Low> : D;

/** The length of a tuple (below 100) as `[units, tens]`. */
type split<U extends Unary> = `${U['length']}` extends `${infer Tens extends Digit}${infer Units extends Digit}`
  ? [Units, Tens]
  : [U['length'], 0];

type plusDigits<A extends Digits, B extends Digits, Carry extends Digit = 0, Out extends Digits = []> = A extends readonly [
  infer X extends Digit,
  ...infer AHigh extends Digits,
]
  ? B extends readonly [infer Y extends Digit, ...infer BHigh extends Digits]
    ? split<[...Ones[X], ...Ones[Y], ...Ones[Carry]]> extends [infer U extends Digit, infer T extends Digit]
      ? plusDigits<AHigh, BHigh, T, [...Out, U]>
      : never
    : Carry extends 0
      ? [...Out, ...A]
      : plusDigits<A, [1], 0, Out>
  : Carry extends 0
    ? [...Out, ...B]
    : plusDigits<[1], B, 0, Out>;

/** `[digit, borrow]` of X − Y − Borrow. */
type borrow<X extends Digit, Y extends Digit, Borrow extends Digit> = Ones[X] extends [
  ...Ones[Y],
  ...Ones[Borrow],
  ...infer Left extends Unary,
]
  ? [Left['length'], 0]
  : [...Ones[9], 1, ...Ones[X]] extends [...Ones[Y], ...Ones[Borrow], ...infer Left extends Unary]
    ? [Left['length'], 1]
    : never;

/** A − B, never when that is negative. */
type minusDigits<A extends Digits, B extends Digits, Borrow extends Digit = 0, Out extends Digits = []> = B extends readonly [
  infer Y extends Digit,
  ...infer BHigh extends Digits,
]
  ? A extends readonly [infer X extends Digit, ...infer AHigh extends Digits]
    ? borrow<X, Y, Borrow> extends [infer U extends Digit, infer T extends Digit]
      ? minusDigits<AHigh, BHigh, T, [...Out, U]>
      : never
    : [Y, Borrow] extends [0, 0]
      ? minusDigits<[], BHigh, 0, Out>
      : never
  : Borrow extends 0
    ? [...Out, ...A]
    : A extends readonly []
      ? never
      : minusDigits<A, [1], 0, Out>;

/** X · Y as `[units, tens]`. */
type Products = [
  [[0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]],
  [[0, 0], [1, 0], [2, 0], [3, 0], [4, 0], [5, 0], [6, 0], [7, 0], [8, 0], [9, 0]],
  [[0, 0], [2, 0], [4, 0], [6, 0], [8, 0], [0, 1], [2, 1], [4, 1], [6, 1], [8, 1]],
  [[0, 0], [3, 0], [6, 0], [9, 0], [2, 1], [5, 1], [8, 1], [1, 2], [4, 2], [7, 2]],
  [[0, 0], [4, 0], [8, 0], [2, 1], [6, 1], [0, 2], [4, 2], [8, 2], [2, 3], [6, 3]],
  [[0, 0], [5, 0], [0, 1], [5, 1], [0, 2], [5, 2], [0, 3], [5, 3], [0, 4], [5, 4]],
  [[0, 0], [6, 0], [2, 1], [8, 1], [4, 2], [0, 3], [6, 3], [2, 4], [8, 4], [4, 5]],
  [[0, 0], [7, 0], [4, 1], [1, 2], [8, 2], [5, 3], [2, 4], [9, 4], [6, 5], [3, 6]],
  [[0, 0], [8, 0], [6, 1], [4, 2], [2, 3], [0, 4], [8, 4], [6, 5], [4, 6], [2, 7]],
  [[0, 0], [9, 0], [8, 1], [7, 2], [6, 3], [5, 4], [4, 5], [3, 6], [2, 7], [1, 8]],
];

/** `[units, tens]` of X · Y + Carry. */
type timesDigit<X extends Digit, Y extends Digit, Carry extends Digit> = plusDigits<Products[X][Y], [Carry]>;

type scaleDigits<A extends Digits, By extends Digit, Carry extends Digit = 0, Out extends Digits = []> = A extends readonly [
  infer X extends Digit,
  ...infer High extends Digits,
]
  ? timesDigit<X, By, Carry> extends [infer U extends Digit, infer T extends Digit]
    ? scaleDigits<High, By, T, [...Out, U]>
    : never
  : Carry extends 0
    ? Out
    : [...Out, Carry];

type timesDigits<A extends Digits, B extends Digits> = B extends readonly [infer Low extends Digit, ...infer High extends Digits]
  ? plusDigits<scaleDigits<A, Low>, [0, ...timesDigits<A, High>]>
  : [];

/** Long division, highest digit first: `[quotient, remainder]`. */
type divideDigits<A extends Digits, B extends Digits, Rest extends Digits = [], Out extends Digits = []> = A extends readonly [
  ...infer Low extends Digits,
  infer D extends Digit,
]
  ? takeOften<trim<[D, ...Rest]>, B> extends [infer Q extends Digit, infer R extends Digits]
    ? divideDigits<Low, B, R, [Q, ...Out]>
    : never
  : [Out, Rest];

/** How often B can be taken from A (at most nine times), and what is left. */
type takeOften<A extends Digits, B extends Digits, Count extends Unary = []> = [minusDigits<A, B>] extends [never]
  ? [Count['length'], A]
  : takeOften<trim<minusDigits<A, B>>, B, [...Count, 1]>;

/** What is known of a result whose operands are not all literal. */
type unknownSize<A extends Dim, B extends Dim> = A | B extends number ? number : Dim;
type noLiteral<A extends Dim, B extends Dim> = [digits<A>] extends [never] ? true : [digits<B>] extends [never] ? true : false;

/** A + B. */
export type sum<A extends Dim, B extends Dim> = B extends 0
  ? A
  : noLiteral<A, B> extends true
    ? unknownSize<A, B>
    : numberOf<plusDigits<digits<A>, digits<B>>>;

/** A − B; never where the result is negative. */
export type difference<A extends Dim, B extends Dim> = B extends 0
  ? A
  : noLiteral<A, B> extends true
    ? unknownSize<A, B>
    : [minusDigits<digits<A>, digits<B>>] extends [infer D extends Digits]
      ? numberOf<D>
      : never;

/** A · B. */
export type product<A extends Dim, B extends Dim> = B extends 1
  ? A
  : A extends 1
    ? B
    : noLiteral<A, B> extends true
      ? unknownSize<A, B>
      : numberOf<timesDigits<digits<A>, digits<B>>>;

/** ⌊A / B⌋. */
export type quotient<A extends Dim, B extends Dim> = B extends 1
  ? A
  : noLiteral<A, B> extends true
    ? unknownSize<A, B>
    : B extends 0
      ? number
      : numberOf<divideDigits<digits<A>, digits<B>>[0]>;

/** A mod B. */
export type remainder<A extends Dim, B extends Dim> = B extends 1
  ? 0
  : noLiteral<A, B> extends true
    ? number
    : B extends 0
      ? number
      : numberOf<divideDigits<digits<A>, digits<B>>[1]>;

/** A < B; `boolean` where that is not known. */
export type isLess<A extends Dim, B extends Dim> =
  noLiteral<A, B> extends true ? boolean : [minusDigits<digits<A>, digits<B>>] extends [never] ? true : false;
