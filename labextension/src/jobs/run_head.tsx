import * as React from 'react';

import { CommandIDs } from '../tokens';
import { Mark } from './marks';
import { moneyText, triggerText } from './origin';
import { Acts, Left } from './run_acts';
import { IPartProps } from './run_page';
import { parametersText } from './run_parts';
import { InSweep } from './sweep';
import { IRunDetail } from './types';
import { fileName, isOver, runWord, timeText, tookText } from './words';

/** What it is, how it is, and what can be done. */
export function Head(
  props: IPartProps & {
    readonly run: IRunDetail;
    readonly now: number;
    readonly machine: string;
  }
): JSX.Element {
  const { page, run, now, machine } = props;
  const { commands, trans } = page;
  const name = fileName(run.provenance.notebook) || run.job;
  const took = tookText(trans, run, now);
  const about = [
    trans.__('on %1', machine),
    run.started_ms
      ? trans.__('began %1', timeText(run.started_ms, now))
      : trans.__('due %1', timeText(run.due_ms, now)),
    took && (isOver(run.state) ? trans.__('took %1', took) : trans.__('runs for %1', took)),
    run.cost ? moneyText(run.cost) : ''
  ].filter(Boolean);
  const parameters = parametersText(run.provenance.params);
  return (
    <div className="jp-cloudml-run-head">
      <div className="jp-cloudml-row-line">
        <Mark state={run.state} />
        <h1>{name}</h1>
        <span className="jp-cloudml-word" role="status" data-state={run.state}>
          {runWord(trans, run)}
        </span>
      </div>
      <p className="jp-cloudml-detail">
        {about.join(' · ')} ·{' '}
        <button
          type="button"
          className="jp-cloudml-link"
          onClick={() => void commands.execute(CommandIDs.showJob, { name: run.job })}
        >
          {trans.__('job %1', run.job)}
        </button>
      </p>
      {run.trigger !== 'now' && run.trigger !== 'sweep' && (
        <p className="jp-cloudml-detail">{triggerText(trans, run, now)}</p>
      )}
      {parameters && <p className="jp-cloudml-detail">{parameters}</p>}
      <InSweep run={run} commands={commands} trans={trans} />
      {run.reason && (
        <p
          className={
            run.state === 'succeeded' || run.state === 'skipped'
              ? 'jp-cloudml-hint'
              : 'jp-cloudml-drift-errors'
          }
        >
          {run.reason}
        </p>
      )}
      {run.resumed && (
        <p className="jp-cloudml-hint">
          {run.resumed.why ?? trans.__('It went on at cell %1 of another run.', run.resumed.at + 1)}{' '}
          <button
            type="button"
            className="jp-cloudml-link"
            onClick={() =>
              void commands.execute(CommandIDs.showRun, { id: run.parent_run_id ?? '' })
            }
          >
            {trans.__('the run before')}
          </button>
        </p>
      )}
      <Acts {...props} />
      {props.model.kept && <Left {...props} kept={props.model.kept} />}
    </div>
  );
}
