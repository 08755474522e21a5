import * as assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';

import { CloudMLError } from '../src/api';
import { RunModel } from '../src/jobs/run_model';
import { Later, Server } from './server';
import { pass, settled } from './time';

const CELLS = { cells: [{ cell_type: 'code', source: 'print(1)', outputs: [] }] };
const printed = (text: string) => ({
  record: 'output',
  index: 0,
  output: { output_type: 'stream', name: 'stdout', text }
});
const begun = { n: 1, state: 'running', machine: 'local', started_ms: 1, ended_ms: null };

/** A server with one run, whose records a test adds to. */
function world(state = 'running', more: object = {}) {
  const server = new Server();
  const run = { id: 'r', job: 'j', state, attempts: [begun], ...more };
  const records: object[] = [];
  server.on('GET runs/r', () => ({ ...run }));
  server.on('GET runs/r/sources', () => CELLS);
  server.on('GET runs/r/records', () => {
    const since = Number(/since=(\d+)/.exec(server.asked[server.asked.length - 1]!)![1]);
    const found = records.slice(since);
    return { records: found, next: records.length, over: run.state !== 'running', attempt: 1 };
  });
  return { server, run, records };
}

const open: RunModel[] = [];
function follow(server: Server): RunModel {
  const model = new RunModel('r', server.jobs());
  open.push(model);
  return model;
}
afterEach(() => open.splice(0).forEach(each => each.dispose()));

const text = (model: RunModel) =>
  model.cells
    ?.cell(0)
    ?.outputs.map(each => each['text'])
    .join('');

test('what a run says is taken in once, also where it is told of during a look', async () => {
  const { server, records } = world();
  records.push(printed('a'));
  const model = follow(server);
  await settled();
  assert.equal(text(model), 'a');
  // A look by the clock is under way when an event asks for another one.
  const slow = new Later<object>();
  server.on('GET runs/r/records', () => slow.promise);
  records.push(printed('b'));
  await pass(2_000);
  const before = server.count('GET runs/r/records');
  server.push('runRecords', { id: 'r' });
  await pass(100);
  assert.equal(server.count('GET runs/r/records'), before);
  server.on('GET runs/r/records', () => ({ records: [], next: 2, over: false, attempt: 1 }));
  slow.resolve({ records: [printed('b')], next: 2, over: false, attempt: 1 });
  await settled();
  assert.equal(text(model), 'ab');
});

test('another attempt begins with cells of its own', async () => {
  const { server, run, records } = world();
  records.push(printed('first'));
  const model = follow(server);
  await settled();
  run.attempts = [begun, { ...begun, n: 2 }];
  records.splice(0, 1, printed('second'));
  server.push('run', { id: 'r', state: 'running' });
  await pass(100);
  assert.equal(text(model), 'second');
});

test('a run that is over, and one that is gone, are asked for no more', async () => {
  const over = world('succeeded');
  follow(over.server);
  await settled();
  const asked = over.server.asked.length;
  await pass(60_000);
  assert.equal(over.server.asked.length, asked);

  const gone = new Server();
  gone.on('GET runs/r', () => {
    throw new CloudMLError({ code: 'not_found', message: 'there is no run r' }, 404);
  });
  const model = follow(gone);
  await settled();
  assert.equal(model.error!.code, 'not_found');
  await pass(60_000);
  assert.equal(gone.asked.length, 1);
});

test('a run of which somebody is still to be told is looked at until that is done', async () => {
  const { server, run } = world('failed', { notices: [{ to: 'x', state: 'waiting' }] });
  const model = follow(server);
  await settled();
  Object.assign(run, { notices: [{ to: 'x', state: 'sent' }] });
  await pass(5_000);
  assert.equal(model.run!.notices![0]!.state, 'sent');
  const asked = server.asked.length;
  await pass(60_000);
  assert.equal(server.asked.length, asked);
});

test('a kernel that is left is offered until its time is over', async () => {
  const { server, run } = world('failed', { kept: { until_ms: 1_000_000 + 30_000, cell: 0 } });
  const model = follow(server);
  await settled();
  assert.equal(model.kept!.cell, 0);
  // Somebody else keeps it longer, which no event tells.
  Object.assign(run, { kept: { until_ms: 1_000_000 + 90_000, cell: 0 } });
  server.time += 30_000;
  await pass(30_000);
  assert.equal(model.kept!.until_ms, 1_000_000 + 90_000);
  Object.assign(run, { kept: null });
  let heard = 0;
  model.changed.connect(() => heard++);
  server.time += 60_000;
  await pass(60_000);
  assert.ok(heard > 0);
  assert.equal(model.run!.kept, null);
});

test('a run that nobody looks at is not asked for, and is again when somebody does', async () => {
  const { server } = world();
  let isVisible = false;
  const model = new RunModel('r', server.jobs(), () => isVisible);
  open.push(model);
  await settled();
  assert.equal(model.run!.state, 'running', 'the first look names the page');
  const asked = server.asked.length;
  server.push('run', { id: 'r', state: 'running' });
  await pass(10_000);
  assert.equal(server.asked.length, asked);
  isVisible = true;
  void model.refresh();
  await settled();
  assert.ok(server.asked.length > asked);
});
