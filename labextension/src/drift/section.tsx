import { TranslationBundle } from '@jupyterlab/translation';
import { UseSignal } from '@jupyterlab/ui-components';
import * as React from 'react';

import { DriftModel, errorsOf } from './model';
import { differenceText, errorsText, notesText } from './text';
import { IKernelDrift } from './types';

export interface IDriftProps {
  readonly drift: DriftModel;
  readonly kernelId: string;
  /** The machine as it is called. */
  readonly label: string;
  readonly makeEqual: () => void;
  readonly trans: TranslationBundle;
}

/** What must agree and does not, with the ways out. */
function Errors(props: IDriftProps & { readonly value: IKernelDrift }): JSX.Element {
  const { drift, kernelId, label, makeEqual, trans, value } = props;
  return (
    <>
      <p className="jp-cloudml-drift-errors" role="alert">
        {trans.__('Packages do not fit: %1.', errorsText(trans, errorsOf(value), label))}
      </p>
      <div className="jp-cloudml-row-line">
        <button
          type="button"
          className="jp-cloudml-button"
          title={trans.__(
            'Build an environment on %1 with the packages here, and move into it',
            label
          )}
          onClick={makeEqual}
        >
          {trans.__('Make equal')}
        </button>
        <button
          type="button"
          className="jp-cloudml-button"
          title={trans.__('Say no more of this for this notebook')}
          aria-label={trans.__('Ignore that packages do not fit')}
          onClick={() => void drift.dismiss(kernelId)}
        >
          {trans.__('Ignore')}
        </button>
      </div>
    </>
  );
}

/** How the packages of the notebook in front compare with those here: errors with a way out, the rest in a line to open. */
export function DriftSection(props: IDriftProps): JSX.Element {
  const { drift, kernelId, label, trans } = props;
  return (
    <UseSignal signal={drift.changed}>
      {() => {
        const value = drift.get(kernelId);
        const errors = errorsOf(value);
        const told = errors.length > 0 && !value?.dismissed;
        const quiet = [...(told ? [] : errors), ...(value?.notes ?? [])];
        return value && (told || quiet.length > 0) ? (
          <div
            className="jp-cloudml-code"
            role="group"
            aria-label={trans.__('Packages on %1', label)}
          >
            {told && <Errors {...props} value={value} />}
            {quiet.length > 0 && (
              <details className="jp-cloudml-drift-notes">
                <summary>{notesText(trans, quiet, value.found?.locked ?? false)}</summary>
                <ul aria-label={trans.__('Packages: here → on %1', label)}>
                  {quiet.map(each => (
                    <li key={each.name}>{differenceText(trans, each)}</li>
                  ))}
                </ul>
              </details>
            )}
          </div>
        ) : null;
      }}
    </UseSignal>
  );
}
