import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { CloudMLError } from '../api';
import { OperationModel } from '../operation';
import { Elapsed } from '../presentation';
import { duration, hardware } from '../text';
import { IHostKey, IMachine } from '../types';

/** What went wrong and what to do, with the buttons that do it. */
export function Refusal(props: {
  readonly error: CloudMLError;
  readonly children?: React.ReactNode;
}): JSX.Element {
  const { error, children } = props;
  return (
    <div className="jp-cloudml-refusal">
      <div role="alert">
        <p>{error.message}</p>
        {error.hint && <p className="jp-cloudml-hint">{error.hint}</p>}
      </div>
      {children && <div className="jp-cloudml-buttons">{children}</div>}
    </div>
  );
}

/** The lines that slow work has said so far. */
export function Log(props: {
  readonly lines: ReadonlyArray<string>;
  readonly trans: TranslationBundle;
}): JSX.Element | null {
  const { lines, trans } = props;
  const end = React.useRef<HTMLPreElement>(null);
  React.useEffect(() => {
    end.current?.scrollTo(0, end.current.scrollHeight);
  }, [lines.length]);
  if (lines.length === 0) {
    return null;
  }
  return (
    <pre ref={end} className="jp-cloudml-log" role="log" tabIndex={0} aria-label={trans.__('Log')}>
      {lines.join('\n')}
    </pre>
  );
}

/** One stage of the conversation; it takes the focus, which the stage before it had. */
export function Stage(props: {
  readonly label: string;
  readonly children: React.ReactNode;
}): JSX.Element {
  const node = React.useRef<HTMLElement>(null);
  React.useEffect(() => {
    node.current?.focus();
  }, []);
  return (
    <section ref={node} className="jp-cloudml-step" tabIndex={-1} aria-label={props.label}>
      {props.children}
    </section>
  );
}

/** The host key to compare before the first connection. */
export function HostKeyStep(props: {
  readonly hostKey: IHostKey;
  readonly trans: TranslationBundle;
  readonly onTrust: () => void;
  readonly onCancel: () => void;
}): JSX.Element {
  const { hostKey, trans } = props;
  return (
    <Stage label={trans.__('Host key')}>
      <p>
        {trans.__('This is the first contact with %1.', `${hostKey.host}:${hostKey.port}`)}{' '}
        {trans.__(
          'Compare with what your administrator gave you: if it differs, another computer may be listening.'
        )}
      </p>
      <dl className="jp-cloudml-facts">
        <dt>{trans.__('Address')}</dt>
        <dd>{`${hostKey.host}:${hostKey.port}`}</dd>
        <dt>{trans.__('Key type')}</dt>
        <dd>{hostKey.keytype}</dd>
        <dt>{trans.__('Fingerprint')}</dt>
        <dd className="jp-cloudml-fingerprint">{hostKey.fingerprint}</dd>
      </dl>
      <div className="jp-cloudml-buttons">
        <button type="button" className="jp-mod-styled jp-mod-accept" onClick={props.onTrust}>
          {trans.__('Trust and continue')}
        </button>
        <button type="button" className="jp-mod-styled jp-mod-reject" onClick={props.onCancel}>
          {trans.__('Cancel')}
        </button>
      </div>
    </Stage>
  );
}

/** How far the connection has got. */
export function ProgressStep(props: {
  readonly operation: OperationModel | null;
  readonly host: string;
  readonly now: () => number;
  readonly trans: TranslationBundle;
  readonly onCancel: () => void;
}): JSX.Element {
  const { operation, host, now, trans } = props;
  const [since] = React.useState(now);
  const step = operation?.value?.step ?? null;
  const text = step ? step.text : trans.__('Contacting %1', host);
  return (
    <Stage label={trans.__('Connection')}>
      <div className="jp-cloudml-progress-line">
        <span role="status">
          {step ? trans.__('Step %1 of %2: %3', step.n, step.of, text) : text}
        </span>{' '}
        <Elapsed since={since} now={now} format={ms => duration(trans, ms)} />
      </div>
      <progress
        aria-label={trans.__('Adding %1', host)}
        max={step?.of ?? 1}
        value={step ? step.n - 0.5 : undefined}
      />
      <Log lines={operation?.value?.log ?? []} trans={trans} />
      <div className="jp-cloudml-buttons">
        <button type="button" className="jp-mod-styled jp-mod-reject" onClick={props.onCancel}>
          {trans.__('Cancel')}
        </button>
      </div>
    </Stage>
  );
}

/** The machine that is there now, and what to do with it. */
export function DoneStep(props: {
  readonly machine: IMachine | null;
  readonly name: string;
  readonly trans: TranslationBundle;
  readonly children: React.ReactNode;
}): JSX.Element {
  const { machine, name, trans, children } = props;
  return (
    <Stage label={trans.__('Done')}>
      <p role="status">{trans.__('%1 is ready.', machine?.label ?? name)}</p>
      {machine && <p className="jp-cloudml-detail">{hardware(trans, machine.info)}</p>}
      <div className="jp-cloudml-buttons">{children}</div>
    </Stage>
  );
}
