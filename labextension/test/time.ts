import { afterEach, beforeEach, mock } from 'node:test';

// In every test, time passes when the test says so.
beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
afterEach(() => mock.timers.reset());

/** Let all that can go on now go on. */
export async function settled(): Promise<void> {
  for (let round = 0; round < 20; round++) {
    mock.timers.tick(0);
    await new Promise(resolve => setImmediate(resolve));
  }
}

/** Let so many ms pass, and what they bring happen. */
export async function pass(ms: number): Promise<void> {
  await settled();
  mock.timers.tick(ms);
  await settled();
}
