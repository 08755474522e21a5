import { Dialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { CloudMLError } from '../api';
import { titledDialog } from '../dialogs';
import { ICloudML } from '../tokens';

/** What is wrong, in one line. */
function headline(error: CloudMLError, trans: TranslationBundle): string {
  if (error.code === 'no_server') {
    return trans.__('The Jupyter server is not answering.');
  }
  if (error.status === 404 || error.code.startsWith('http_')) {
    return trans.__('The server extension is not answering (%1).', error.status);
  }
  return error.message;
}

function Remedy(props: {
  readonly error: CloudMLError;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { error, trans } = props;
  if (error.code === 'no_server') {
    return (
      <p>
        {trans.__(
          'Look at the terminal that runs JupyterLab: start it again there if it has ended. Kernels on your machines go on, and this page connects to them again by itself.'
        )}
      </p>
    );
  }
  if (error.status === 404) {
    return (
      <>
        <p>{trans.__('Switch the server extension on and start the server again:')}</p>
        <pre>jupyter server extension enable jupyter_cloudml_server</pre>
        <p>{trans.__('Whether it is found, and what keeps it from loading, is shown by')}</p>
        <pre>jupyter server extension list</pre>
      </>
    );
  }
  return (
    <>
      <p>{error.message}</p>
      <p>{error.hint || trans.__('The log of the Jupyter server has the details.')}</p>
    </>
  );
}

/** Why there is nothing to show, or why it may be out of date, with the next action. */
export function Trouble(props: {
  readonly error: CloudMLError;
  readonly model: ICloudML;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { error, model, trans } = props;
  const explain = () => {
    void titledDialog<unknown>({
      title: headline(error, trans),
      body: (
        <div className="jp-cloudml-remedy">
          <Remedy error={error} trans={trans} />
        </div>
      ),
      buttons: [Dialog.okButton({ label: trans.__('Close') })]
    }).launch();
  };
  return (
    <div className="jp-cloudml-trouble">
      <p role="alert">
        {headline(error, trans)}
        {model.machines && <> {trans.__('The list below may be out of date.')}</>}
      </p>
      <button type="button" className="jp-cloudml-button" onClick={explain}>
        {trans.__('How to fix')}
      </button>
      <button type="button" className="jp-cloudml-button" onClick={() => void model.refresh()}>
        {trans.__('Retry')}
      </button>
    </div>
  );
}
