import { Signal } from '@lumino/signaling';
import * as assert from 'node:assert/strict';
import { test } from 'node:test';

import { CloudMLError } from '../src/api';
import { DataClient } from '../src/datasets/client';
import { DatasetsModel } from '../src/datasets/model';
import { ICloudML } from '../src/tokens';
import { Later } from './server';
import { settled } from './time';

test('a failure that was dismissed does not come back with a list from before it', async () => {
  const sync = { id: 'o', kind: 'sync-dataset', target: 'local', state: 'running' };
  let list: Later<object[]>;
  let watched = 0;
  const model = {
    datasetsChanged: new Signal({}),
    operationMoved: new Signal({}),
    changed: new Signal({}),
    machine: () => ({ state: 'running' }),
    client: { listOperations: () => (list = new Later<object[]>()).promise },
    watch: (id: string) => {
      watched++;
      const error = new CloudMLError({ code: 'no_bucket', message: 'There is no such bucket.' });
      const ended = Promise.reject(error);
      const value = { about: { source: 's3://x', target: 'data/x' }, target: 'local' };
      return { id, ended, value, changed: new Signal({}), isDisposed: false, dispose() {} };
    }
  };
  const client = { datasets: async () => ({ datasets: [] }) };
  const datasets = new DatasetsModel(model as unknown as ICloudML, client as unknown as DataClient);
  datasets.setMachine('local');
  void datasets.refresh();
  await settled();
  list!.resolve([sync]);
  await settled();
  assert.equal(datasets.failures.length, 1);

  void datasets.refresh();
  await settled();
  datasets.forget(datasets.failures[0]!);
  list!.resolve([sync]); // as it was before the end
  await settled();
  assert.deepEqual([datasets.failures, watched], [[], 1]);
  datasets.dispose();
});
