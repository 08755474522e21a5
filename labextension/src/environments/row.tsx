import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { CloudMLError } from '../api';
import { differenceText } from '../drift/text';
import { duration, errorText, size } from '../text';
import { IDrift, IEnvironment } from '../types';
import { fileText } from './choice';

const DAY = 86_400_000;

/** What can be done with an environment; null where it cannot be done now. */
export interface IRowActs {
  readonly use: (() => void) | null;
  readonly check: () => void;
  readonly log: (() => void) | null;
  readonly remove: (() => void) | null;
}

interface IRowProps {
  readonly row: IEnvironment;
  readonly drift: IDrift | CloudMLError | null | undefined;
  readonly acts: IRowActs;
  readonly now: number;
  readonly trans: TranslationBundle;
}

/** How an environment is called: by its names, else by its key. */
export function nameOf(row: IEnvironment, trans: TranslationBundle): string {
  return row.names.join(', ') || (row.source ? row.key : trans.__('made by itself'));
}

/** One environment: what it is, and what can be done with it. */
export function EnvironmentRow({ row, drift, acts, now, trans }: IRowProps): JSX.Element {
  const name = nameOf(row, trans);
  const age = now - row.used_ms;
  const used = age < 2 * DAY ? duration(trans, age) : trans.__('%1 days', Math.floor(age / DAY));
  const what = [
    row.python && trans.__('Python %1', row.python),
    row.packages > 0 && trans._n('one package', '%1 packages', row.packages),
    size(trans, row.bytes),
    row.in_use ? '' : trans.__('used %1 ago', used)
  ].filter(Boolean);
  const button = (text: string, accessible: string, act: (() => void) | null) =>
    act && (
      <button
        type="button"
        className="jp-cloudml-button"
        aria-label={accessible}
        title={accessible}
        onClick={act}
      >
        {text}
      </button>
    );
  return (
    <li className="jp-cloudml-environment" data-key={row.key}>
      <div className="jp-cloudml-row-line">
        <span className="jp-cloudml-name">{name}</span>
        <code className="jp-cloudml-key" title={row.python_path}>
          {row.key.slice(0, 8)}
        </code>
        {row.in_use && <span className="jp-cloudml-tag">{trans.__('in use')}</span>}
        <span className="jp-cloudml-spring" />
        {button(trans.__('Use'), trans.__('Run the notebook in front in %1', name), acts.use)}
        {button(trans.__('Check'), trans.__('Compare %1 with the packages here', name), acts.check)}
        {button(trans.__('Log'), trans.__('Show the build log of %1', name), acts.log)}
        {button(trans.__('Remove…'), trans.__('Remove %1', name), acts.remove)}
      </div>
      <div className="jp-cloudml-detail">{what.join(' · ')}</div>
      <div className="jp-cloudml-detail" title={row.source}>
        {row.source
          ? trans.__('from %1', fileText(row.source))
          : trans.__('ipykernel alone, for a Python that had none')}
      </div>
      {drift !== undefined && <Compared drift={drift} trans={trans} />}
    </li>
  );
}

/** What a comparison has found. */
function Compared(props: {
  readonly drift: IDrift | CloudMLError | null;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { drift, trans } = props;
  if (drift === null || drift instanceof CloudMLError) {
    return (
      <p className="jp-cloudml-hint" role="status">
        {drift ? errorText(drift) : trans.__('Comparing the packages…')}
      </p>
    );
  }
  const { changed, differences } = drift;
  const errors = differences.filter(each => each.level === 'error');
  const notes = differences.filter(each => each.level === 'note');
  return (
    <div role="status">
      {differences.length === 0 && changed.length === 0 && (
        <p className="jp-cloudml-hint">{trans.__('The same packages as here.')}</p>
      )}
      {errors.length > 0 && (
        <p className="jp-cloudml-drift-errors">
          {trans.__('Must agree with here (here → there): %1', listed(errors, trans))}
        </p>
      )}
      {changed.length > 0 && (
        <p className="jp-cloudml-hint">
          {trans.__('Changed by hand since it was built: %1', listed(changed, trans))}
        </p>
      )}
      {notes.length > 0 && (
        <details className="jp-cloudml-drift-notes">
          <summary>
            {trans._n(
              'One package differs from here',
              '%1 packages differ from here',
              notes.length
            )}
          </summary>
          <ul>
            {notes.map(each => (
              <li key={each.name}>{differenceText(trans, each)}</li>
            ))}
          </ul>
        </details>
      )}
    </div>
  );
}

function listed(differences: IDrift['differences'], trans: TranslationBundle): string {
  return differences.map(each => differenceText(trans, each)).join(', ');
}
