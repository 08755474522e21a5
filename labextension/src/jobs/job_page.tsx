import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import * as React from 'react';

import { CloudMLError } from '../api';
import { Buttons } from '../buttons';
import { CommandIDs, ICloudML } from '../tokens';
import { actsOf } from './acts';
import { Backfill, byTime } from './backfill';
import { BackfillModel } from './backfill_model';
import { JobModel } from './job_model';
import { IListProps, dueText } from './list_page';
import { ListTrouble, Pages, RunTable } from './list_parts';
import { Strip } from './marks';
import { COUNTED, Narrow, isPartial, runChoices } from './narrow';
import { Facts, Fold } from './run_parts';
import { IJob, IJobTrigger, IPreview } from './types';
import { Webhook } from './webhook';
import { awayText, fileName, timeText } from './words';

export interface IJobProps extends IListProps {
  readonly name: string;
  readonly model: ICloudML;
}

/** One job: when it runs, what ran, and its definition. */
export class JobPage extends ReactWidget {
  constructor(private readonly _props: IJobProps) {
    super();
    this.addClass('jp-cloudml-page');
    this._job = new JobModel(_props.name, _props.jobs);
    this._filler = new BackfillModel(_props.name, _props.jobs);
  }

  get jobName(): string {
    return this._props.name;
  }

  refresh(): void {
    void this._job.refresh();
    void this._job.runs.refresh();
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._job.dispose();
      this._filler.dispose();
    }
    super.dispose();
  }

  protected override render(): JSX.Element {
    return <UseSignal signal={this._job.changed}>{() => this._renderJob()}</UseSignal>;
  }

  private _renderJob(): JSX.Element {
    const { name, trans } = this._props;
    const { error, job } = this._job;
    return (
      <div className="jp-cloudml-page-content jp-cloudml-wide">
        <h1>{name}</h1>
        {error && <ListTrouble error={error} onRetry={() => this.refresh()} trans={trans} />}
        {!job && !error && <p role="status">{trans.__('Asking for the job…')}</p>}
        {job && this._renderParts(job)}
      </div>
    );
  }

  private _renderParts(job: IJob): JSX.Element {
    const { commands, jobs, trans } = this._props;
    const { previews, runs } = this._job;
    const now = jobs.now();
    const triggers = job.triggers ?? [];
    const times = byTime(triggers);
    const hook = triggers.find(each => each.kind === 'webhook');
    const open = (id: string) => void commands.execute(CommandIDs.showRun, { id });
    const label = this._props.model.machine(job.definition.machine ?? 'local')?.label;
    const about = [
      dueText(trans, job, now),
      trans.__('on %1', label ?? job.definition.machine ?? 'local'),
      trans.__('revision %1', job.rev)
    ];
    return (
      <>
        <p className="jp-cloudml-detail">
          {this._renderNotebook(job)} · {about.join(' · ')}
        </p>
        <div className="jp-cloudml-buttons">
          <Buttons acts={actsOf(job, this._props, () => (this.parent ?? this).close())} />
        </div>
        <section className="jp-cloudml-part" aria-labelledby={`${this.id}-when`}>
          <h2 id={`${this.id}-when`}>{trans.__('When it runs')}</h2>
          <Times previews={previews} now={now} trans={trans} />
          <Failing triggers={triggers} now={now} trans={trans} />
        </section>
        <section className="jp-cloudml-part" aria-labelledby={`${this.id}-runs`}>
          <h2 id={`${this.id}-runs`}>{trans.__('Runs')}</h2>
          <Strip runs={job.strip} trans={trans} onOpen={open} />
          <Narrow
            label={trans.__('Which runs')}
            value={this._job.only}
            choices={runChoices(trans, this._job.counts)}
            onChange={value => {
              this._job.only = value;
            }}
          />
          {isPartial(this._job.counts) && (
            <p className="jp-cloudml-hint">
              {trans.__('Counted are its newest %1 runs.', COUNTED.toLocaleString())}
            </p>
          )}
          {runs.error && (
            <ListTrouble error={runs.error} onRetry={() => void runs.refresh()} trans={trans} />
          )}
          {runs.rows && runs.rows.length > 0 && (
            <RunTable runs={runs.rows} now={now} trans={trans} onOpen={open} />
          )}
          {runs.rows?.length === 0 && (
            <p className="jp-cloudml-hint" role="status">
              {this._job.only
                ? trans.__('None of its runs is so.')
                : trans.__('It has not run yet.')}
            </p>
          )}
          <Pages paged={runs} label={trans.__('Pages of runs')} trans={trans} />
        </section>
        {times.length > 0 && (
          <Fold title={trans.__('Runs of past times')}>
            <Backfill model={this._filler} triggers={times} now={now} trans={trans} />
          </Fold>
        )}
        {hook && (
          <Webhook
            // Of another revision it is the same: the token that is shown once stays.
            key={hook.key}
            job={job.name}
            client={jobs.client}
            trans={trans}
          />
        )}
        <Fold title={trans.__('Definition')}>
          <Facts facts={definitionFacts(job)} />
        </Fold>
      </>
    );
  }

  private _renderNotebook(job: IJob): JSX.Element {
    const { commands, trans } = this._props;
    const { path } = job;
    const name = fileName(job.definition.notebook);
    return path ? (
      <button
        type="button"
        className="jp-cloudml-link"
        aria-label={trans.__('Open %1', name)}
        onClick={() => void commands.execute('docmanager:open', { path })}
      >
        {name}
      </button>
    ) : (
      <span title={job.definition.notebook}>{name}</span>
    );
  }

  private readonly _job: JobModel;
  private readonly _filler: BackfillModel;
}

