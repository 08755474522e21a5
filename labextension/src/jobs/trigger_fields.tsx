import { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect } from '@jupyterlab/ui-components';
import { JSONObject, JSONValue } from '@lumino/coreutils';
import { ErrorSchema, FieldProps } from '@rjsf/utils';
import * as React from 'react';

import { CloudMLError } from '../api';
import { EditModel } from './edit_model';
import { isObject } from './form_schema';
import { When } from './job_page';
import { IPreview, Trigger, TriggerKind } from './types';

/** What is typed settles for so many ms before the server is asked what it means. */
const SETTLE = 250;
/** In the order in which they tell what a trigger is: `every` may stand beside the first two. */
const KINDS: ReadonlyArray<TriggerKind> = ['git', 's3', 'webhook', 'cron', 'every', 'at', 'after'];

interface IContext {
  readonly edit: EditModel;
  readonly trans: TranslationBundle;
}

/** What a new trigger of a kind begins with. */
function fresh(kind: TriggerKind): JSONObject {
  const tz = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
  const texts: Partial<Record<TriggerKind, JSONValue>> = {
    cron: '0 2 * * *',
    every: '1h',
    webhook: true
  };
  return { [kind]: texts[kind] ?? '', ...(kind === 'cron' || kind === 'at' ? { tz } : {}) };
}

/** Which of the kinds that this page knows; null for another. */
function kindOf(trigger: Trigger): TriggerKind | null {
  return KINDS.find(kind => trigger[kind] !== undefined && trigger[kind] !== null) ?? null;
}

/** What makes a job run: each in a line of its own, with what it means and when it fires next. */
export function TriggersField(
  props: { readonly field: FieldProps<JSONValue> } & IContext
): JSX.Element {
  const { field, edit, trans } = props;
  const triggers = Array.isArray(field.formData) ? (field.formData as JSONObject[]) : [];
  const errors = field.errorSchema as Record<string, ErrorSchema<unknown>> | undefined;
  const change = (at: number, value: JSONObject | null) =>
    field.onChange(
      triggers.flatMap((each, index) => (index !== at ? [each] : value ? [value] : []))
    );
  const titles = kindTitles(trans);
  return (
    <div className="jp-cloudml-triggers" id={field.idSchema.$id} role="group" tabIndex={-1}>
      {triggers.map((trigger, at) => (
        <TriggerRow
          key={at}
          trigger={trigger}
          number={at + 1}
          errors={errors?.[String(at)]}
          onChange={value => change(at, value)}
          edit={edit}
          trans={trans}
        />
      ))}
      {triggers.length === 0 && (
        <p className="jp-cloudml-hint">{trans.__('Only when somebody runs it.')}</p>
      )}
      <div className="jp-cloudml-row-line">
        {KINDS.map(kind => (
          <button
            key={kind}
            type="button"
            className="jp-cloudml-button"
            aria-label={trans.__('Add: %1', titles[kind])}
            onClick={() => field.onChange([...triggers, fresh(kind)])}
          >
            {`+ ${titles[kind]}`}
          </button>
        ))}
      </div>
    </div>
  );
}

function kindTitles(trans: TranslationBundle): Record<TriggerKind, string> {
  return {
    git: trans.__('at new commits'),
    s3: trans.__('at new objects'),
    webhook: trans.__('when called'),
    cron: trans.__('at times (cron)'),
    every: trans.__('every so often'),
    at: trans.__('once'),
    after: trans.__('after a job')
  };
}

interface IRowProps extends IContext {
  readonly trigger: JSONObject;
  readonly number: number;
  readonly errors: ErrorSchema<unknown> | undefined;
  readonly onChange: (value: JSONObject | null) => void;
}

function TriggerRow(props: IRowProps): JSX.Element {
  const { trigger, number, errors, onChange, edit, trans } = props;
  const kind = kindOf(trigger);
  const preview = usePreview(trigger, edit);
  const said = allErrors(errors);
  return (
    <div className="jp-cloudml-trigger" role="group" aria-label={trans.__('Trigger %1', number)}>
      <div className="jp-cloudml-row-line">
        {kind ? (
          <TriggerInputs {...props} kind={kind} />
        ) : (
          <code className="jp-cloudml-spring">{JSON.stringify(trigger)}</code>
        )}
        <button
          type="button"
          className="jp-cloudml-button"
          aria-label={trans.__('Take trigger %1 out', number)}
          onClick={() => onChange(null)}
        >
          {trans.__('Take out')}
        </button>
      </div>
      {preview && (
        <div role="status">
          <When preview={preview} now={edit.now()} trans={trans} />
        </div>
      )}
      {!(preview instanceof CloudMLError) &&
        said.map(error => (
          <div key={error} className="jp-cloudml-invalid" role="alert">
            {error}
          </div>
        ))}
    </div>
  );
}

