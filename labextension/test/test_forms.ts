import * as assert from 'node:assert/strict';
import { test } from 'node:test';

import { RunCells } from '../src/jobs/fold';
import { collect } from '../src/jobs/parameters';
import { IParameter } from '../src/jobs/types';

const parameter = (kind: string, value: IParameter['default']): IParameter => ({
  name: 'p',
  kind,
  default: value
});

for (const [kind, text, value] of [
  ['int', '1OO', undefined],
  ['int', '1.5', undefined],
  ['int', ' 7 ', 7],
  ['float', 'nan', undefined],
  ['float', '1e-3', 0.001],
  ['bool', 'False', false],
  ['bool', 'no', undefined],
  ['list', '{}', undefined],
  ['list', '[1, "x"]', [1, 'x']],
  ['dict', '[1]', undefined],
  ['str', '12', '12'],
  ['', 'words', 'words']
] as const) {
  test(`${JSON.stringify(text)} as ${kind || 'anything'}`, () => {
    const { values, wrong } = collect([parameter(kind, 'the notebook has it')], { p: text });
    assert.deepEqual(values, value === undefined ? {} : { p: value });
    assert.equal(wrong?.name, value === undefined ? 'p' : undefined);
  });
}

test('a value that the notebook has is not sent', () => {
  assert.deepEqual(collect([parameter('int', 3)], { p: '3' }), { values: {}, wrong: null });
});

const notebook = { cells: [{ cell_type: 'code', source: 'x' }] };
const output = (text: string) => ({
  record: 'output',
  index: 0,
  output: { output_type: 'display_data', data: { 'text/plain': text }, metadata: {} }
});

test('of very many outputs the first and the last are held', () => {
  const cells = new RunCells(notebook);
  for (let each = 0; each < 1000; each++) {
    cells.apply(output(String(each)));
  }
  const { outputs, hidden } = cells.cell(0)!;
  assert.equal(outputs.length, 100);
  assert.equal(hidden, 900);
  assert.deepEqual(outputs[49]!['data'], { 'text/plain': '49' });
  assert.deepEqual(outputs[50]!['data'], { 'text/plain': '950' });
});

test('of a long text the end is held, from the beginning of a line', () => {
  const cells = new RunCells(notebook);
  for (let each = 0; each < 20_000; each++) {
    const output = { output_type: 'stream', name: 'stdout', text: `line ${each}\n` };
    cells.apply({ record: 'output', index: 0, output });
  }
  const { outputs, hidden } = cells.cell(0)!;
  const text = String(outputs[0]!['text']);
  assert.ok(text.length <= 100_000);
  assert.ok(text.startsWith('line '));
  assert.ok(text.endsWith('line 19999\n'));
  assert.equal(hidden, 1);
});

test('an update finds its output by its place, also when others before it are held no more', () => {
  const cells = new RunCells(notebook);
  for (let each = 0; each < 200; each++) {
    cells.apply(output(String(each)));
  }
  cells.apply({ record: 'update', index: 0, at: [199, 70], data: { 'text/plain': 'new' } });
  const { outputs } = cells.cell(0)!;
  assert.deepEqual(outputs[99]!['data'], { 'text/plain': 'new' });
  assert.equal(outputs.filter(each => JSON.stringify(each).includes('new')).length, 1);
});

test('what ran when the run ended has come to nothing', () => {
  const cells = new RunCells(notebook);
  cells.apply({ record: 'cell', index: 0, state: 'started', at_ms: 5 });
  assert.equal(cells.cell(0)!.status, 'running');
  cells.close();
  assert.equal(cells.cell(0)!.status, 'lost');
});
