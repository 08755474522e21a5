import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { Refusal } from '../add/parts';
import { CommandIDs, ICloudML } from '../tokens';
import { Cells, PAGE } from './cells';
import { Mark } from './marks';
import { JobsModel } from './model';
import { RunModel } from './run_model';
import { Acts, Left } from './run_acts';
import { Attempts, Fold, Log, Provenance, parametersText } from './run_parts';
import { Children, InSweep } from './sweep';
import { Timeline } from './timeline';
import { IRunDetail } from './types';
import { fileName, isOver, runWord, timeText, tookText } from './words';

export interface IRunPageProps {
  readonly id: string;
  readonly jobs: JobsModel;
  readonly model: ICloudML;
  readonly commands: CommandRegistry;
  readonly rendermime: IRenderMimeRegistry;
  readonly trans: TranslationBundle;
  /** Show a page made of the run, of which nothing is trusted. */
  readonly showHtml: (html: string, run: IRunDetail) => void;
}

/** One run: how it is, cell by cell, and all that is on record of it. */
export class RunPage extends ReactWidget {
  constructor(private readonly _props: IRunPageProps) {
    super();
    this.addClass('jp-cloudml-page');
    this.node.dataset['run'] = _props.id;
    this._run = new RunModel(_props.id, _props.jobs);
    this._run.changed.connect(this._onChanged, this);
  }

  get runId(): string {
    return this._props.id;
  }

  /** Look again. */
  refresh(): void {
    void this._run.refresh();
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._run.dispose();
    }
    super.dispose();
  }

  protected override render(): JSX.Element {
    return (
      <UseSignal signal={this._run.changed}>
        {() => <Page page={this._props} model={this._run} />}
      </UseSignal>
    );
  }

  private _onChanged(): void {
    const { run } = this._run;
    if (run) {
      const name = fileName(run.provenance.notebook) || run.job;
      this.title.label = name;
      this.title.caption = `${name}: ${runWord(this._props.trans, run)}`;
    }
  }

  private readonly _run: RunModel;
}

export interface IPartProps {
  readonly page: IRunPageProps;
  readonly model: RunModel;
}

/** Count the seconds while a run goes on. */
function useNow(page: IRunPageProps, goes: boolean): number {
  const [, tick] = React.useReducer((n: number) => n + 1, 0);
  React.useEffect(() => {
    const timer = goes ? window.setInterval(tick, 1000) : 0;
    return () => window.clearInterval(timer);
  }, [goes]);
  return page.model.now();
}

function Page({ page, model }: IPartProps): JSX.Element {
  const { jobs, rendermime, trans } = page;
  const { cells, error, run } = model;
  const now = useNow(page, run !== null && !isOver(run.state));
  const node = React.useRef<HTMLDivElement>(null);
  // Null: the page that has the cell that runs.
  const [chosen, setChosen] = React.useState<number | null>(null);
  const [wanted, setWanted] = React.useState<number | null>(null);
  React.useEffect(() => {
    if (wanted !== null) {
      const cell = node.current?.querySelector<HTMLElement>(`[data-cell="${wanted}"]`);
      cell?.scrollIntoView({ block: 'start' });
      cell?.querySelector<HTMLElement>('[tabindex]')?.focus({ preventScroll: true });
      setWanted(null);
    }
  }, [wanted]);
  if (!run) {
    return (
      <div className="jp-cloudml-page-content jp-cloudml-wide">
        {error ? (
          <Refusal error={error}>
            <button type="button" className="jp-mod-styled" onClick={() => void model.refresh()}>
              {trans.__('Try again')}
            </button>
          </Refusal>
        ) : (
          <p role="status">{trans.__('Asking for the run…')}</p>
        )}
      </div>
    );
  }
  const pageOf = (index: number) => Math.floor(index / PAGE) * PAGE;
  const show = (index: number) => {
    setChosen(pageOf(index));
    setWanted(index);
  };
  const machine = page.model.machine(run.provenance.machine)?.label ?? run.provenance.machine;
  return (
    <div className="jp-cloudml-page-content jp-cloudml-wide" ref={node}>
      <Head page={page} model={model} run={run} now={now} machine={machine} />
      {error && <Refusal error={error} />}
      {cells && <Timeline cells={cells} now={now} trans={trans} onCell={show} />}
      {run.sweep_count ? (
        <Children run={run} commands={page.commands} trans={trans} />
      ) : cells ? (
        <Cells
          cells={cells}
          first={chosen ?? pageOf(cells.current)}
          now={now}
          rendermime={rendermime}
          trans={trans}
          onPage={setChosen}
        />
      ) : (
        <p className="jp-cloudml-hint" role="status">
          {isOver(run.state)
            ? trans.__('No cell of it was run.')
            : trans.__('Its cells are shown as soon as it begins.')}
        </p>
      )}
      <Fold title={trans.__('What ran')}>
        <Provenance run={run} machine={machine} trans={trans} />
      </Fold>
      {run.attempts.length > 0 && (
        <Fold
          title={trans._n('One attempt', '%1 attempts', run.attempts.length)}
          open={run.attempts.length > 1}
        >
          <Attempts attempts={run.attempts} now={now} trans={trans} />
        </Fold>
      )}
      <Log key={run.state} run={run.id} client={jobs.client} trans={trans} />
    </div>
  );
}

/** What it is, how it is, and what can be done. */
function Head(
  props: IPartProps & {
    readonly run: IRunDetail;
    readonly now: number;
    readonly machine: string;
  }
): JSX.Element {
  const { page, run, now, machine } = props;
  const { commands, trans } = page;
  const name = fileName(run.provenance.notebook) || run.job;
  const took = tookText(trans, run, now);
  const about = [
    trans.__('on %1', machine),
    run.started_ms
      ? trans.__('began %1', timeText(run.started_ms, now))
      : trans.__('due %1', timeText(run.due_ms, now)),
    took && (isOver(run.state) ? trans.__('took %1', took) : trans.__('runs for %1', took)),
    run.cost ? `$${run.cost.toFixed(2)}` : ''
  ].filter(Boolean);
  const parameters = parametersText(run.provenance.params);
  return (
    <div className="jp-cloudml-run-head">
      <div className="jp-cloudml-row-line">
        <Mark state={run.state} />
        <h1>{name}</h1>
        <span className="jp-cloudml-word" role="status" data-state={run.state}>
          {runWord(trans, run)}
        </span>
      </div>
      <p className="jp-cloudml-detail">
        {about.join(' · ')} ·{' '}
        <button
          type="button"
          className="jp-cloudml-link"
          onClick={() => void commands.execute(CommandIDs.showJob, { name: run.job })}
        >
          {trans.__('job %1', run.job)}
        </button>
      </p>
      {parameters && <p className="jp-cloudml-detail">{parameters}</p>}
      <InSweep run={run} commands={commands} trans={trans} />
      {run.reason && (
        <p
          className={
            run.state === 'succeeded' || run.state === 'skipped'
              ? 'jp-cloudml-hint'
              : 'jp-cloudml-drift-errors'
          }
        >
          {run.reason}
        </p>
      )}
      {run.resumed && (
        <p className="jp-cloudml-hint">
          {run.resumed.why ?? trans.__('It went on at cell %1 of another run.', run.resumed.at + 1)}{' '}
          <button
            type="button"
            className="jp-cloudml-link"
            onClick={() =>
              void commands.execute(CommandIDs.showRun, { id: run.parent_run_id ?? '' })
            }
          >
            {trans.__('the run before')}
          </button>
        </p>
      )}
      <Acts {...props} />
      {props.model.kept && <Left {...props} kept={props.model.kept} />}
    </div>
  );
}
