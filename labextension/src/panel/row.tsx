import { TranslationBundle } from '@jupyterlab/translation';
import { ellipsesIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { Elapsed, StateIcon, stateWord } from '../presentation';
import { duration, hardware, stepText } from '../text';
import { CommandIDs } from '../tokens';
import { IMachine } from '../types';

export interface IRowProps {
  readonly machine: IMachine;
  readonly trans: TranslationBundle;
  readonly now: () => number;
  /** Whether the row is the one that Tab reaches. */
  readonly tabbable: boolean;
  readonly onFocus: () => void;
  readonly onRun: (command: string) => void;
  readonly onMenu: (x: number, y: number) => void;
  readonly onKeyDown: (event: React.KeyboardEvent<HTMLElement>) => void;
}

/** The machine's second line: what it is made of, how far it is, or what is wrong. */
function Detail({ machine, trans, now }: IRowProps): JSX.Element | null {
  const format = (ms: number) => duration(trans, ms);
  if (machine.state === 'starting' && machine.step) {
    return (
      <>
        {stepText(trans, machine.step)}{' '}
        <Elapsed since={machine.step.since_ms ?? machine.since_ms} now={now} format={format} />
      </>
    );
  }
  if (machine.state === 'unreachable') {
    return (
      <>
        <Elapsed since={machine.since_ms} now={now} format={format} />
        {machine.cause ? `: ${machine.cause}` : ''}
        {machine.next_action && <span className="jp-cloudml-hint">{machine.next_action}</span>}
      </>
    );
  }
  const parts = [hardware(trans, machine.info)];
  if (machine.kernels > 0) {
    parts.push(trans._n('%1 kernel', '%1 kernels', machine.kernels));
  }
  const text = parts.filter(Boolean).join(' · ');
  return <>{text || machine.address}</>;
}

/** The buttons that stand in the row itself; the rest is in its menu. */
function rowButtons(trans: TranslationBundle, machine: IMachine): [string, string, string][] {
  const label = machine.label;
  switch (machine.state) {
    case 'starting':
      return [
        [CommandIDs.cancelStart, trans.__('Cancel'), trans.__('Cancel the start of %1', label)]
      ];
    case 'unreachable':
      return [
        [CommandIDs.retryMachine, trans.__('Retry'), trans.__('Try to reach %1 now', label)],
        [
          CommandIDs.checkMachine,
          trans.__('Why…'),
          trans.__('Find out why %1 is unreachable', label)
        ]
      ];
    case 'stopped':
      return [[CommandIDs.startMachine, trans.__('Connect'), trans.__('Connect to %1', label)]];
    default:
      return [];
  }
}

/** One machine in the list. */
export function MachineRow(props: IRowProps): JSX.Element {
  const { machine, trans } = props;
  const buttons = rowButtons(trans, machine);
  const word = stateWord(trans, machine.state);
  const menuLabel = trans.__('Actions for %1', machine.label);
  return (
    <li
      className="jp-cloudml-row"
      data-machine={machine.name}
      data-state={machine.state}
      tabIndex={props.tabbable ? 0 : -1}
      aria-label={trans.__('%1, %2', machine.label, word)}
      title={machine.address || machine.label}
      onFocus={props.onFocus}
      onKeyDown={props.onKeyDown}
      onContextMenu={event => {
        event.preventDefault();
        event.stopPropagation();
        props.onMenu(event.clientX, event.clientY);
      }}
    >
      <div className="jp-cloudml-row-line">
        <StateIcon state={machine.state} />
        <span className="jp-cloudml-name">{machine.label}</span>{' '}
        <span className="jp-cloudml-word" role="status">
          {word}
        </span>
        <button
          type="button"
          className="jp-cloudml-icon-button"
          aria-label={menuLabel}
          aria-haspopup="menu"
          title={menuLabel}
          onClick={event => {
            const rect = event.currentTarget.getBoundingClientRect();
            props.onMenu(rect.left, rect.bottom);
          }}
        >
          <ellipsesIcon.react tag={null} />
        </button>
      </div>
      <div className="jp-cloudml-row-line">
        <span className="jp-cloudml-detail">
          <Detail {...props} />
        </span>
        {buttons.map(([command, text, label]) => (
          <button
            key={command}
            type="button"
            className="jp-cloudml-button"
            aria-label={label}
            title={label}
            onClick={() => props.onRun(command)}
          >
            {text}
          </button>
        ))}
      </div>
    </li>
  );
}