/** The members of a definition as they are written. */
function definitionFacts(job: IJob): [string, string][] {
  return Object.entries(job.definition).map(([name, value]) => [
    name,
    typeof value === 'string' ? value : JSON.stringify(value)
  ]);
}

/** Triggers in words, each with the next times at which it fires. */
export function Times(props: {
  readonly previews: ReadonlyArray<IPreview | CloudMLError> | null;
  readonly now: number;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { previews, now, trans } = props;
  if (!previews) {
    return (
      <p className="jp-cloudml-hint" role="status">
        {trans.__('Looking when it fires…')}
      </p>
    );
  }
  if (previews.length === 0) {
    return <p className="jp-cloudml-hint">{trans.__('Only when somebody runs it.')}</p>;
  }
  return (
    <ul className="jp-cloudml-times">
      {previews.map((preview, at) => (
        <li key={at}>
          <When preview={preview} now={now} trans={trans} />
        </li>
      ))}
    </ul>
  );
}

/** Triggers whose last looks failed, and why. */
function Failing(props: {
  readonly triggers: ReadonlyArray<IJobTrigger>;
  readonly now: number;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { triggers, now, trans } = props;
  return (
    <>
      {triggers.map(
        ({ key, words, error }) =>
          error && (
            <p key={key} className="jp-cloudml-invalid" role="alert">
              {trans.__('Cannot look since %1 (%2):', timeText(error.since_ms, now), words)}{' '}
              {error.message} {error.hint}
            </p>
          )
      )}
    </>
  );
}

/** One trigger in words, with its next times. */
export function When(props: {
  readonly preview: IPreview | CloudMLError;
  readonly now: number;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { preview, now, trans } = props;
  if (preview instanceof CloudMLError) {
    return (
      <p className="jp-cloudml-invalid" role="alert">
        {preview.message} {preview.hint}
      </p>
    );
  }
  const [first, ...rest] = preview.next_ms;
  return (
    <>
      <p className="jp-cloudml-when">{preview.words}</p>
      {first !== undefined && (
        <p className="jp-cloudml-hint">
          {trans.__('Next: %1 (%2)', timeText(first, now), awayText(trans, first, now))}
          {rest.length > 0 && `, ${rest.map(each => timeText(each, now)).join(', ')}`}
        </p>
      )}
    </>
  );
}
