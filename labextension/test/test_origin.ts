import * as assert from 'node:assert/strict';
import { test } from 'node:test';

import { costText, moneyText, triggerText } from '../src/jobs/origin';
import { gaugesOfRun } from '../src/jobs/measure';
import { IRunDetail } from '../src/jobs/types';
import { Server, trans } from './server';

for (const [trigger, found, said] of [
  ['now', null, 'Somebody asked for it.'],
  ['webhook', { kind: 'webhook' }, 'Somebody called its webhook.'],
  [
    'git',
    { git: 'https://x/y.git', ref: 'main', commit: '0123456789', before: 'abcdefabcdef' },
    'Commit 0123456 of main in https://x/y.git; before it was abcdefa.'
  ],
  [
    's3',
    { s3: 's3://b/in', changed: ['1', '2', '3', '4'], more: 2 },
    'New or changed below s3://b/in: 1, 2, 3 and 3 more.'
  ],
  ['s3', { s3: 's3://b/in', changed: null }, 'Objects below s3://b/in were new or changed.'],
  ['odd', { commit: { not: 'a text' } }, 'odd']
] as const) {
  test(`what made a run is told: ${trigger}`, () => {
    const run = { trigger, due_ms: 0, provenance: { trigger: found } };
    assert.equal(triggerText(trans, run as unknown as IRunDetail, 0), said);
  });
}

test('what a run has cost is told with how it has come about', () => {
  const attempt = (n: number, cost: number | null, minutes: number) => ({
    n,
    cost,
    machine: 'box',
    state: 'failed',
    exit: null,
    started_ms: 1,
    ended_ms: 1 + minutes * 60_000
  });
  const attempts = [attempt(1, 0.01, 1), attempt(2, null, 5), attempt(3, 1.2, 120)];
  const said = costText(trans, attempts, 1.21);
  assert.equal(said, '$1.21 = 1 min on box at $0.60 an hour + 2 h 00 min on box at $0.60 an hour');
  assert.equal(costText(trans, attempts, null), '');
  assert.equal(moneyText(0.00014), '$0.0001');
});

test('the gauges of a run are those of its last attempt, whose process is looked for once', async () => {
  const server = new Server();
  const attempts = [{ n: 1, machine: 'box' }];
  let state = 'running';
  const read = gaugesOfRun(
    server.client,
    () => ({ id: 'r', state, attempts }) as unknown as IRunDetail
  );
  const process = (id: string, attempt: string) => ({ id, labels: { run: 'r', attempt } });
  server.on('GET processes box', () => [process('a', '1'), process('b', '2')]);
  server.on('GET gauges box', () => ({
    machine: { cpu_percent: 5 },
    processes: { a: { cpu_percent: 1 }, b: { cpu_percent: 2 } }
  }));
  assert.equal((await read())!.own!.cpu_percent, 1);
  await read();
  assert.equal(server.count('GET processes'), 1);
  attempts.push({ n: 2, machine: 'box' });
  assert.equal((await read())!.own!.cpu_percent, 2);
  state = 'failed';
  assert.equal(await read(), null);
  assert.equal(server.count('GET gauges'), 3);
});
