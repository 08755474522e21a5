import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { Buttons } from '../buttons';
import { CommandIDs } from '../tokens';
import { actsOf } from './acts';
import { ListTrouble, Pages } from './list_parts';
import { Strip } from './marks';
import { JobsModel } from './model';
import { Narrow, jobChoices } from './narrow';
import { Paged } from './paged';
import { IJob } from './types';
import { awayText, fileName, timeText } from './words';

export interface IListProps {
  readonly jobs: JobsModel;
  readonly commands: CommandRegistry;
  readonly trans: TranslationBundle;
}

/** All jobs, page by page. */
export class JobsPage extends ReactWidget {
  constructor(private readonly _props: IListProps) {
    super();
    this.addClass('jp-cloudml-page');
    const { jobs } = _props;
    this._paged = new Paged('job-list', async after => {
      const {
        jobs: rows,
        next,
        counts
      } = await jobs.client.jobs({ after, q: this._filter, only: this._only, counts: true });
      return { rows, next, counts };
    });
    jobs.jobMoved.connect(this._touch, this);
    jobs.runMoved.connect(this._touch, this);
  }

  refresh(): void {
    void this._paged.refresh();
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._props.jobs.jobMoved.disconnect(this._touch, this);
      this._props.jobs.runMoved.disconnect(this._touch, this);
      this._paged.dispose();
    }
    super.dispose();
  }

  protected override render(): JSX.Element {
    const { commands, trans } = this._props;
    const paged = this._paged;
    return (
      <div className="jp-cloudml-page-content jp-cloudml-wide">
        <h1>{trans.__('Jobs')}</h1>
        <div className="jp-cloudml-filter">
          <input
            className="jp-mod-styled"
            type="search"
            aria-label={trans.__('Filter the jobs by name')}
            placeholder={trans.__('Filter by name')}
            defaultValue={this._filter}
            onChange={event => {
              this._filter = event.target.value.trim();
              paged.restart();
            }}
          />
          <button
            type="button"
            className="jp-mod-styled jp-mod-accept"
            onClick={() => void commands.execute(CommandIDs.newJob)}
          >
            {trans.__('New job…')}
          </button>
        </div>
        <UseSignal signal={paged.changed}>{() => this._renderRows()}</UseSignal>
      </div>
    );
  }

  private _renderRows(): JSX.Element {
    const { trans } = this._props;
    const { error, rows } = this._paged;
    return (
      <>
        <Narrow
          label={trans.__('Which jobs')}
          value={this._only}
          choices={jobChoices(trans, this._paged.counts)}
          onChange={value => {
            this._only = value;
            this._paged.restart();
          }}
        />
        {error && <ListTrouble error={error} onRetry={() => this.refresh()} trans={trans} />}
        {rows && rows.length > 0 && (
          <ul className="jp-cloudml-jobs" aria-label={trans.__('Jobs')}>
            {rows.map(job => (
              <Row key={job.id} job={job} page={this._props} onGone={() => this.refresh()} />
            ))}
          </ul>
        )}
        <p className="jp-cloudml-hint" role="status">
          {this._words()}
        </p>
        <Pages paged={this._paged} label={trans.__('Pages of jobs')} trans={trans} />
      </>
    );
  }

  private _words(): string {
    const { trans } = this._props;
    const { error, rows } = this._paged;
    if (!rows) {
      return error ? '' : trans.__('Asking the server for its jobs…');
    }
    if (rows.length > 0) {
      return '';
    }
    if (this._filter) {
      return this._only
        ? trans.__('No such job has that in its name.')
        : trans.__('No job has that in its name.');
    }
    const nothing: Record<string, string> = {
      running: trans.__('No job runs now.'),
      failing: trans.__('No job failed when it ran last.'),
      paused: trans.__('No job is paused.')
    };
    return this._only
      ? (nothing[this._only] ?? '')
      : trans.__(
          'None yet. A job is a notebook that runs by itself: run one as a job, or make one that runs at times.'
        );
  }

  private _touch(): void {
    this._paged.touch();
  }

  private readonly _paged: Paged<IJob>;
  private _filter = '';
  private _only = '';
}

/** Where a job stands: when it is due next, or why it is not. */
export function dueText(trans: TranslationBundle, job: IJob, now: number): string {
  if (job.paused) {
    return trans.__('paused');
  }
  return job.next_due_ms === null || job.next_due_ms === undefined
    ? trans.__('no times')
    : trans.__(
        'next %1, %2',
        awayText(trans, job.next_due_ms, now),
        timeText(job.next_due_ms, now)
      );
}

function Row(props: {
  readonly job: IJob;
  readonly page: IListProps;
  readonly onGone: () => void;
}): JSX.Element {
  const { job, page, onGone } = props;
  const { commands, jobs, trans } = page;
  const about = [
    dueText(trans, job, jobs.now()),
    fileName(job.definition.notebook),
    trans.__('on %1', job.definition.machine ?? 'local')
  ];
  return (
    <li className="jp-cloudml-job" data-job={job.name}>
      <div className="jp-cloudml-row-line">
        <button
          type="button"
          className="jp-cloudml-link jp-cloudml-job-name"
          onClick={() => void commands.execute(CommandIDs.showJob, { name: job.name })}
        >
          {job.name}
        </button>
        <span className="jp-cloudml-spring" />
        <Buttons acts={actsOf(job, page, onGone)} />
      </div>
      <div className="jp-cloudml-row-line">
        <span className="jp-cloudml-detail">{about.filter(Boolean).join(' · ')}</span>
        <Strip
          runs={job.strip}
          trans={trans}
          onOpen={id => void commands.execute(CommandIDs.showRun, { id })}
        />
      </div>
    </li>
  );
}
