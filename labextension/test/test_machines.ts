import { Event, KernelSpec } from '@jupyterlab/services';
import * as assert from 'node:assert/strict';
import { test } from 'node:test';

import { CloudMLModel } from '../src/model';
import { Later, Server } from './server';
import { pass, settled } from './time';

test('what happens while a snapshot is on its way is looked at after it', async () => {
  const server = new Server();
  const specs = { refreshSpecs: async () => undefined } as unknown as KernelSpec.IManager;
  const model = new CloudMLModel(server.client, server.events as unknown as Event.IManager, specs);
  server.on('GET kernels', () => []);
  const slow = new Later<object[]>();
  server.on('GET machines', () => slow.promise);
  void model.refresh();
  await settled();
  server.push('kernel', { id: 'k', machine: 'local', state: 'idle', seq: 1 });
  await pass(150);
  assert.equal(server.count('GET machines'), 1);
  server.on('GET machines', () => [{ name: 'local', label: 'new', state: 'running' }]);
  slow.resolve([{ name: 'local', label: 'old', state: 'running' }]);
  await settled();
  await pass(150);
  assert.equal(model.machine('local')!.label, 'new');
  model.dispose();
});