function TriggerInputs(props: IRowProps & { readonly kind: TriggerKind }): JSX.Element {
  const { kind, trigger, onChange, number, trans } = props;
  const labels: Record<TriggerKind, string> = {
    git: trans.__('Repository of trigger %1', number),
    s3: trans.__('Prefix of trigger %1', number),
    webhook: '',
    cron: trans.__('Cron expression of trigger %1', number),
    every: trans.__('Interval of trigger %1', number),
    at: trans.__('Date and time of trigger %1', number),
    after: trans.__('Job that trigger %1 follows', number)
  };
  const examples: Record<TriggerKind, string> = {
    git: 'https://example.org/team/code.git',
    s3: 's3://bucket/prefix',
    webhook: '',
    cron: '30 2 * * 1-5',
    every: '15m',
    at: '2026-12-01T09:00',
    after: 'nightly-report'
  };
  const set = (name: string, value: string) => {
    const { [name]: _, ...rest } = trigger;
    // What is left empty beside the kind itself is as if it were not there.
    onChange(value || name === kind ? { ...trigger, [name]: value } : rest);
  };
  const input = (name: string, label: string, example: string, type = 'text') => (
    <input
      className="jp-mod-styled"
      type={type}
      spellCheck={false}
      aria-label={label}
      placeholder={example}
      value={String(trigger[name] ?? '')}
      onChange={event => set(name, event.target.value)}
    />
  );
  const isLocal = /^\d{4}-\d\d-\d\dT\d\d:\d\d$|^$/.test(String(trigger[kind] ?? ''));
  return (
    <>
      <span className="jp-cloudml-trigger-kind">{kindTitles(trans)[kind]}</span>
      {kind === 'webhook' ? (
        <span className="jp-cloudml-detail jp-cloudml-spring">
          {trans.__('“jupyter cloudml job hook NAME” shows its address and a token.')}
        </span>
      ) : (
        input(
          kind,
          labels[kind],
          examples[kind],
          kind === 'at' && isLocal ? 'datetime-local' : 'text'
        )
      )}
      {kind === 'git' && input('ref', trans.__('Branch or tag of trigger %1', number), 'main')}
      {(kind === 'git' || kind === 's3') &&
        input('every', trans.__('How often trigger %1 looks', number), '5m')}
      {(kind === 'cron' || kind === 'at') && (
        <>{input('tz', trans.__('Time zone of trigger %1', number), 'UTC')}</>
      )}
      {kind === 'after' && (
        <HTMLSelect
          aria-label={trans.__('After which ends trigger %1 fires', number)}
          value={String(trigger['on'] ?? 'success')}
          onChange={event => set('on', event.target.value)}
        >
          <option value="success">{trans.__('when it succeeded')}</option>
          <option value="failure">{trans.__('when it failed')}</option>
          <option value="always">{trans.__('in any case')}</option>
        </HTMLSelect>
      )}
    </>
  );
}

/** What a trigger means, as the server says; null until it has. */
function usePreview(trigger: Trigger, edit: EditModel): IPreview | CloudMLError | null {
  const [found, setFound] = React.useState<IPreview | CloudMLError | null>(null);
  const text = JSON.stringify(trigger);
  React.useEffect(() => {
    let isOn = true;
    const kind = kindOf(trigger);
    if (kind && !trigger[kind]) {
      setFound(null);
      return;
    }
    const timer = window.setTimeout(() => {
      edit
        .preview(trigger)
        .catch(CloudMLError.from)
        .then(answer => isOn && setFound(answer));
    }, SETTLE);
    return () => {
      isOn = false;
      window.clearTimeout(timer);
    };
  }, [text, edit]);
  return found;
}

/** Every text of a tree of errors. */
function allErrors(errors: unknown): string[] {
  if (Array.isArray(errors)) {
    return errors.filter((each): each is string => typeof each === 'string');
  }
  return isObject(errors as JSONValue) ? Object.values(errors as object).flatMap(allErrors) : [];
}
