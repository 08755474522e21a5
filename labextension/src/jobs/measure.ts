import { CloudMLClient } from '../api';
import { IGauges } from '../gauges';
import { IRunDetail } from './types';

/** What measures the attempt of a run that goes on: its machine, and its process with all that this has started. */
export function gaugesOfRun(
  client: CloudMLClient,
  run: () => IRunDetail | null
): () => Promise<IGauges | null> {
  let measured = '';
  let process: string | null = null;
  return async () => {
    const now = run();
    const attempt = now?.attempts[now.attempts.length - 1];
    if (now?.state !== 'running' || !attempt) {
      return null;
    }
    const name = `${now.id} ${attempt.n}`;
    if (name !== measured || process === null) {
      const found = (await client.processes(attempt.machine)).find(
        ({ labels }) => labels?.['run'] === now.id && labels['attempt'] === String(attempt.n)
      );
      [measured, process] = [name, found?.id ?? null];
    }
    const { machine, processes } = await client.machineGauges(attempt.machine);
    return { machine, own: (process !== null && processes[process]) || null };
  };
}
