import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { showFailure } from '../commands';
import { JobsClient } from './client';
import { costText, triggerText } from './origin';
import { IAttempt, IRunDetail } from './types';
import { codeText, preciseDuration, timeText } from './words';

/** Characters of a log that are shown: its end. */
const LOG = 200_000;

/** A part of the page that is folded until somebody opens it. */
export function Fold(props: {
  readonly title: string;
  readonly open?: boolean;
  readonly onOpen?: () => void;
  readonly children: React.ReactNode;
}): JSX.Element {
  // Only at first: nothing is shut while it is read.
  const [open] = React.useState(props.open);
  return (
    <details
      className="jp-cloudml-fold"
      open={open}
      onToggle={event => event.currentTarget.open && props.onOpen?.()}
    >
      <summary>{props.title}</summary>
      {props.children}
    </details>
  );
}

/** What a run is made of. */
export function Facts(props: {
  readonly facts: ReadonlyArray<readonly [string, string | null | undefined]>;
}): JSX.Element {
  return (
    <dl className="jp-cloudml-facts">
      {props.facts
        .filter(([, value]) => value)
        .map(([name, value]) => (
          <React.Fragment key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </React.Fragment>
        ))}
    </dl>
  );
}

/** What ran: notebook, code, packages, parameters. */
export function Provenance(props: {
  readonly run: IRunDetail;
  readonly machine: string;
  readonly now: number;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { run, machine, now, trans } = props;
  const { provenance: from } = run;
  const kernel = from.kernel?.argv?.[0];
  return (
    <Facts
      facts={[
        [trans.__('Why it ran'), triggerText(trans, run, now)],
        [trans.__('Notebook'), from.notebook],
        [trans.__('its SHA-256'), from.notebook_sha256],
        [trans.__('Parameters'), parametersText(from.params)],
        [trans.__('Machine'), machine],
        [trans.__('Environment'), from.environment],
        [trans.__('Kernel'), kernel],
        [trans.__('Code'), codeText(trans, from.code)],
        [trans.__('Repository'), from.code?.url],
        [trans.__('Key of the environment'), from.packages?.key],
        [trans.__('Secrets'), from.secrets.join(', ')],
        [trans.__('Definition'), `${run.job}, ${trans.__('revision %1', from.job_rev)}`],
        [trans.__('Cost'), costText(trans, run.attempts, run.cost)]
      ]}
    />
  );
}

/** Parameters in a line: `alpha = 0.5, name = "x"`. */
export function parametersText(parameters: IRunDetail['provenance']['params']): string {
  return Object.entries(parameters ?? {})
    .map(([name, value]) => `${name} = ${JSON.stringify(value)}`)
    .join(', ');
}

/** Every attempt: where, when, how it ended. */
export function Attempts(props: {
  readonly attempts: ReadonlyArray<IAttempt>;
  readonly now: number;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { attempts, now, trans } = props;
  return (
    <table className="jp-cloudml-table">
      <thead>
        <tr>
          <th scope="col">{trans.__('Attempt')}</th>
          <th scope="col">{trans.__('Machine')}</th>
          <th scope="col">{trans.__('Began')}</th>
          <th scope="col">{trans.__('Took')}</th>
          <th scope="col">{trans.__('End')}</th>
        </tr>
      </thead>
      <tbody>
        {attempts.map(each => (
          <tr key={each.n}>
            <td>{each.n}</td>
            <td>{each.machine}</td>
            <td>{each.started_ms ? timeText(each.started_ms, now) : ''}</td>
            <td>
              {each.started_ms
                ? preciseDuration(trans, (each.ended_ms ?? now) - each.started_ms)
                : ''}
            </td>
            <td className="jp-cloudml-free">{endText(each)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function endText(attempt: IAttempt): string {
  const said = attempt.exit?.['message'] ?? attempt.exit?.['reason'];
  return typeof said === 'string' && said ? `${attempt.state}: ${said}` : attempt.state;
}

/** What was said outside cells; asked for when it is opened. */
export function Log(props: {
  readonly run: string;
  /** Of the run: with another one there is more to read. */
  readonly state: string;
  readonly client: JobsClient;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { run, state, client, trans } = props;
  const [text, setText] = React.useState<string | null>(null);
  const load = async () => {
    const file = await client.file(run, 'log');
    setText(await file.slice(Math.max(0, file.size - LOG)).text());
  };
  React.useEffect(() => {
    if (text !== null) {
      void load().catch(showFailure);
    }
  }, [state]);
  return (
    <Fold title={trans.__('Log')} onOpen={() => void load().catch(showFailure)}>
      {text === null ? (
        <p className="jp-cloudml-hint" role="status">
          {trans.__('Loading…')}
        </p>
      ) : text ? (
        <>
          <pre className="jp-cloudml-log" tabIndex={0} role="log" aria-label={trans.__('Log')}>
            {text}
          </pre>
          <button
            type="button"
            className="jp-cloudml-button"
            onClick={() => void load().catch(showFailure)}
          >
            {trans.__('Look again')}
          </button>
        </>
      ) : (
        <p className="jp-cloudml-hint">{trans.__('Nothing was said.')}</p>
      )}
    </Fold>
  );
}
