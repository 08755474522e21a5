import * as assert from 'node:assert/strict';
import { test } from 'node:test';

import { BackfillModel } from '../src/jobs/backfill_model';
import { runChoices } from '../src/jobs/narrow';
import { readSweep, writeSweep } from '../src/jobs/sweeps';
import { Later, Server, trans } from './server';
import { pass, settled } from './time';

for (const [text, value, count] of [
  ['', undefined, 0],
  ['alpha = 1, 2.5, true', { alpha: [1, 2.5, true] }, 3],
  ['name = x y, z\nalpha=1,2', { name: ['x y', 'z'], alpha: [1, 2] }, 4],
  ['q = "a,b", "c"', { q: ['a,b', 'c'] }, 2],
  ['l = [1, 2], [3]', { l: [[1, 2], [3]] }, 2],
  ['[{"a": 1}, {"a": 5, "b": 2}]', [{ a: 1 }, { a: 5, b: 2 }], 2],
  ['flag = True, False, None', { flag: [true, false, null] }, 3],
  ['q = "a, b", c', { q: ['a, b', 'c'] }, 2],
  ['alpha = 1, 2,', null, 0],
  ['alpha', null, 0],
  ['alpha = 1\nalpha = 2', null, 0],
  ['{"alpha": 1}', null, 0],
  ['{"alpha": []}', null, 0],
  ['[1]', null, 0],
  ['{"alpha"', null, 0]
] as const) {
  test(`a sweep is read: ${JSON.stringify(text)}`, () => {
    assert.deepEqual(readSweep(text), value === null ? null : { value, count });
    if (value) {
      assert.deepEqual(readSweep(writeSweep(value as never))!.value, value, 'and read back');
    }
  });
}

test('any name can be that of a parameter', () => {
  assert.deepEqual(Object.keys(readSweep('constructor = 1')!.value as object), ['constructor']);
});

test('what can be no line of a sweep is written as JSON', () => {
  const odd = { 'a = b': [1] };
  assert.deepEqual(JSON.parse(writeSweep(odd)), odd);
});

test('counts of runs are summed as they are narrowed', () => {
  const counts = { running: 1, queued: 2, failed: 3, timed_out: 4, skipped: 5 };
  const found = runChoices(trans, counts).map(each => [each.value, each.count]);
  const open = ['open', 3];
  assert.deepEqual(found, [['', 15], open, ['succeeded', 0], ['failed', 7], ['other', 5]]);
  assert.ok(runChoices(trans, null).every(each => each.count === null));
});

test('runs are made of the range that was looked at last, once', async () => {
  const server = new Server();
  const looks: Later<object>[] = [];
  const filled: object[] = [];
  server.on('POST jobs/j/backfill', body => {
    const { dry_run: isDry, ...range } = body as { dry_run?: boolean };
    if (!isDry) {
      filled.push(range);
      return { runs: [] };
    }
    looks.push(new Later());
    return looks[looks.length - 1]!.promise;
  });
  const model = new BackfillModel('j', server.jobs());
  const filling = (due: number) => ({ due, ran: 1, first_ms: 1, last_ms: 2 });
  model.choose(1, 2, null);
  await pass(300);
  model.choose(1, 9, 'cron-a');
  await model.fill();
  assert.deepEqual(filled, [], 'nothing is made of a range that was not looked at');
  await pass(300);
  looks[1]!.resolve(filling(9));
  await settled();
  looks[0]!.resolve(filling(2));
  await settled();
  assert.equal(model.filling!.due, 9);
  await Promise.all([model.fill(), model.fill()]);
  assert.deepEqual(filled, [{ from_ms: 1, until_ms: 9, trigger: 'cron-a' }]);
  assert.equal(model.made, 8);
  model.choose(3, NaN, null);
  await pass(300);
  assert.equal(looks.length, 2, 'a time that is none is not asked about');
  model.dispose();
});
