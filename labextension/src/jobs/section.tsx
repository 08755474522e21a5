import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import { Message } from '@lumino/messaging';
import * as React from 'react';

import { CommandIDs, ICurrentNotebook } from '../tokens';
import { errorText } from '../text';
import { Mark } from './marks';
import { JobsModel } from './model';
import { IRun, ISummary } from './types';
import { awayText, runWord, timeText, tookText } from './words';

/** Runs of a kind that are named here; the page has the rest. */
const NAMED = 8;

export interface ISectionProps {
  readonly jobs: JobsModel;
  readonly notebook: ICurrentNotebook | null;
  readonly commands: CommandRegistry;
  readonly trans: TranslationBundle;
}

/** The section with what goes on, what failed today and what comes next. */
export class JobsSection extends ReactWidget {
  constructor(private readonly _props: ISectionProps) {
    super();
    this.addClass('jp-cloudml-section');
    this.title.label = _props.trans.__('Jobs');
  }

  protected override onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this._props.jobs.setVisible(true);
  }

  protected override onAfterHide(msg: Message): void {
    super.onAfterHide(msg);
    this._props.jobs.setVisible(false);
  }

  protected override render(): JSX.Element {
    const { jobs, commands, trans } = this._props;
    return (
      <UseSignal signal={jobs.changed}>
        {() => (
          <>
            {jobs.error && (
              <div className="jp-cloudml-trouble">
                <p role="alert">{errorText(jobs.error)}</p>
                <button
                  type="button"
                  className="jp-cloudml-button"
                  onClick={() => void jobs.refresh()}
                >
                  {trans.__('Try again')}
                </button>
              </div>
            )}
            {jobs.summary && <Summary summary={jobs.summary} props={this._props} />}
            {!jobs.summary && !jobs.error && (
              <p className="jp-cloudml-empty" role="status">
                {trans.__('Asking the server for its jobs…')}
              </p>
            )}
            <div className="jp-cloudml-row-line jp-cloudml-acts jp-cloudml-section-acts">
              <button
                type="button"
                className="jp-cloudml-button"
                onClick={() => void commands.execute(CommandIDs.showJobs)}
              >
                {trans.__('All jobs')}
              </button>
              <button
                type="button"
                className="jp-cloudml-button"
                onClick={() => void commands.execute(CommandIDs.newJob)}
              >
                {trans.__('New job…')}
              </button>
            </div>
          </>
        )}
      </UseSignal>
    );
  }
}

function Summary(props: {
  readonly summary: ISummary;
  readonly props: ISectionProps;
}): JSX.Element {
  const { failed_today: failed, next, running } = props.summary;
  const { commands, jobs, notebook, trans } = props.props;
  const now = jobs.now();
  if (failed.length + next.length + running.length === 0) {
    return (
      <div className="jp-cloudml-empty">
        <p>
          {trans.__('Nothing runs, and nothing is due. A job is a notebook that runs by itself.')}
        </p>
        {notebook?.panel && (
          <button
            type="button"
            className="jp-cloudml-button"
            onClick={() => void commands.execute(CommandIDs.runAsJob)}
          >
            {trans.__('Run the notebook in front as a job…')}
          </button>
        )}
      </div>
    );
  }
  const show = (run: IRun) => void commands.execute(CommandIDs.showRun, { id: run.id });
  const row = (run: IRun, detail: string) => (
    <li key={run.id} className="jp-cloudml-run-row">
      <Mark state={run.state} />
      <button
        type="button"
        className="jp-cloudml-link"
        aria-label={trans.__('Show the run of %1, %2', run.job, runWord(trans, run))}
        onClick={() => show(run)}
      >
        {run.job}
      </button>
      <span className="jp-cloudml-detail">{detail}</span>
    </li>
  );
  return (
    <>
      <Group title={trans.__('Running')} more={running.length - NAMED} trans={trans}>
        {running
          .slice(0, NAMED)
          .map(run =>
            row(run, [runWord(trans, run), tookText(trans, run, now)].filter(Boolean).join(' · '))
          )}
      </Group>
      <Group title={trans.__('Failed today')} more={failed.length - NAMED} trans={trans}>
        {failed
          .slice(0, NAMED)
          .map(run =>
            row(run, `${runWord(trans, run)} · ${timeText(run.ended_ms ?? run.due_ms, now)}`)
          )}
      </Group>
      <Group title={trans.__('Next')} more={next.length - NAMED} trans={trans}>
        {next.slice(0, NAMED).map(({ job, due_ms }) => (
          <li key={`${job} ${due_ms}`} className="jp-cloudml-run-row">
            <Mark state="scheduled" />
            <button
              type="button"
              className="jp-cloudml-link"
              aria-label={trans.__('Show the job %1', job)}
              onClick={() => void commands.execute(CommandIDs.showJob, { name: job })}
            >
              {job}
            </button>
            <span className="jp-cloudml-detail" title={timeText(due_ms, now)}>
              {awayText(trans, due_ms, now)}
            </span>
          </li>
        ))}
      </Group>
    </>
  );
}

function Group(props: {
  readonly title: string;
  readonly more: number;
  readonly trans: TranslationBundle;
  readonly children: ReadonlyArray<JSX.Element>;
}): JSX.Element | null {
  const { title, more, trans, children } = props;
  if (children.length === 0) {
    return null;
  }
  return (
    <div className="jp-cloudml-runs-group" role="group" aria-label={title}>
      <h3>{title}</h3>
      <ul>{children}</ul>
      {more > 0 && <p className="jp-cloudml-hint">{trans.__('and %1 more', more)}</p>}
    </div>
  );
}
