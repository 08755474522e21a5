import * as assert from 'node:assert/strict';
import { test } from 'node:test';

import { singly } from '../src/jobs/flight';
import { Observable } from '../src/observable';
import { Later } from './server';
import { settled } from './time';

test('of work that is asked for while it goes on, one more is done, after it', async () => {
  const goes: Later<void>[] = [];
  const look = singly(() => {
    goes.push(new Later());
    return goes[goes.length - 1]!.promise;
  });
  const first = look();
  const later = [look(), look(), look()];
  await settled();
  assert.equal(goes.length, 1);
  goes[0]!.resolve();
  await first;
  await settled();
  assert.equal(goes.length, 2);
  goes[1]!.resolve();
  await Promise.all(later);
  await settled();
  assert.equal(goes.length, 2);
});

test('work that fails is told to those who asked for it, and the next one begins all the same', async () => {
  const goes: Later<void>[] = [];
  const look = singly(() => {
    goes.push(new Later());
    return goes[goes.length - 1]!.promise;
  });
  const first = look();
  const second = look();
  goes[0]!.reject(new Error('no'));
  await assert.rejects(first, /no/);
  await settled();
  goes[1]!.resolve();
  await second;
  void look();
  assert.equal(goes.length, 3);
});

test('what is disposed says nothing more, and lets go once', () => {
  class Model extends Observable {
    released = 0;
    say(): void {
      this.emit();
    }
    protected override release(): void {
      this.released++;
    }
  }
  const model = new Model();
  let heard = 0;
  model.changed.connect(() => heard++);
  model.say();
  model.dispose();
  model.dispose();
  model.changed.connect(() => heard++);
  model.say();
  assert.equal(heard, 1);
  assert.equal(model.released, 1);
});
