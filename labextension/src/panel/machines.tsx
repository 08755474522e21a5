import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { primaryAction } from '../actions';
import { CommandIDs, ICloudML } from '../tokens';
import { RowMenu } from './menu';
import { MachineRow } from './row';
import { Trouble } from './trouble';

interface IListProps {
  readonly model: ICloudML;
  readonly commands: CommandRegistry;
  readonly menu: RowMenu;
  readonly trans: TranslationBundle;
}

/** The row that `key` leads to from `index` of `count`; null where the key moves nothing. */
function nextRow(key: string, index: number, count: number): number | null {
  const target = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: count - 1 }[key];
  return target === undefined ? null : Math.min(count - 1, Math.max(0, target));
}

function MachineList({ model, commands, menu, trans }: IListProps): JSX.Element {
  const [current, setCurrent] = React.useState<string | null>(null);
  const list = React.useRef<HTMLUListElement>(null);
  const machines = model.machines ?? [];
  const tabbable = machines.some(m => m.name === current) ? current : machines[0]?.name;

  const onKeyDown = (index: number) => (event: React.KeyboardEvent<HTMLElement>) => {
    const machine = machines[index];
    if (!machine || event.target !== event.currentTarget) {
      return;
    }
    const next = nextRow(event.key, index, machines.length);
    const primary = primaryAction(machine);
    if (next !== null) {
      list.current?.querySelectorAll<HTMLElement>(':scope > li')[next]?.focus();
    } else if (event.key === 'Enter' && primary) {
      void commands.execute(primary, { name: machine.name });
    } else if (event.key === 'ContextMenu' || (event.key === 'F10' && event.shiftKey)) {
      const rect = event.currentTarget.getBoundingClientRect();
      menu.open(machine, rect.left + 16, rect.top + 24);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <ul className="jp-cloudml-rows" aria-label={trans.__('Machines')} ref={list}>
      {machines.map((machine, index) => (
        <MachineRow
          key={machine.name}
          machine={machine}
          trans={trans}
          now={() => model.now()}
          tabbable={machine.name === tabbable}
          onFocus={() => setCurrent(machine.name)}
          onRun={command => void commands.execute(command, { name: machine.name })}
          onMenu={(x, y) => menu.open(machine, x, y)}
          onKeyDown={onKeyDown(index)}
        />
      ))}
    </ul>
  );
}

/** What to do when this computer is all there is. */
function Invitation({ commands, trans }: IListProps): JSX.Element {
  return (
    <div className="jp-cloudml-empty">
      <p>{trans.__('Notebooks run on this machine. Add any computer that you reach over SSH.')}</p>
      <button
        type="button"
        className="jp-cloudml-button"
        onClick={() => void commands.execute(CommandIDs.addMachine)}
      >
        {trans.__('Add a machine over SSH…')}
      </button>
    </div>
  );
}

/** The section with every machine. */
export class MachinesSection extends ReactWidget {
  constructor(private readonly _props: IListProps) {
    super();
    this.addClass('jp-cloudml-section');
    this.title.label = _props.trans.__('Machines');
  }

  protected override render(): JSX.Element {
    const { model, trans } = this._props;
    return (
      <UseSignal signal={model.changed}>
        {() => (
          <>
            {model.error && <Trouble error={model.error} model={model} trans={trans} />}
            {model.machines ? (
              <MachineList {...this._props} />
            ) : (
              !model.error && (
                <p className="jp-cloudml-empty" role="status">
                  {trans.__('Asking the server for its machines…')}
                </p>
              )
            )}
            {model.machines?.length === 1 && <Invitation {...this._props} />}
          </>
        )}
      </UseSignal>
    );
  }
}
