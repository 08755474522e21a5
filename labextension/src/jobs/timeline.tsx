import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { CellStatus, RunCells } from './fold';
import { preciseDuration } from './words';

/** Parts of the whole time below which cells are drawn as one. */
const PARTS = 400;
/** Of the slowest cells so many are named. */
const NAMED = 3;

interface ISpan {
  readonly index: number;
  readonly start: number;
  readonly end: number;
  readonly status: CellStatus;
}

/** One piece of the drawing: a cell, or several quick ones that follow each other. */
interface IPiece extends ISpan {
  readonly count: number;
}

/** Draw quick cells that follow each other as one; those that failed stay by themselves. */
export function pieces(spans: ReadonlyArray<ISpan>, total: number): IPiece[] {
  const least = total / PARTS;
  const found: IPiece[] = [];
  for (const span of spans) {
    const last = found[found.length - 1];
    const quick = span.end - span.start < least && span.status === 'ok';
    if (last && quick && last.status === 'ok' && last.end - last.start < least) {
      found[found.length - 1] = { ...last, end: span.end, count: last.count + 1 };
    } else {
      found.push({ ...span, count: 1 });
    }
  }
  return found;
}

/** When each cell ran, as one line; the slowest ones are named and lead to themselves. */
export function Timeline(props: {
  readonly cells: RunCells;
  readonly now: number;
  readonly trans: TranslationBundle;
  readonly onCell: (index: number) => void;
}): JSX.Element | null {
  const { cells, now, trans, onCell } = props;
  const spans = cells.spans(now);
  const from = spans[0]?.start;
  if (from === undefined) {
    return null;
  }
  const until = spans.reduce((latest, each) => Math.max(latest, each.end), from + 1);
  const total = until - from;
  const percent = (ms: number) => `${(100 * ms) / total}%`;
  const slowest = [...spans]
    .sort((a, b) => b.end - b.start - (a.end - a.start))
    .slice(0, NAMED)
    .filter(each => each.end > each.start);
  const took = (span: ISpan) => preciseDuration(trans, span.end - span.start);
  return (
    <section className="jp-cloudml-timeline" aria-label={trans.__('Timeline')}>
      <svg
        role="img"
        aria-label={trans._n(
          'One cell in %2',
          '%1 cells in %2',
          spans.length,
          preciseDuration(trans, total)
        )}
      >
        {pieces(spans, total).map(piece => (
          <rect
            key={piece.index}
            data-status={piece.status}
            x={percent(piece.start - from)}
            width={percent(Math.max(piece.end - piece.start, total / PARTS))}
            y="0"
            height="100%"
            onClick={() => onCell(piece.index)}
          >
            <title>
              {piece.count > 1
                ? trans.__(
                    'Cells %1–%2: %3',
                    piece.index + 1,
                    piece.index + piece.count,
                    took(piece)
                  )
                : trans.__('Cell %1: %2', piece.index + 1, took(piece))}
            </title>
          </rect>
        ))}
      </svg>
      <div className="jp-cloudml-row-line">
        <span className="jp-cloudml-detail">{trans.__('Slowest:')}</span>
        {slowest.map(span => (
          <button
            key={span.index}
            type="button"
            className="jp-cloudml-button"
            aria-label={trans.__('Show cell %1, which took %2', span.index + 1, took(span))}
            onClick={() => onCell(span.index)}
          >
            {trans.__('cell %1 · %2', span.index + 1, took(span))}
          </button>
        ))}
      </div>
    </section>
  );
}
