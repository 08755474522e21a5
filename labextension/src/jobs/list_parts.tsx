import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { Refusal } from '../add/parts';
import { CloudMLError } from '../api';
import { Mark } from './marks';
import { Paged } from './paged';
import { IRun } from './types';
import { isOver, runWord, timeText, tookText } from './words';

/** To the page before and the one that follows, where there are any. */
export function Pages<T>(props: {
  readonly paged: Paged<T>;
  readonly label: string;
  readonly trans: TranslationBundle;
}): JSX.Element | null {
  const { paged, label, trans } = props;
  if (!paged.hasBefore && !paged.hasMore) {
    return null;
  }
  return (
    <nav className="jp-cloudml-pages" aria-label={label}>
      <button
        type="button"
        className="jp-cloudml-button"
        disabled={!paged.hasBefore}
        onClick={() => paged.before()}
      >
        {trans.__('Back')}
      </button>
      <button
        type="button"
        className="jp-cloudml-button"
        disabled={!paged.hasMore}
        onClick={() => paged.more()}
      >
        {trans.__('More')}
      </button>
    </nav>
  );
}

/** Why a list could not be had, and another try. */
export function ListTrouble(props: {
  readonly error: CloudMLError;
  readonly onRetry: () => void;
  readonly trans: TranslationBundle;
}): JSX.Element {
  return (
    <Refusal error={props.error}>
      <button type="button" className="jp-mod-styled" onClick={props.onRetry}>
        {props.trans.__('Try again')}
      </button>
    </Refusal>
  );
}

/** Runs as a table, the newest first. */
export function RunTable(props: {
  readonly runs: ReadonlyArray<IRun>;
  readonly now: number;
  readonly trans: TranslationBundle;
  readonly onOpen: (id: string) => void;
}): JSX.Element {
  const { runs, now, trans, onOpen } = props;
  return (
    <table className="jp-cloudml-table">
      <thead>
        <tr>
          <th scope="col">{trans.__('Due')}</th>
          <th scope="col">{trans.__('State')}</th>
          <th scope="col">{trans.__('Took')}</th>
          <th scope="col">{trans.__('Machine')}</th>
          <th scope="col">{trans.__('Why')}</th>
        </tr>
      </thead>
      <tbody>
        {runs.map(run => (
          <tr key={run.id}>
            <td>
              <button
                type="button"
                className="jp-cloudml-link"
                aria-label={trans.__('Show the run of %1', timeText(run.due_ms, now))}
                onClick={() => onOpen(run.id)}
              >
                {timeText(run.due_ms, now)}
              </button>
            </td>
            <td>
              <span className="jp-cloudml-state">
                <Mark state={run.state} /> {runWord(trans, run)}
              </span>
            </td>
            <td>{tookText(trans, run, now)}</td>
            <td>{run.machine ?? ''}</td>
            <td className="jp-cloudml-why jp-cloudml-free">
              {run.reason && isOver(run.state) ? run.reason : (run.trigger ?? '')}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
