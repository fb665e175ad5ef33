import type { Graph, Value } from './graph.ts';
import { formatType } from './types.ts';

/**
 * The graph as text, one node a line, made to diff well:
 * `%7 float32[N,64,28,28] = conv(%5, %w) {strides: [2,2]}  // drdb.3.conv1`
 */
export function print(graph: Graph): string {
  const names = new Map<Value, string>();
  let count = 0;
  const nameOf = (value: Value): string => {
    let name = names.get(value);
    if (name === undefined) {
      name = value.constant && !value.name ? constantText(value) : `%${value.name ?? count++}`;
      names.set(value, name);
    }
    return name;
  };
  const lines = [`graph ${graph.name} (${graph.mode})`];
  for (const input of graph.inputs) lines.push(`${nameOf(input)} ${formatType(input.type)} = input  // ${input.role}`);
  for (const node of graph.nodes) {
    const inputs = node.inputs.map(nameOf).join(', ');
    const attrs = Object.entries(node.attrs).filter(([, value]) => value !== undefined);
    const text = attrs.map(([key, value]) => `${key}: ${JSON.stringify(value)}`).join(', ');
    const outputs = node.outputs.map((output) => `${nameOf(output)} ${formatType(output.type)}`).join(', ');
    lines.push(`${outputs} = ${node.op.name}(${inputs})${text ? ` {${text}}` : ''}${node.scope ? `  // ${node.scope}` : ''}`);
  }
  for (const [name, value] of graph.outputs) lines.push(`return ${name} = ${nameOf(value)}`);
  return `${lines.join('\n')}\n`;
}

function constantText(value: Value): string {
  const { data, dtype } = value.constant!;
  return data.length === 1 ? `${dtype === 'float32' ? Math.fround(data[0]) : data[0]}` : `constant ${formatType(value.type)}`;
}
