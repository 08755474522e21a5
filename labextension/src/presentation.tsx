import { TranslationBundle } from '@jupyterlab/translation';
import { LabIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { busyIcon, endedIcon, offIcon, reconnectingIcon, runningIcon, troubleIcon } from './icons';
import { PlaceState } from './notebook/place';
import { MachineState } from './types';

export type AnyState = MachineState | PlaceState;

/** Icon and tone of every state; the word always stands beside them. */
const LOOKS: Readonly<Record<AnyState, { icon: LabIcon; tone: string }>> = {
  running: { icon: runningIcon, tone: 'good' },
  starting: { icon: busyIcon, tone: 'busy' },
  moving: { icon: busyIcon, tone: 'busy' },
  stopping: { icon: busyIcon, tone: 'busy' },
  reconnecting: { icon: reconnectingIcon, tone: 'warn' },
  unreachable: { icon: troubleIcon, tone: 'bad' },
  ended: { icon: endedIcon, tone: 'bad' },
  gone: { icon: endedIcon, tone: 'off' },
  stopped: { icon: offIcon, tone: 'off' },
  none: { icon: offIcon, tone: 'off' }
};

/** The word for a state. */
export function stateWord(trans: TranslationBundle, state: AnyState): string {
  const words: Record<AnyState, string> = {
    running: trans.__('running'),
    starting: trans.__('starting'),
    moving: trans.__('moving'),
    stopping: trans.__('stopping'),
    reconnecting: trans.__('reconnecting'),
    unreachable: trans.__('unreachable'),
    ended: trans.__('ended'),
    gone: trans.__('gone'),
    stopped: trans.__('disconnected'),
    none: trans.__('no kernel')
  };
  return words[state];
}

/** The word for a notebook's place; a link that is down is never a dead kernel. */
export function placeWord(trans: TranslationBundle, state: PlaceState): string {
  return state === 'reconnecting'
    ? trans.__('reconnecting, the kernel goes on')
    : stateWord(trans, state);
}

/** The mark of a state; decoration only, the word says it. */
export function StateIcon({ state }: { readonly state: AnyState }): JSX.Element {
  const { icon: Icon, tone } = LOOKS[state];
  return (
    <span className="jp-cloudml-mark" data-tone={tone} data-state={state} aria-hidden="true">
      <Icon.react tag={null} />
    </span>
  );
}

/** Time since `since` (UTC epoch ms) by the clock `now`, counted up each second. */
export function Elapsed(props: {
  readonly since: number;
  readonly now: () => number;
  readonly format: (ms: number) => string;
}): JSX.Element {
  const [, tick] = React.useReducer((n: number) => n + 1, 0);
  React.useEffect(() => {
    const timer = window.setInterval(tick, 1000);
    return () => window.clearInterval(timer);
  }, []);
  return <span className="jp-cloudml-elapsed">{props.format(props.now() - props.since)}</span>;
}
