import { IOutput } from '@jupyterlab/nbformat';

import { IContent, IRecord } from './types';

/** Outputs of a cell that are shown: as many of the first and of the last. */
const ENDS = 50;
/** Characters of a stream that are shown: its end. */
const TEXT = 100_000;
/** Characters of outputs that are held for a whole run, and of one output. */
const HELD = 64_000_000;
const ONE = 16_000_000;

export type CellStatus = 'text' | 'waiting' | 'running' | 'ok' | 'reused' | 'error' | 'lost';

/** One output, at its place among all of its cell. */
interface IPlaced {
  readonly place: number;
  readonly output: IOutput;
  readonly size: number;
}

/** A cell of a run, as far as it has come. */
export interface IRunCell {
  readonly index: number;
  readonly type: string;
  readonly source: string;
  readonly status: CellStatus;
  readonly started: number | null;
  readonly ended: number | null;
  readonly count: number | null;
  readonly outputs: ReadonlyArray<IOutput>;
  /** Outputs, or beginnings of them, that are not shown. */
  readonly hidden: number;
}

class Cell {
  status: CellStatus;
  started: number | null = null;
  ended: number | null = null;
  count: number | null = null;
  placed: IPlaced[] = [];
  total = 0;
  cut = 0;
  shown: IRunCell | null = null;

  constructor(
    readonly index: number,
    readonly type: string,
    readonly source: string,
    /** What an earlier run has left, of a cell that is not run again. */
    readonly given: ReadonlyArray<IOutput>
  ) {
    this.status = type === 'code' ? 'waiting' : 'text';
  }
}

/** The cells of a run, made from what it said. What is held is bounded, however much it says. */
export class RunCells {
  constructor(notebook: IContent) {
    this._cells = notebook.cells.map(
      ({ cell_type, source, outputs }, index) =>
        new Cell(
          index,
          cell_type,
          typeof source === 'string' ? source : source.join(''),
          outputs ?? []
        )
    );
  }

  get length(): number {
    return this._cells.length;
  }

  /** The cell that runs, or ran last. */
  get current(): number {
    return this._current;
  }

  /** A cell; the same object until something of it changes. */
  cell(index: number): IRunCell | null {
    const cell = this._cells[index];
    if (!cell) {
      return null;
    }
    cell.shown ??= {
      index,
      type: cell.type,
      source: cell.source,
      status: cell.status,
      started: cell.started,
      ended: cell.ended,
      count: cell.count,
      outputs: cell.placed.map(each => each.output),
      hidden: cell.total - cell.placed.length + cell.cut
    };
    return cell.shown;
  }

  /** How long each cell ran that began, by the time `now`. */
  spans(now: number): { index: number; start: number; end: number; status: CellStatus }[] {
    return this._cells.flatMap(({ index, started, ended, status }) =>
      started === null ? [] : [{ index, start: started, end: ended ?? now, status }]
    );
  }

  /** Take in what was said. */
  apply(record: IRecord): void {
    const cell = record.index === undefined ? undefined : this._cells[record.index];
    if (!cell) {
      return;
    }
    cell.shown = null;
    if (record.record === 'cell') {
      this._current = cell.index;
      this._begunOrDone(cell, record);
    } else if (record.record === 'clear') {
      this._clear(cell);
    } else if (record.record === 'output' && record.output) {
      this._add(cell, record.output);
    } else if (record.record === 'update') {
      this._update(cell, record);
    }
  }

  /** The run is over: what runs has come to nothing. */
  close(): void {
    for (const cell of this._cells) {
      if (cell.status === 'running') {
        cell.status = 'lost';
        cell.shown = null;
      }
    }
  }

  private _begunOrDone(cell: Cell, record: IRecord): void {
    if (record.status === 'reused') {
      if (cell.status !== 'reused') {
        cell.status = 'reused';
        cell.given.forEach(output => this._add(cell, output));
      }
      return;
    }
    if (record.state === 'started') {
      this._clear(cell);
      cell.status = 'running';
      cell.started = record.at_ms ?? null;
      cell.ended = cell.count = null;
      return;
    }
    cell.status = record.status === 'ok' || record.status === 'lost' ? record.status : 'error';
    cell.started ??= record.started_ms ?? null;
    cell.ended = record.at_ms ?? null;
    cell.count = record.execution_count ?? null;
  }

  private _clear(cell: Cell): void {
    this._held -= cell.placed.reduce((sum, each) => sum + each.size, 0);
    cell.placed = [];
    cell.total = cell.cut = 0;
  }

  private _add(cell: Cell, output: IOutput): void {
    const last = cell.placed[cell.placed.length - 1];
    if (
      output.output_type === 'stream' &&
      last?.place === cell.total - 1 &&
      last.output.output_type === 'stream' &&
      last.output['name'] === output['name']
    ) {
      const text = String(last.output['text'] ?? '') + textOf(output);
      this._replace(cell, cell.placed.length - 1, { ...last.output, text });
      return;
    }
    const place = cell.total++;
    const size = sizeOf(output);
    if (size > ONE || this._held + size > HELD) {
      return;
    }
    if (cell.placed.length >= 2 * ENDS) {
      this._held -= cell.placed.splice(ENDS, 1)[0]?.size ?? 0;
    }
    cell.placed.push({ place, output: plain(output), size: 0 });
    this._replace(cell, cell.placed.length - 1, plain(output));
  }

  private _replace(cell: Cell, at: number, output: IOutput): void {
    const before = cell.placed[at];
    if (!before) {
      return;
    }
    let made = output;
    const text = output['text'];
    if (output.output_type === 'stream' && typeof text === 'string' && text.length > TEXT) {
      cell.cut ||= 1;
      made = { ...output, text: text.slice(text.indexOf('\n', text.length - TEXT) + 1) };
    }
    const size = sizeOf(made);
    this._held += size - before.size;
    cell.placed[at] = { place: before.place, output: made, size };
  }

  private _update(cell: Cell, record: IRecord): void {
    for (const place of record.at ?? []) {
      const at = cell.placed.findIndex(each => each.place === place);
      const { data, metadata } = record;
      const before = cell.placed[at];
      if (before && data) {
        this._replace(cell, at, { ...before.output, data, metadata: metadata ?? {} });
      }
    }
  }

  private readonly _cells: Cell[];
  private _current = 0;
  private _held = 0;
}

function textOf(output: IOutput): string {
  const text = output['text'];
  return Array.isArray(text) ? text.join('') : String(text ?? '');
}

/** An output of which the text is one string. */
function plain(output: IOutput): IOutput {
  return output.output_type === 'stream' ? { ...output, text: textOf(output) } : output;
}

function sizeOf(output: IOutput): number {
  return output.output_type === 'stream' ? textOf(output).length : JSON.stringify(output).length;
}
