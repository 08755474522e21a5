import * as assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';

import { IPage, Paged } from '../src/jobs/paged';
import { Later } from './server';
import { pass, settled } from './time';

type Asked = [key: string | undefined, answer: Later<IPage<string>>];

function list(): {
  paged: Paged<string>;
  asked: Asked[];
  answer: (at: number, rows: string[], next: string | null) => void;
} {
  const asked: Asked[] = [];
  const paged = new Paged<string>('test', key => {
    asked.push([key, new Later()]);
    return asked[asked.length - 1]![1].promise;
  });
  open.push(paged);
  return { paged, asked, answer: (at, rows, next) => asked[at]![1].resolve({ rows, next }) };
}

const open: Paged<string>[] = [];
afterEach(() => open.splice(0).forEach(each => each.dispose()));

test('More that is pressed twice goes one page on', async () => {
  const { paged, asked, answer } = list();
  await settled();
  answer(0, ['a'], 'a');
  await settled();
  paged.more();
  paged.more();
  await settled();
  answer(1, ['b'], 'b');
  await settled();
  assert.deepEqual(
    asked.map(([key]) => key),
    [undefined, 'a']
  );
  assert.deepEqual(paged.rows, ['b']);
  paged.before();
  assert.equal(paged.hasBefore, false);
});

test('an answer to what is asked for no more is dropped', async () => {
  const { paged, asked, answer } = list();
  await settled();
  paged.restart();
  answer(0, ['of before'], 'of before');
  await settled();
  assert.equal(paged.rows, null);
  assert.equal(paged.hasMore, false);
  await pass(300);
  answer(1, ['of now'], null);
  await settled();
  assert.deepEqual(paged.rows, ['of now']);
  assert.equal(asked.length, 2);
});

test('a failure leaves the rows that are shown, and says why', async () => {
  const { paged, asked, answer } = list();
  await settled();
  answer(0, ['a'], null);
  await settled();
  paged.touch();
  paged.touch();
  await pass(300);
  assert.equal(asked.length, 2);
  asked[1]![1].reject(new Error('the server is away'));
  await settled();
  assert.deepEqual(paged.rows, ['a']);
  assert.match(paged.error!.message, /away/);
});
