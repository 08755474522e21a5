import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { RunState } from './types';

/** What a list is narrowed to; "" is all of it. */
export interface IChoice {
  readonly value: string;
  readonly text: string;
  /** How many there are; null where that is not known. */
  readonly count: number | null;
}

/** Buttons that narrow a list, each with how many rows it leaves. */
export function Narrow(props: {
  readonly label: string;
  readonly value: string;
  readonly choices: ReadonlyArray<IChoice>;
  readonly onChange: (value: string) => void;
}): JSX.Element {
  const { choices, label, onChange, value } = props;
  return (
    <div className="jp-cloudml-narrow" role="group" aria-label={label}>
      {choices.map(({ count, text, value: each }) => (
        <button
          key={each}
          type="button"
          className="jp-cloudml-button"
          aria-pressed={each === value}
          onClick={() => onChange(each)}
        >
          {text}
          {count !== null && (
            <>
              {' '}
              <span className="jp-cloudml-count">{count.toLocaleString()}</span>
            </>
          )}
        </button>
      ))}
    </div>
  );
}

type Counts = Readonly<Record<string, number>> | null;

/** Which jobs: those that need somebody come by themselves. */
export function jobChoices(trans: TranslationBundle, counts: Counts): IChoice[] {
  return [
    { value: '', text: trans.__('All'), count: counts?.['all'] ?? null },
    { value: 'running', text: trans.__('Running'), count: counts?.['running'] ?? null },
    { value: 'failing', text: trans.__('Failing'), count: counts?.['failing'] ?? null },
    { value: 'paused', text: trans.__('Paused'), count: counts?.['paused'] ?? null }
  ];
}

/** The states of runs that are looked at together. */
export const RUN_GROUPS: Readonly<Record<string, ReadonlyArray<RunState>>> = {
  open: ['scheduled', 'queued', 'claimed', 'provisioning', 'running', 'lost', 'retry_wait'],
  succeeded: ['succeeded'],
  failed: ['failed', 'timed_out'],
  other: ['cancelled', 'skipped']
};

/** So many of the newest runs of a job are counted. */
export const COUNTED = 1000;

/** Whether a job has more runs than are counted. */
export function isPartial(counts: Counts): boolean {
  return Object.values(counts ?? {}).reduce((total, each) => total + each, 0) >= COUNTED;
}

/** Which runs of a job. */
export function runChoices(trans: TranslationBundle, counts: Counts): IChoice[] {
  const texts: Record<string, string> = {
    open: trans.__('Not over'),
    succeeded: trans.__('Succeeded'),
    failed: trans.__('Failed'),
    other: trans.__('Cancelled or skipped')
  };
  const sum = (states: ReadonlyArray<string>) =>
    counts && states.reduce((total, state) => total + (counts[state] ?? 0), 0);
  return [
    { value: '', text: trans.__('All'), count: sum(Object.keys(counts ?? {})) },
    ...Object.entries(RUN_GROUPS).map(([value, states]) => ({
      value,
      text: texts[value] ?? value,
      count: sum(states)
    }))
  ];
}
