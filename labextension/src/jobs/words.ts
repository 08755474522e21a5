import { TranslationBundle } from '@jupyterlab/translation';

import { duration } from '../text';
import { CellStatus } from './fold';
import { IProvenance, IRun, RunState } from './types';

const OVER: ReadonlyArray<RunState> = ['succeeded', 'failed', 'timed_out', 'cancelled', 'skipped'];

/** Whether nothing more will become of a run. */
export function isOver(state: RunState): boolean {
  return OVER.includes(state);
}

/** The word for a run's state; one whose end was asked for says so until it is there. */
export function runWord(
  trans: TranslationBundle,
  run: { readonly state: RunState; readonly cancel_requested?: boolean }
): string {
  const words: Record<RunState, string> = {
    scheduled: trans.__('waiting'),
    queued: trans.__('waiting'),
    claimed: trans.__('starting'),
    provisioning: trans.__('starting'),
    running: trans.__('running'),
    lost: trans.__('out of reach'),
    retry_wait: trans.__('waits to try again'),
    succeeded: trans.__('succeeded'),
    failed: trans.__('failed'),
    timed_out: trans.__('timed out'),
    cancelled: trans.__('cancelled'),
    skipped: trans.__('skipped')
  };
  if (run.cancel_requested && !isOver(run.state)) {
    return trans.__('is being cancelled');
  }
  return words[run.state] ?? run.state;
}

/** The word for a cell's state. */
export function cellWord(trans: TranslationBundle, status: CellStatus): string {
  const words: Record<CellStatus, string> = {
    text: '',
    waiting: trans.__('not run yet'),
    running: trans.__('running'),
    ok: trans.__('done'),
    reused: trans.__('not run again'),
    error: trans.__('failed'),
    lost: trans.__('did not end')
  };
  return words[status];
}

/** A time as people here write it, without the date where it is today. */
export function timeText(ms: number, now: number): string {
  const time = new Date(ms);
  const today = new Date(now).toDateString() === time.toDateString();
  return today
    ? time.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' })
    : time.toLocaleString([], {
        weekday: 'short',
        year: 'numeric',
        month: 'short',
        day: 'numeric',
        hour: '2-digit',
        minute: '2-digit'
      });
}

/** How far away a time is: `in 5 min`, `2 h ago`. */
export function awayText(trans: TranslationBundle, ms: number, now: number): string {
  const away = ms - now;
  return away >= 0
    ? trans.__('in %1', longDuration(trans, away))
    : trans.__('%1 ago', longDuration(trans, -away));
}

/** A duration, in days where it has some. */
export function longDuration(trans: TranslationBundle, ms: number): string {
  const days = Math.floor(ms / 86_400_000);
  return days >= 2 ? trans.__('%1 days', days) : duration(trans, ms);
}

/** A duration of which tenths of a second count: `0.4 s`, `38 s`, `2 min`. */
export function preciseDuration(trans: TranslationBundle, ms: number): string {
  return ms < 9_950 ? trans.__('%1 s', (Math.max(0, ms) / 1000).toFixed(1)) : duration(trans, ms);
}

/** How long a run took, or takes; empty where it has not begun. */
export function tookText(trans: TranslationBundle, run: IRun, now: number): string {
  return run.started_ms === null || run.started_ms === undefined
    ? ''
    : preciseDuration(trans, (run.ended_ms ?? now) - run.started_ms);
}

/** The name of a notebook's file. */
export function fileName(path: string | null | undefined): string {
  return path ? path.slice(path.lastIndexOf('/') + 1) : '';
}

/** Where the code came from: `main at 3f2ac81, with changes`. */
export function codeText(trans: TranslationBundle, code: IProvenance['code']): string {
  if (!code) {
    return '';
  }
  const commit = (code.base_commit ?? code.commit ?? '').slice(0, 7);
  const at = code.branch && commit ? trans.__('%1 at %2', code.branch, commit) : commit;
  return code.dirty && at ? trans.__('%1, with changes', at) : at;
}
