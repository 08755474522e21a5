import { Notification } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { NotebookPanel } from '@jupyterlab/notebook';
import { TranslationBundle } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { JSONObject, ReadonlyPartialJSONObject, UUID } from '@lumino/coreutils';

import { CloudMLError } from '../api';
import { LOCAL } from '../specs';
import { CommandIDs, ICloudML, ICurrentNotebook } from '../tokens';
import { IAnswer, IProposal, RunQuestion } from './ask';
import { JobsModel } from './model';
import { IContent, IRun, ISelection } from './types';

/** Slow enough for a note that it goes on, in ms. */
const SLOW = 1_000;

export interface IStarter {
  readonly jobs: JobsModel;
  readonly model: ICloudML;
  readonly notebook: ICurrentNotebook;
  readonly commands: CommandRegistry;
  readonly trans: TranslationBundle;
}

/** Run the notebook as a job: it is saved, the user is asked once, and the run is shown. */
export async function runNotebook(panel: NotebookPanel, starter: IStarter): Promise<void> {
  const { jobs, trans } = starter;
  const path = panel.context.localPath;
  await saved(panel);
  await begin(panel, starter, {
    title: trans.__('Run %1 as a job', PathExt.basename(path)),
    parameters: jobs.client.parameters(path),
    selection: null
  });
}

/** Run the selected cells as a job, with those before them that they need. */
export async function runSelected(panel: NotebookPanel, starter: IStarter): Promise<void> {
  const { jobs, trans } = starter;
  const content = contentOf(panel);
  const chosen = selectedCells(panel);
  const found = await jobs.client.select(content, chosen);
  await begin(panel, starter, {
    title: trans._n(
      'Run the selected cell as a job',
      'Run %1 selected cells as a job',
      chosen.length
    ),
    parameters: found.content.cells.some(hasParameters)
      ? jobs.client.parameters(panel.context.localPath)
      : Promise.resolve([]),
    selection: { found, chosen: new Set(chosen) }
  });
}

async function begin(
  panel: NotebookPanel,
  starter: IStarter,
  of: Pick<IProposal, 'title' | 'parameters' | 'selection'>
): Promise<void> {
  const { commands, jobs, model, notebook, trans } = starter;
  const place = notebook.placeOf(panel).value;
  const machine = place.machine !== null && model.machine(place.machine) ? place.machine : LOCAL;
  const kernel = panel.sessionContext.session?.kernel?.name ?? null;
  // Without parameters the form has nothing of them; why they could not be read is said in it.
  of.parameters.catch(() => undefined);
  const question = new RunQuestion({ ...of, machine, kernel }, model, trans);
  const path = panel.context.localPath;
  const token = UUID.uuid4();
  let error: CloudMLError | null = null;
  for (;;) {
    const answer = await question.ask(error);
    if (!answer) {
      return;
    }
    if (answer.schedule) {
      await commands.execute(CommandIDs.newJob, { definition: definitionOf(path, answer) });
      return;
    }
    try {
      const content = of.selection ? chosenContent(of.selection.found, answer) : undefined;
      const run = await slowly(
        jobs.client.run({
          path,
          machine: answer.machine,
          parameters: answer.parameters,
          token,
          ...(answer.sweep === undefined ? {} : { sweep: answer.sweep }),
          ...(answer.kernel ? { kernel: answer.kernel } : {}),
          ...(content ? { content } : {})
        }),
        trans
      );
      await commands.execute(CommandIDs.showRun, { id: run.id });
      return;
    } catch (reason) {
      error = CloudMLError.from(reason);
    }
  }
}

/** What the form of a new job begins with. */
function definitionOf(path: string, answer: IAnswer): ReadonlyPartialJSONObject {
  const stem = PathExt.basename(path).replace(/\.ipynb$/, '');
  const name = stem.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '');
  return {
    name: name.slice(0, 100) || 'job',
    notebook: path,
    machine: answer.machine,
    parameters: answer.parameters,
    ...(answer.sweep === undefined ? {} : { sweep: answer.sweep as JSONObject }),
    ...(answer.kernel ? { kernel: answer.kernel } : {})
  };
}

/** Save the notebook where it has changes. Rejects where it is not saved. */
async function saved(panel: NotebookPanel): Promise<void> {
  const { context } = panel;
  if (context.model.dirty && !context.model.readOnly) {
    await context.save();
  }
}

function contentOf(panel: NotebookPanel): IContent {
  const { cells, ...rest } = panel.context.model.toJSON() as unknown as {
    cells: Record<string, unknown>[];
  };
  // The server leaves the outputs away in any case: they need not travel.
  const bare = cells.map(cell => ('outputs' in cell ? { ...cell, outputs: [] } : cell));
  return { ...rest, cells: bare } as unknown as IContent;
}

/** The places of the selected cells. */
export function selectedCells(panel: NotebookPanel): number[] {
  const { content } = panel;
  return content.widgets.flatMap((cell, index) =>
    content.isSelectedOrActive(cell) ? [index] : []
  );
}

function hasParameters(cell: IContent['cells'][number]): boolean {
  const tags = cell.metadata?.['tags'];
  return Array.isArray(tags) && tags.includes('parameters');
}

function chosenContent(found: ISelection, answer: IAnswer): IContent {
  const kept = new Set(answer.cells ?? found.cells);
  const cells = found.content.cells.filter((_, at) => kept.has(found.cells[at] ?? -1));
  return { ...found.content, cells };
}

/** Say that it goes on where it takes a while: code may have to be sent first. */
async function slowly(run: Promise<IRun>, trans: TranslationBundle): Promise<IRun> {
  let notice = '';
  const timer = window.setTimeout(() => {
    notice = Notification.emit(
      trans.__('The run is being prepared: its code is sent'),
      'in-progress',
      {
        autoClose: false
      }
    );
  }, SLOW);
  try {
    return await run;
  } finally {
    window.clearTimeout(timer);
    if (notice) {
      Notification.dismiss(notice);
    }
  }
}
