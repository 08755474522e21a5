import { InputDialog, Notification } from '@jupyterlab/apputils';
import * as React from 'react';

import { useActs } from '../buttons';
import { CommandIDs } from '../tokens';
import { download } from './files';
import { IPartProps, IRunPageProps } from './run_page';
import { IRetry, IRunDetail } from './types';
import { fileName, isOver, timeText } from './words';

type Props = IPartProps & { readonly run: IRunDetail };

/** Run a run again, and show the new one. */
async function again(page: IRunPageProps, run: IRunDetail, how: IRetry): Promise<void> {
  const made = await page.jobs.client.retry(run.id, how);
  await page.commands.execute(CommandIDs.showRun, { id: made.id });
  if (how.from_failed && made.how) {
    Notification.info(made.how, { autoClose: 6000 });
  }
}

/** Ask on which other machine a run is to run again. */
async function againElsewhere(page: IRunPageProps, run: IRunDetail): Promise<void> {
  const { model, trans } = page;
  const machines = (model.machines ?? []).filter(
    each => each.name !== run.provenance.machine && each.state !== 'gone'
  );
  const items = machines.map(each => each.label);
  const answer = await InputDialog.getItem({ title: trans.__('On which machine?'), items });
  const machine = machines[items.indexOf(answer.value ?? '')];
  if (answer.button.accept && machine) {
    await again(page, run, { machine: machine.name });
  }
}

/** What can be done with a run. */
export function Acts({ page, model, run }: Props): JSX.Element {
  const { jobs, trans } = page;
  const [busy, act] = useActs();
  const keep = async () => {
    const name = fileName(run.provenance.notebook).replace(/\.ipynb$/, '') || run.job;
    download(await jobs.client.file(run.id, 'notebook'), `${name}-${run.id}.ipynb`);
  };
  const html = async () => {
    page.showHtml(await (await jobs.client.file(run.id, 'html')).text(), run);
  };
  const over = isOver(run.state);
  const made = run.attempts.length > 0;
  const others = (page.model.machines ?? []).length > 1;
  const isMemory = /^oom\b/.test(run.reason ?? '');
  const button = (text: string, title: string, work: () => Promise<unknown>, accept = false) => (
    <button
      type="button"
      className={`jp-mod-styled${accept ? ' jp-mod-accept' : ''}`}
      title={title}
      aria-disabled={busy}
      onClick={act(work)}
    >
      {text}
    </button>
  );
  return (
    <>
      {run.from_failed && !model.kept && (
        <p className="jp-cloudml-hint">{trans.__('Run again: %1.', run.from_failed)}</p>
      )}
      {isMemory && (
        <p className="jp-cloudml-hint">
          {trans.__('Its memory was not enough: a machine that has more may do.')}
        </p>
      )}
      <div className="jp-cloudml-buttons">
        {over
          ? button(
              trans.__('Run again'),
              trans.__('Run the same again, all cells'),
              () => again(page, run, {}),
              true
            )
          : button(
              trans.__('Cancel'),
              trans.__('End the run; it has ended when its process is confirmed dead'),
              () => model.cancel()
            )}
        {over &&
          others &&
          button(trans.__('Run again on…'), trans.__('Run the same on another machine'), () =>
            againElsewhere(page, run)
          )}
        {made &&
          button(trans.__('Download notebook'), trans.__('The notebook with its outputs'), keep)}
        {made && button(trans.__('Open as page'), trans.__('HTML, in which no script runs'), html)}
      </div>
    </>
  );
}

/** Show the notebook of a run with its kernel, and say when that ends. */
async function openKernel(page: IRunPageProps, run: IRunDetail): Promise<void> {
  const { commands, jobs, trans } = page;
  const { path, until_ms: until } = await jobs.client.openKernel(run.id);
  await commands.execute('docmanager:open', { path, factory: 'Notebook' });
  Notification.info(
    trans.__(
      'This is the kernel of the failed run, with all values. It ends %1, and when it is shut down.',
      timeText(until, jobs.now())
    ),
    { autoClose: 15000 }
  );
}

/** The kernel that a failed run has left. */
export function Left({
  page,
  model,
  run,
  kept
}: Props & { readonly kept: NonNullable<IRunDetail['kept']> }): JSX.Element {
  const { jobs, trans } = page;
  const [busy, act] = useActs();
  const longer = async () => {
    await jobs.client.keepLonger(run.id);
    await model.refresh();
  };
  const release = async () => {
    await jobs.client.release(run.id);
    await model.refresh();
  };
  return (
    <div className="jp-cloudml-left" role="group" aria-label={trans.__('The kernel that is left')}>
      <p>
        {trans.__(
          'Its kernel is still there, with all values, until %1. In a terminal it is looked into with',
          timeText(kept.until_ms, jobs.now())
        )}{' '}
        <code>jupyter cloudml job open {run.id}</code>
      </p>
      <div className="jp-cloudml-buttons">
        <button
          type="button"
          className="jp-mod-styled jp-mod-accept"
          title={trans.__('Open a copy of the notebook with this very kernel')}
          aria-disabled={busy}
          onClick={act(() => openKernel(page, run))}
        >
          {trans.__('Open its kernel')}
        </button>
        <button
          type="button"
          className="jp-mod-styled"
          title={run.from_failed ?? ''}
          aria-disabled={busy}
          onClick={act(() => again(page, run, { from_failed: true }))}
        >
          {kept.cell === null
            ? trans.__('Go on at the failed cell')
            : trans.__('Go on at cell %1', kept.cell + 1)}
        </button>
        <button type="button" className="jp-mod-styled" aria-disabled={busy} onClick={act(longer)}>
          {trans.__('Keep it longer')}
        </button>
        <button type="button" className="jp-mod-styled" aria-disabled={busy} onClick={act(release)}>
          {trans.__('End the kernel')}
        </button>
      </div>
    </div>
  );
}
