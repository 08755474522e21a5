import { TranslationBundle } from '@jupyterlab/translation';
import {
  LabIcon,
  caretDownIcon,
  caretRightIcon,
  fileIcon,
  folderIcon
} from '@jupyterlab/ui-components';
import * as React from 'react';

import { BucketModel } from './buckets';
import { IMoreRow, IPlaceRow, Row, nextIndex } from './rows';
import { ageText, bytesText, failureText } from './text';

/** Of a line, in pixels; the style sheet has the same. */
const ROW = 24;
const OVERSCAN = 12;
const INDENT = 14;

export interface ITreeProps {
  readonly model: BucketModel;
  readonly label: string;
  readonly now: () => number;
  readonly trans: TranslationBundle;
  /** What Enter and a double click do with an object. */
  readonly onPrimary: (row: IPlaceRow) => void;
  readonly onMenu: (row: IPlaceRow, x: number, y: number) => void;
}

/** What is in sight of the list, in pixels. */
function useWindow(list: React.RefObject<HTMLDivElement>): { top: number; height: number } {
  const [seen, setSeen] = React.useState({ top: 0, height: 400 });
  React.useLayoutEffect(() => {
    const node = list.current;
    if (!node) {
      return;
    }
    const look = () => setSeen({ top: node.scrollTop, height: node.clientHeight });
    const sizes = new ResizeObserver(look);
    sizes.observe(node);
    node.addEventListener('scroll', look, { passive: true });
    look();
    return () => {
      sizes.disconnect();
      node.removeEventListener('scroll', look);
    };
  }, [list]);
  return seen;
}

