import { Clipboard, Dialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { Refusal } from '../add/parts';
import { CloudMLError } from '../api';
import { Buttons } from '../buttons';
import { titledDialog } from '../dialogs';
import { JobsClient } from './client';
import { Fold } from './run_parts';

interface IProps {
  readonly job: string;
  readonly client: JobsClient;
  readonly trans: TranslationBundle;
}

/** The command that calls a webhook; no name of a job has a sign in it that a shell would read. */
export function curlLine(address: string, token: string): string {
  return `curl -X POST -H 'Authorization: Bearer ${token}' ${address}`;
}

async function askRotate(job: string, trans: TranslationBundle): Promise<boolean> {
  const result = await titledDialog<unknown>({
    title: trans.__('Make another token for %1?', job),
    body: trans.__('The one before ends now: whoever calls with it is refused.'),
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Make another token') })],
    defaultButton: 0
  }).launch();
  return result.button.accept;
}

/** A line that is copied as a whole. */
function Line({ name, text, trans }: { name: string; text: string; trans: IProps['trans'] }) {
  return (
    <div className="jp-cloudml-row-line jp-cloudml-copied">
      <code tabIndex={0} role="textbox" aria-readonly="true" aria-label={name}>
        {text}
      </code>
      <Buttons
        acts={[[trans.__('Copy'), trans.__('Copy: %1', name), () => Clipboard.copyToSystem(text)]]}
      />
    </div>
  );
}

interface IHook {
  readonly path: string;
  readonly has_token: boolean;
}

/** The webhook of a job; asked for when it is opened. */
export function Webhook({ job, client, trans }: IProps): JSX.Element {
  const [hook, setHook] = React.useState<IHook | null>(null);
  const [error, setError] = React.useState<CloudMLError | null>(null);
  const load = async () => {
    setError(null);
    await client.hook(job).then(setHook, reason => setError(CloudMLError.from(reason)));
  };
  return (
    <Fold title={trans.__('Webhook')} onOpen={() => void load()}>
      {error ? (
        <Refusal error={error}>
          <button type="button" className="jp-mod-styled" onClick={() => void load()}>
            {trans.__('Try again')}
          </button>
        </Refusal>
      ) : hook ? (
        <Token job={job} client={client} trans={trans} hook={hook} onMoved={load} />
      ) : (
        <p role="status">{trans.__('Asking for its webhook…')}</p>
      )}
    </Fold>
  );
}

/** The address of a webhook, and its token, which is shown once. */
function Token(
  props: IProps & { readonly hook: IHook; readonly onMoved: () => Promise<void> }
): JSX.Element {
  const { job, client, hook, onMoved, trans } = props;
  const [token, setToken] = React.useState('');
  const address = new URL(hook.path, client.serverSettings.baseUrl).href;
  const make = async () => {
    if (hook.has_token && !(await askRotate(job, trans))) {
      return;
    }
    try {
      setToken((await client.newToken(job, hook.has_token)).token);
    } finally {
      await onMoved(); // also where somebody else has made one meanwhile
    }
  };
  return (
    <div className="jp-cloudml-webhook">
      <Line name={trans.__('Address of the webhook')} text={address} trans={trans} />
      {token ? (
        <>
          <p role="status">
            {trans.__('The token is shown this once. Whoever has it can make this job run.')}
          </p>
          <Line name={trans.__('Token')} text={token} trans={trans} />
          <Line name={trans.__('Command')} text={curlLine(address, token)} trans={trans} />
        </>
      ) : (
        <p className="jp-cloudml-hint">
          {hook.has_token
            ? trans.__('It has a token, which cannot be shown again.')
            : trans.__('Nobody can call it yet: it has no token.')}
        </p>
      )}
      <Buttons
        acts={[
          hook.has_token
            ? [
                trans.__('Make another token…'),
                trans.__('Make another token for the webhook of %1', job),
                make
              ]
            : [trans.__('Make a token'), trans.__('Make a token for the webhook of %1', job), make]
        ]}
      />
    </div>
  );
}
