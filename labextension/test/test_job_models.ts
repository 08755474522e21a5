import * as assert from 'node:assert/strict';
import { test } from 'node:test';

import { EditModel } from '../src/jobs/edit_model';
import { JobModel } from '../src/jobs/job_model';
import { Later, Server } from './server';
import { pass, settled } from './time';

const JOB = { name: 'j', id: 'i', rev: 3, paused: false, strip: [], definition: { name: 'j' } };

test('a next time that has passed is asked for again, without an event', async () => {
  const server = new Server();
  let due = server.time + 10_000;
  server.on('GET jobs/j', () => ({
    ...JOB,
    next_due_ms: due,
    definition: { name: 'j', triggers: [{ every: '10s' }] }
  }));
  server.on('GET runs?', () => ({ runs: [], next: null }));
  server.on('POST jobs/preview', () => ({ words: 'every 10 s', next_ms: [due] }));
  const model = new JobModel('j', server.jobs());
  await settled();
  assert.deepEqual(model.previews, [{ words: 'every 10 s', next_ms: [due] }]);
  server.time += 45_000;
  due = server.time + 5_000;
  await pass(45_000); // the look at its runs, now and then
  await pass(300);
  assert.equal(model.job!.next_due_ms, due);
  assert.deepEqual(model.previews, [{ words: 'every 10 s', next_ms: [due] }]);
  model.dispose();
});

test('a burst of events is one look', async () => {
  const server = new Server();
  server.on('GET jobs/j', () => JOB);
  server.on('GET runs?', () => ({ runs: [], next: null }));
  const model = new JobModel('j', server.jobs());
  await settled();
  const before = server.count('GET jobs/j');
  for (let each = 0; each < 20; each++) {
    server.push('run', { id: String(each), job: 'j', state: 'running' });
  }
  await pass(300);
  assert.equal(server.count('GET jobs/j'), before + 1);
  model.dispose();
});

test('the summary is looked at while events never pause', async () => {
  const server = new Server();
  server.on('GET runs/summary', () => ({ running: [], failed_today: [], next: [], counts: {} }));
  const jobs = server.jobs();
  jobs.setVisible(true);
  await settled();
  const before = server.count('GET runs/summary');
  for (let each = 0; each < 20; each++) {
    server.push('run', { id: String(each), job: 'j', state: 'running' });
    await pass(100);
  }
  assert.ok(server.count('GET runs/summary') >= before + 5);
  jobs.dispose();
});

/** A form of a new job, with the answers to what it asks about notebooks. */
async function form() {
  const server = new Server();
  const answers: Record<string, Later<object>> = {};
  server.on('GET jobs/schema', () => ({ properties: {} }));
  server.on('GET jobs/parameters', () => {
    const path = decodeURIComponent(
      /path=([^&]*)/.exec(server.asked[server.asked.length - 1]!)![1]!
    );
    answers[path] = new Later();
    return answers[path]!.promise;
  });
  const model = new EditModel(null, server.jobs(), {});
  await settled();
  return { server, model, answers };
}

test('parameters are those of the notebook that is named now', async () => {
  const { model, answers } = await form();
  model.edit({ notebook: 'a.ipynb' });
  await pass(300);
  model.edit({ notebook: 'b.ipynb' });
  await pass(300);
  const parameter = (name: string) => ({ parameters: [{ name, kind: 'int', default: 1 }] });
  answers['b.ipynb']!.resolve(parameter('of_b'));
  await settled();
  answers['a.ipynb']!.resolve(parameter('of_a'));
  await settled();
  assert.deepEqual(
    model.parameters!.map(each => each.name),
    ['of_b']
  );
  model.dispose();
});

test('a job is saved as the next of the revision that was loaded', async () => {
  const server = new Server();
  const said: object[] = [];
  server.on('GET jobs/schema', () => ({ properties: {} }));
  server.on('GET jobs/j', () => JOB);
  server.on('POST jobs', body => {
    said.push(body as object);
    return JOB;
  });
  const model = new EditModel('j', server.jobs(), {});
  await settled();
  model.mark('a-field', true);
  assert.deepEqual([...model.wrong], ['a-field']);
  model.mark('a-field', false);
  assert.equal(model.wrong.size, 0);
  model.edit({ name: 'j', timeout_s: null, retry: { count: null } });
  await model.submit();
  assert.deepEqual(said, [{ definition: { name: 'j', retry: {} }, rev: 3 }]);
  model.dispose();
});