/** The names of a bucket as a tree. Only the lines in sight are in the page, however many there are. */
export function BucketTree(props: ITreeProps): JSX.Element {
  const { model, label } = props;
  const list = React.useRef<HTMLDivElement>(null);
  const { top, height } = useWindow(list);
  const { rows, active } = model;
  const first = Math.max(0, Math.floor(top / ROW) - OVERSCAN);
  const last = Math.min(rows.length, Math.ceil((top + height) / ROW) + OVERSCAN);
  const id = (index: number) => `jp-cloudml-name-${index}`;

  React.useEffect(() => {
    // Whoever gets to the end of the names has the next ones loaded. A filter would load page after page.
    const inSight = rows.slice(Math.floor(top / ROW), Math.ceil((top + height) / ROW));
    const more = model.filter ? undefined : inSight.find(row => row.kind === 'more');
    if (more?.kind === 'more') {
      void model.more(more.folder);
    }
  }, [rows, top, height]);

  const go = (index: number) => {
    const row = rows[index];
    const node = list.current;
    if (row && node) {
      const above = index * ROW;
      node.scrollTop = Math.min(above, Math.max(node.scrollTop, above + ROW - node.clientHeight));
      model.activate(row.id);
    }
  };

  const onKeyDown = (event: React.KeyboardEvent<HTMLElement>) => {
    const row = rows[active];
    const page = Math.max(1, Math.floor(height / ROW) - 1);
    const next = nextIndex(rows, active, event.key, page);
    const rect = event.currentTarget.getBoundingClientRect();
    if (next !== null) {
      go(next);
    } else if (row && 'place' in row && isMenuKey(event)) {
      props.onMenu(row, rect.left + 24, rect.top + (active + 1) * ROW - top);
    } else if (row && ['Enter', 'ArrowRight', 'ArrowLeft'].includes(event.key)) {
      press(row, event.key === 'Enter', props);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div
      className="jp-cloudml-tree"
      role="tree"
      aria-label={label}
      aria-activedescendant={active >= first && active < last ? id(active) : undefined}
      tabIndex={0}
      ref={list}
      onKeyDown={onKeyDown}
      onFocus={() => active < 0 && go(0)}
    >
      <div className="jp-cloudml-tree-all" role="none" style={{ height: rows.length * ROW }}>
        {rows.slice(first, last).map((row, offset) => (
          <Line
            key={row.id}
            id={id(first + offset)}
            row={row}
            top={(first + offset) * ROW}
            active={first + offset === active}
            props={props}
          />
        ))}
      </div>
    </div>
  );
}

function isMenuKey(event: React.KeyboardEvent<HTMLElement>): boolean {
  return event.key === 'ContextMenu' || (event.key === 'F10' && event.shiftKey);
}

/** Open or close a folder; have an object's first action done on Enter, and the next names loaded. */
function press(row: Row, isEnter: boolean, props: ITreeProps): void {
  if (!('place' in row)) {
    void props.model.more(row.folder);
  } else if (row.kind !== 'object') {
    props.model.toggle(row);
  } else if (isEnter) {
    props.onPrimary(row);
  }
}

interface ILineProps {
  readonly id: string;
  readonly row: Row;
  readonly top: number;
  readonly active: boolean;
  readonly props: ITreeProps;
}

function Line({ id, row, top, active, props }: ILineProps): JSX.Element {
  const isPlace = 'place' in row;
  const style = { top, paddingLeft: 6 + (row.level - 1) * INDENT };
  return (
    <div
      id={id}
      className="jp-cloudml-tree-line"
      role="treeitem"
      aria-level={row.level}
      aria-selected={active}
      aria-expanded={isPlace && row.kind !== 'object' ? row.expanded : undefined}
      aria-posinset={isPlace && row.siblings > 0 ? row.position : undefined}
      aria-setsize={isPlace && row.siblings > 0 ? row.siblings : undefined}
      data-kind={row.kind}
      style={style}
      onClick={event => {
        props.model.activate(row.id);
        const twisty = event.target instanceof Element && event.target.closest('[data-twisty]');
        if (twisty || !isPlace) {
          press(row, false, props);
        }
      }}
      onDoubleClick={() => isPlace && press(row, true, props)}
      onContextMenu={event => {
        if (isPlace) {
          event.preventDefault();
          event.stopPropagation();
          props.model.activate(row.id);
          props.onMenu(row, event.clientX, event.clientY);
        }
      }}
    >
      {isPlace ? <Place row={row} props={props} /> : <More row={row} trans={props.trans} />}
    </div>
  );
}

function Place({ row, props }: { row: IPlaceRow; props: ITreeProps }): JSX.Element {
  const { entry, expanded, kind, name } = row;
  const { now, trans } = props;
  const Icon: LabIcon = kind === 'object' ? fileIcon : folderIcon;
  const Caret = expanded ? caretDownIcon : caretRightIcon;
  const modified = entry?.modified_ms ?? null;
  const when = modified === null ? '' : new Date(modified).toLocaleString();
  return (
    <>
      <span className="jp-cloudml-tree-caret" data-twisty={kind !== 'object' || undefined}>
        {kind !== 'object' && <Caret.react tag={null} />}
      </span>
      <Icon.react tag="span" className="jp-cloudml-tree-icon" />
      <span className="jp-cloudml-tree-name" title={when ? `${name}\n${when}` : name}>
        {kind === 'folder' ? name.replace(/(.)\/$/, '$1') : name}
      </span>
      {kind === 'object' && entry && (
        <>
          <span className="jp-cloudml-tree-size">{bytesText(entry.size)}</span>
          <span className="jp-cloudml-tree-age" title={when}>
            {modified === null ? '' : ageText(trans, now() - modified)}
          </span>
        </>
      )}
    </>
  );
}

function More({ row, trans }: { row: IMoreRow; trans: TranslationBundle }): JSX.Element {
  const count = row.count.toLocaleString('en-US');
  if (row.kind === 'error' && row.error) {
    const { cause, remedy } = failureText(trans, row.error);
    return (
      <span className="jp-cloudml-tree-error" title={`${cause} ${remedy}`}>
        {trans.__('Try again: %1', cause)}
      </span>
    );
  }
  const texts: Record<IMoreRow['kind'], string> = {
    more: trans.__('Load more (%1 so far)', count),
    loading: row.count ? trans.__('Loading more (%1 so far)…', count) : trans.__('Loading…'),
    empty: trans.__('Nothing in here'),
    error: ''
  };
  return <span className="jp-cloudml-tree-more">{texts[row.kind]}</span>;
}
