import { Dialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect, UseSignal } from '@jupyterlab/ui-components';
import * as React from 'react';

import { titledDialog } from '../dialogs';
import { BackfillModel } from './backfill_model';
import { IJobTrigger } from './types';
import { timeText } from './words';

/** More runs than these are asked about. */
const MANY = 100;

/** Kinds of triggers that have times. */
const BY_TIME = ['at', 'cron', 'every'];

/** The triggers that a range of times can be filled of. */
export function byTime(triggers: ReadonlyArray<IJobTrigger>): ReadonlyArray<IJobTrigger> {
  return triggers.filter(each => BY_TIME.includes(each.kind ?? ''));
}

function say(trans: TranslationBundle, model: BackfillModel, now: number): string {
  const { filling, made } = model;
  if (made !== null) {
    return trans._n('One run was made.', '%1 runs were made.', made);
  }
  if (!filling) {
    return '';
  }
  const { due, first_ms: first, last_ms: last, ran } = filling;
  const times = trans._n('One time', '%1 times', due);
  const range = `${timeText(first, now)} – ${timeText(last, now)}`;
  return ran > 0
    ? trans.__('%1, %2; %3 of them had their run already.', times, range, ran)
    : trans.__('%1, %2.', times, range);
}

/** A form for the runs of past times: how many they are is said before they are made. */
export function Backfill(props: {
  readonly model: BackfillModel;
  readonly triggers: ReadonlyArray<IJobTrigger>;
  readonly now: number;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { model, now, trans, triggers } = props;
  const [from, setFrom] = React.useState('');
  const [until, setUntil] = React.useState('');
  const [wanted, setWanted] = React.useState('');
  // A trigger that was changed meanwhile is another one.
  const trigger = (triggers.find(each => each.key === wanted) ?? triggers[0])?.key ?? '';
  React.useEffect(() => {
    model.choose(Date.parse(from), Date.parse(until), trigger || null);
  }, [from, until, trigger]);
  const wrong = React.useId();
  const isWrong = Date.parse(from) > Date.parse(until);
  const fill = async (count: number) => {
    if (count > MANY) {
      const result = await titledDialog<unknown>({
        title: trans.__('Make %1 runs of %2?', count.toLocaleString(), model.job),
        body: trans.__('They wait for those that are due now, and run as the job says.'),
        buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Make them') })],
        defaultButton: 0
      }).launch();
      if (!result.button.accept) {
        return;
      }
    }
    await model.fill();
  };
  return (
    <UseSignal signal={model.changed}>
      {() => {
        const { busy, error, filling } = model;
        const count = filling ? filling.due - filling.ran : 0;
        return (
          <div className="jp-cloudml-backfill">
            <label>
              {trans.__('From')}
              <input
                className="jp-mod-styled"
                type="datetime-local"
                value={from}
                onChange={event => setFrom(event.target.value)}
              />
            </label>
            <label>
              {trans.__('Until')}
              <input
                className="jp-mod-styled"
                type="datetime-local"
                value={until}
                aria-invalid={isWrong}
                aria-describedby={isWrong ? wrong : undefined}
                onChange={event => setUntil(event.target.value)}
              />
            </label>
            {triggers.length > 1 && (
              <label>
                {trans.__('Times of')}
                <HTMLSelect value={trigger} onChange={event => setWanted(event.target.value)}>
                  {triggers.map(each => (
                    <option key={each.key} value={each.key}>
                      {each.words}
                    </option>
                  ))}
                </HTMLSelect>
              </label>
            )}
            <button
              type="button"
              className="jp-mod-styled jp-mod-accept"
              aria-disabled={busy || count === 0}
              onClick={() => busy || count === 0 || void fill(count)}
            >
              {count > 0
                ? trans._n('Make one run', 'Make %1 runs', count)
                : trans.__('Make the runs')}
            </button>
            <p className="jp-cloudml-hint" role="status">
              {say(trans, model, now)}
            </p>
            {(isWrong || error) && (
              <p id={wrong} className="jp-cloudml-invalid" role="alert">
                {isWrong
                  ? trans.__('It ends before it begins.')
                  : `${error?.message ?? ''} ${error?.hint ?? ''}`}
              </p>
            )}
          </div>
        );
      }}
    </UseSignal>
  );
}
