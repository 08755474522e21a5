import { TranslationBundle } from '@jupyterlab/translation';
import { UseSignal } from '@jupyterlab/ui-components';
import * as React from 'react';

import { Act, Buttons } from '../buttons';
import { Elapsed } from '../presentation';
import { duration, size, stepText } from '../text';
import { IStartedWith } from '../types';
import { CodeModel } from './model';
import { doneText, startedWith, thereText, unsentText, whichCode } from './text';
import { ICodeStatus } from './types';

export interface ICodeProps {
  readonly code: CodeModel;
  /** The machine as it is called. */
  readonly label: string;
  /** Which code the kernel was started with, where one runs. */
  readonly started: IStartedWith | null;
  readonly now: () => number;
  readonly trans: TranslationBundle;
}

/** When it was synced, counted up. */
function Age({ value, props }: { value: ICodeStatus; props: ICodeProps }): JSX.Element {
  const { label, now, trans } = props;
  if (value.synced_ms === null) {
    return <>{trans.__('not on %1 yet', label)}</>;
  }
  const format = (ms: number) => trans.__('synced %1 ago', duration(trans, ms));
  return <Elapsed since={value.synced_ms} now={now} format={format} />;
}

/** Whether the kernel was started with another commit than the one that is here now. */
function isOlder(started: IStartedWith | null, value: ICodeStatus): boolean {
  const commit = started?.base_commit;
  return Boolean(commit && value.base_commit && commit !== value.base_commit);
}

/** Which code it is, how old the machine's is, and the buttons. */
function Line({ value, props }: { value: ICodeStatus; props: ICodeProps }): JSX.Element {
  const { code, label, trans } = props;
  const unsent = unsentText(trans, value);
  const there = thereText(trans, code.there, value.conflicts, label);
  const acts: Act[] = [
    [trans.__('Sync'), trans.__('Send the code to %1', label), () => void code.sync()]
  ];
  if (value.synced_ms !== null) {
    const name = trans.__('Bring back what was changed on %1', label);
    acts.push([trans.__('Pull'), name, () => void code.pull()]);
  }
  return (
    <>
      <div className="jp-cloudml-row-line">
        <span className="jp-cloudml-detail" title={`${value.folder} → ${value.machine_path}`}>
          <span className="jp-cloudml-code-name">
            {trans.__('Code %1', whichCode(trans, value))}
          </span>{' '}
          · <Age value={value} props={props} />
          {unsent && ` · ${unsent}`}
        </span>
        {!code.running && <Buttons acts={acts} />}
      </div>
      {isOlder(props.started, value) && (
        <p className="jp-cloudml-hint" role="status">
          {trans.__('The kernel started with %1', startedWith(trans, props.started))}
        </p>
      )}
      {there && !code.running && (
        <p className="jp-cloudml-hint" role="status">
          {there}
        </p>
      )}
    </>
  );
}

function Running({ code, label, now, trans }: ICodeProps): JSX.Element {
  const step = code.step;
  const format = (ms: number) => duration(trans, ms);
  const acts: Act[] = [
    [trans.__('Cancel'), trans.__('Cancel the sync with %1', label), () => code.cancel()]
  ];
  return (
    <div className="jp-cloudml-row-line">
      <span className="jp-cloudml-detail" role="status">
        {step ? stepText(trans, step) : trans.__('The sync begins')}
      </span>
      {step?.since_ms !== undefined && <Elapsed since={step.since_ms} now={now} format={format} />}
      <Buttons acts={acts} />
    </div>
  );
}

/** The files that both sides have changed, each with the two ways out. */
function Conflicts({ value, props }: { value: ICodeStatus; props: ICodeProps }): JSX.Element {
  const { code, label, trans } = props;
  return (
    <>
      <p className="jp-cloudml-hint" role="alert">
        {trans.__('Changed here and on %1; nothing was overwritten. Choose which to use:', label)}
      </p>
      <ul className="jp-cloudml-conflicts" aria-label={trans.__('Files changed on both sides')}>
        {value.conflicts.map(file => (
          <li key={file} className="jp-cloudml-row-line">
            <span className="jp-cloudml-detail" title={file}>
              {file}
            </span>
            {!code.running && (
              <Buttons
                acts={[
                  [
                    trans.__('Use the one on %1', label),
                    trans.__('Use %1 as it is on %2', file, label),
                    () => void code.settle(file, true)
                  ],
                  [
                    trans.__('Keep mine'),
                    trans.__('Keep %1 as it is here', file),
                    () => void code.settle(file, false)
                  ]
                ]}
              />
            )}
          </li>
        ))}
      </ul>
    </>
  );
}

/** Files that were left out for their size, here and there. */
function Large({ value, props }: { value: ICodeStatus; props: ICodeProps }): JSX.Element | null {
  const { code, label, trans } = props;
  const left = code.done?.large ?? [];
  return (
    <>
      {value.large.length > 0 && !code.running && (
        <div className="jp-cloudml-row-line">
          <span className="jp-cloudml-detail">
            {trans.__(
              'Not sent for their size: %1',
              value.large.map(each => `${each.path} (${size(trans, each.size)})`).join(', ')
            )}
          </span>
          <Buttons
            acts={[
              [trans.__('Decide…'), trans.__('Decide about large files'), () => void code.decide()]
            ]}
          />
        </div>
      )}
      {left.map(file => (
        <div key={file} className="jp-cloudml-row-line">
          <span className="jp-cloudml-detail">
            {trans.__('Left on %1 for its size: %2', label, file)}
          </span>
          <Buttons
            acts={[
              [
                trans.__('Bring it'),
                trans.__('Bring %1 here', file),
                () => void code.pull({ send: [file] })
              ]
            ]}
          />
        </div>
      ))}
    </>
  );
}

/** Why nothing can be compared, or what did not work, with the remedy. */
function Failure(props: ICodeProps): JSX.Element | null {
  const { code, trans } = props;
  const { error } = code;
  if (!error) {
    return null;
  }
  if (error.code === 'not_code') {
    return (
      <p className="jp-cloudml-hint">
        {trans.__('Code stays here: %1.', error.message)} {error.hint}
      </p>
    );
  }
  const retry = () => void (code.value ? code.sync() : code.refresh());
  return (
    <div className="jp-cloudml-row-line jp-cloudml-code-failure">
      <span className="jp-cloudml-detail" role="alert">
        {error.message}
        {error.hint && <span className="jp-cloudml-hint">{error.hint}</span>}
      </span>
      <Buttons acts={[[trans.__('Retry'), trans.__('Try to sync the code again'), retry]]} />
    </div>
  );
}

/** The code of the notebook in front, and of the machine that it runs on. */
export function CodeSection(props: ICodeProps): JSX.Element {
  const { code, label, trans } = props;
  return (
    <UseSignal signal={code.changed}>
      {() => {
        const { done, value } = code;
        const said = done && !code.running && doneText(trans, done);
        return code.of && (value || code.error) ? (
          <div className="jp-cloudml-code" role="group" aria-label={trans.__('Code on %1', label)}>
            {value && <Line value={value} props={props} />}
            {code.running && <Running {...props} />}
            {said && (
              <p className="jp-cloudml-hint" role="status">
                {said}
              </p>
            )}
            {value && value.conflicts.length > 0 && <Conflicts value={value} props={props} />}
            {value && <Large value={value} props={props} />}
            <Failure {...props} />
          </div>
        ) : null;
      }}
    </UseSignal>
  );
}
