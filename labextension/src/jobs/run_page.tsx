import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import { Message } from '@lumino/messaging';
import * as React from 'react';

import { Refusal } from '../add/parts';
import { GaugesModel } from '../gauges';
import { ICloudML } from '../tokens';
import { Cells, PAGE } from './cells';
import { gaugesOfRun } from './measure';
import { JobsModel } from './model';
import { Files, Notices } from './run_files';
import { RunGauges } from './run_gauges';
import { Head } from './run_head';
import { Data, Packages } from './run_lineage';
import { RunModel } from './run_model';
import { Attempts, Fold, Log, Provenance } from './run_parts';
import { Children } from './sweep';
import { Timeline } from './timeline';
import { IRunDetail } from './types';
import { fileName, isOver, runWord } from './words';

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
    this._run = new RunModel(_props.id, _props.jobs, () => this.isVisible);
    this._run.changed.connect(this._onChanged, this);
    this._gauges = new GaugesModel(
      gaugesOfRun(_props.model.client, () => this._run.run),
      () => this.isVisible && this._run.run?.state === 'running'
    );
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
      this._gauges.dispose();
    }
    super.dispose();
  }

  protected override onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this.refresh();
    this._gauges.refresh();
  }

  protected override render(): JSX.Element {
    return (
      <UseSignal signal={this._run.changed}>
        {() => (
          <Page
            page={this._props}
            model={this._run}
            gauges={this._gauges}
            isVisible={() => this.isVisible}
          />
        )}
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
  private readonly _gauges: GaugesModel;
}

export interface IPartProps {
  readonly page: IRunPageProps;
  readonly model: RunModel;
}

/** Count the seconds while a run goes on and somebody looks. */
function useNow(page: IRunPageProps, goes: boolean, isVisible: () => boolean): number {
  const [, tick] = React.useReducer((n: number) => n + 1, 0);
  React.useEffect(() => {
    const timer = goes ? window.setInterval(() => isVisible() && tick(), 1000) : 0;
    return () => window.clearInterval(timer);
  }, [goes]);
  return page.model.now();
}

function Page(
  props: IPartProps & { readonly gauges: GaugesModel; readonly isVisible: () => boolean }
): JSX.Element {
  const { page, model } = props;
  const { jobs, rendermime, trans } = page;
  const { cells, error, run } = model;
  const now = useNow(page, run !== null && !isOver(run.state), props.isVisible);
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
  const notices = run.notices ?? [];
  const machine = page.model.machine(run.provenance.machine)?.label ?? run.provenance.machine;
  return (
    <div className="jp-cloudml-page-content jp-cloudml-wide" ref={node}>
      <Head page={page} model={model} run={run} now={now} machine={machine} />
      {error && <Refusal error={error} />}
      {run.state === 'running' && (
        <RunGauges gauges={props.gauges} machine={machine} trans={trans} />
      )}
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
        <Provenance run={run} machine={machine} now={now} trans={trans} />
        {run.provenance.packages?.packages && (
          <Packages packages={run.provenance.packages} trans={trans} />
        )}
        {(run.provenance.data ?? []).length > 0 && (
          <Data data={run.provenance.data ?? []} trans={trans} />
        )}
      </Fold>
      {run.attempts.length > 0 && !run.sweep_count && (
        <Fold title={trans.__('Files')}>
          <Files run={run} client={jobs.client} trans={trans} />
        </Fold>
      )}
      {notices.length > 0 && (
        <Fold
          title={trans._n('One notice', '%1 notices', notices.length)}
          open={notices.some(each => each.error !== null && each.state !== 'sent')}
        >
          <Notices notices={notices} now={now} trans={trans} />
        </Fold>
      )}
      {run.attempts.length > 0 && (
        <Fold
          title={trans._n('One attempt', '%1 attempts', run.attempts.length)}
          open={run.attempts.length > 1}
        >
          <Attempts attempts={run.attempts} now={now} trans={trans} />
        </Fold>
      )}
      <Log state={run.state} run={run.id} client={jobs.client} trans={trans} />
    </div>
  );
}
