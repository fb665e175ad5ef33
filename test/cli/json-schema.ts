interface Schema {
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, Schema>>;
  readonly type?: string | readonly string[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: boolean | Schema;
  readonly items?: Schema;
}

const known = [
  '$schema',
  '$id',
  '$ref',
  '$defs',
  'title',
  'description',
  'type',
  'const',
  'enum',
  'pattern',
  'minimum',
  'required',
  'properties',
  'additionalProperties',
  'items',
];

/** What a value breaks of a JSON Schema, a line each; it knows the keywords that ddrc's own schema uses and refuses others. */
export function violations(root: Schema, value: unknown): string[] {
  return check(root, root, value, '');
}

function check(root: Schema, schema: Schema, value: unknown, path: string): string[] {
  const strange = Object.keys(schema).find((key) => !known.includes(key));
  if (strange) throw new Error(`the schema uses ${strange}, which this reader does not know`);
  const found: string[] = [];
  const say = (sentence: string) => found.push(`${path || '/'}: ${sentence}`);
  if (schema.$ref) found.push(...check(root, root.$defs![schema.$ref.replace('#/$defs/', '')], value, path));
  if (schema.type && ![schema.type].flat().some((type) => hasType(value, type))) say(`is not of type ${schema.type}`);
  if (schema.const !== undefined && JSON.stringify(value) !== JSON.stringify(schema.const))
    say(`is not ${JSON.stringify(schema.const)}`);
  if (schema.enum && !schema.enum.includes(value)) say(`is none of ${schema.enum}`);
  if (schema.pattern && typeof value === 'string' && !new RegExp(schema.pattern).test(value))
    say(`does not fit ${schema.pattern}`);
  if (schema.minimum !== undefined && typeof value === 'number' && value < schema.minimum) say(`is below ${schema.minimum}`);
  if (Array.isArray(value) && schema.items)
    found.push(...value.flatMap((item, i) => check(root, schema.items!, item, `${path}/${i}`)));
  if (hasType(value, 'object')) {
    for (const name of schema.required ?? []) if (!Object.hasOwn(value as object, name)) say(`lacks ${name}`);
    for (const [name, item] of Object.entries(value as object)) {
      const rule = schema.properties?.[name] ?? schema.additionalProperties;
      if (rule === false) found.push(`${path}/${name}: is not expected`);
      else if (typeof rule === 'object') found.push(...check(root, rule, item, `${path}/${name}`));
    }
  }
  return found;
}

function hasType(value: unknown, type: string): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value);
  if (type === 'integer') return Number.isInteger(value);
  return typeof value === type;
}
