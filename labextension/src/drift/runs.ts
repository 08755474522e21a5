import { INotebookTracker, NotebookActions, NotebookPanel } from '@jupyterlab/notebook';

/** Whether the kernel of a notebook has variables to lose, as far as this page can tell. */
export class Runs {
  constructor(notebooks: INotebookTracker) {
    notebooks.widgetAdded.connect((_, panel) => {
      panel.sessionContext.kernelChanged.connect((_context, { oldValue, newValue }) => {
        if (oldValue && newValue) {
          this._begun.set(panel, { kernel: newValue.id, ran: false });
        }
      });
    });
    NotebookActions.executed.connect((_, { notebook }) => {
      const panel = notebooks.find(each => each.content === notebook);
      const begun = panel && this._begun.get(panel);
      if (begun) {
        begun.ran = true;
      }
    });
  }

  /** A kernel that was there before this page counts as one that has run where any cell has. */
  hasRun(panel: NotebookPanel): boolean {
    const kernel = panel.sessionContext.session?.kernel;
    const begun = this._begun.get(panel);
    if (kernel && begun?.kernel === kernel.id) {
      return begun.ran;
    }
    const cells = [...(panel.content.model?.cells ?? [])];
    return cells.some(cell => 'executionCount' in cell && cell.executionCount !== null);
  }

  private readonly _begun = new WeakMap<NotebookPanel, { kernel: string; ran: boolean }>();
}
