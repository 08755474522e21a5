import { TranslationBundle } from '@jupyterlab/translation';
import { LabIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import {
  busyIcon,
  doneIcon,
  endedIcon,
  offIcon,
  reconnectingIcon,
  skippedIcon,
  troubleIcon
} from '../icons';
import { CellStatus } from './fold';
import { IStripRun, RunState } from './types';
import { runWord } from './words';

type Look = { readonly icon: LabIcon; readonly tone: string };

const WAITS: Look = { icon: offIcon, tone: 'off' };
const GOES: Look = { icon: busyIcon, tone: 'busy' };
const DONE: Look = { icon: doneIcon, tone: 'good' };
const FAILED: Look = { icon: endedIcon, tone: 'bad' };

/** Icon and tone of every state; the word stands beside them. */
const LOOKS: Readonly<Record<RunState | CellStatus, Look>> = {
  scheduled: WAITS,
  queued: WAITS,
  waiting: WAITS,
  text: WAITS,
  retry_wait: { icon: reconnectingIcon, tone: 'warn' },
  claimed: GOES,
  provisioning: GOES,
  running: GOES,
  lost: { icon: reconnectingIcon, tone: 'warn' },
  succeeded: DONE,
  ok: DONE,
  reused: { icon: skippedIcon, tone: 'off' },
  failed: FAILED,
  error: FAILED,
  timed_out: { icon: troubleIcon, tone: 'bad' },
  cancelled: { icon: endedIcon, tone: 'off' },
  skipped: { icon: skippedIcon, tone: 'off' }
};

/** The mark of a state; decoration only. */
export function Mark({ state }: { readonly state: RunState | CellStatus }): JSX.Element {
  const { icon: Icon, tone } = LOOKS[state] ?? WAITS;
  return (
    <span className="jp-cloudml-mark" data-tone={tone} data-state={state} aria-hidden="true">
      <Icon.react tag={null} />
    </span>
  );
}

/** The last runs of a job, one mark each; the label counts them, and a click opens one. */
export function Strip(props: {
  readonly runs: ReadonlyArray<IStripRun>;
  readonly trans: TranslationBundle;
  readonly onOpen: (id: string) => void;
}): JSX.Element | null {
  const { runs, trans, onOpen } = props;
  if (runs.length === 0) {
    return null;
  }
  const counts = new Map<string, number>();
  for (const run of runs) {
    const word = runWord(trans, run);
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const counted = [...counts].map(([word, count]) => `${count} ${word}`).join(', ');
  return (
    <span
      className="jp-cloudml-strip"
      role="img"
      aria-label={trans.__('The last runs: %1', counted)}
    >
      {runs.map(run => (
        <span
          key={run.id}
          className="jp-cloudml-strip-run"
          title={`${runWord(trans, run)} · ${new Date(run.due_ms).toLocaleString()}`}
          onClick={() => onOpen(run.id)}
        >
          <Mark state={run.state} />
        </span>
      ))}
    </span>
  );
}
