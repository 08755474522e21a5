import { TranslationBundle } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { CommandIDs } from '../tokens';
import { Mark } from './marks';
import { parametersText } from './run_parts';
import { IRunDetail } from './types';
import { isOver, runWord } from './words';

interface IProps {
  readonly run: IRunDetail;
  readonly commands: CommandRegistry;
  readonly trans: TranslationBundle;
}

/** The runs of a sweep: with which parameters each runs, how it is, and what came out. */
export function Children({ run, commands, trans }: IProps): JSX.Element {
  const children = run.children ?? [];
  const over = children.filter(each => isOver(each.state)).length;
  const hasResults = children.some(each => each.result !== null);
  return (
    <>
      <p className="jp-cloudml-hint" role="status">
        {trans.__('%1 of %2 runs are over.', over, run.sweep_count ?? children.length)}
      </p>
      <table className="jp-cloudml-table" aria-label={trans.__('The runs of the sweep')}>
        <thead>
          <tr>
            <th scope="col">{trans.__('Run')}</th>
            <th scope="col">{trans.__('Parameters')}</th>
            <th scope="col">{trans.__('State')}</th>
            {hasResults && <th scope="col">{trans.__('Result')}</th>}
            <th scope="col">{trans.__('Why')}</th>
          </tr>
        </thead>
        <tbody>
          {children.map(each => (
            <tr key={each.run}>
              <td>
                <button
                  type="button"
                  className="jp-cloudml-link"
                  aria-label={trans.__('Show run %1 of the sweep', each.index + 1)}
                  onClick={() => void commands.execute(CommandIDs.showRun, { id: each.run })}
                >
                  {each.index + 1}
                </button>
              </td>
              <td className="jp-cloudml-free">{parametersText(each.parameters)}</td>
              <td>
                <span className="jp-cloudml-state">
                  <Mark state={each.state} /> {runWord(trans, each)}
                </span>
              </td>
              {hasResults && (
                <td className="jp-cloudml-free">{parametersText(each.result ?? {})}</td>
              )}
              <td className="jp-cloudml-why jp-cloudml-free">{each.reason ?? ''}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

/** To the sweep that a run is one of. */
export function InSweep({ run, commands, trans }: IProps): JSX.Element | null {
  const { parent_run_id: sweep, sweep_index: index } = run;
  if (!sweep || typeof index !== 'number') {
    return null;
  }
  return (
    <p className="jp-cloudml-detail">
      <button
        type="button"
        className="jp-cloudml-link"
        onClick={() => void commands.execute(CommandIDs.showRun, { id: sweep })}
      >
        {trans.__('run %1 of a sweep', index + 1)}
      </button>
    </p>
  );
}
