import { TranslationBundle } from '@jupyterlab/translation';
import { JSONValue } from '@lumino/coreutils';

import { IAttempt, IRunDetail } from './types';
import { preciseDuration, timeText } from './words';

/** Names that are said of what a trigger found. */
const NAMED = 3;

/** What has made a run, in words: somebody, a time, a commit, objects, a call. */
export function triggerText(trans: TranslationBundle, run: IRunDetail, now: number): string {
  const found = run.provenance.trigger ?? {};
  const text = (value: JSONValue | undefined) => (typeof value === 'string' ? value : '');
  const due = timeText(run.due_ms, now);
  if (run.retry_of) {
    return trans.__('Somebody had another run run again.');
  }
  switch (run.trigger) {
    case 'now':
      return trans.__('Somebody asked for it.');
    case 'sweep':
      return trans.__('It is one of a sweep.');
    case 'at':
    case 'cron':
    case 'every':
      return trans.__('It was due at %1.', due);
    case 'after':
      return trans.__('The job that it runs after has ended.');
    case 'webhook':
      return trans.__('Somebody called its webhook.');
    case 'git': {
      const commit = text(found['commit']).slice(0, 7);
      const before = text(found['before']).slice(0, 7);
      const at = trans.__('Commit %1 of %2 in %3', commit, text(found['ref']), text(found['git']));
      return before ? trans.__('%1; before it was %2.', at, before) : `${at}.`;
    }
    case 's3': {
      const changed = Array.isArray(found['changed']) ? found['changed'].map(String) : [];
      const more = typeof found['more'] === 'number' ? found['more'] : 0;
      const rest = Math.max(0, changed.length - NAMED) + more;
      const names = changed.slice(0, NAMED).join(', ');
      const place = text(found['s3']);
      if (!names) {
        return trans.__('Objects below %1 were new or changed.', place);
      }
      return rest > 0
        ? trans.__('New or changed below %1: %2 and %3 more.', place, names, rest)
        : trans.__('New or changed below %1: %2.', place, names);
    }
    default:
      return run.trigger ?? '';
  }
}

/** An amount of money: small ones as far as they have something to say. */
export function moneyText(amount: number): string {
  return `$${amount.toFixed(amount >= 0.995 || amount === 0 ? 2 : 4)}`;
}

/** How the cost of a run has come about; empty where none of its machines has a price. */
export function costText(
  trans: TranslationBundle,
  attempts: ReadonlyArray<IAttempt>,
  cost: number | null
): string {
  if (cost === null) {
    return '';
  }
  const parts = attempts.flatMap(({ cost: part, ended_ms: until, machine, started_ms: from }) => {
    if (typeof part !== 'number' || !from || !until || until <= from) {
      return [];
    }
    const price = (part * 3_600_000) / (until - from);
    const took = preciseDuration(trans, until - from);
    return [trans.__('%1 on %2 at %3 an hour', took, machine, `$${price.toFixed(2)}`)];
  });
  return [moneyText(cost), parts.join(' + ')].filter(Boolean).join(' = ');
}
