import { Dialog } from '@jupyterlab/apputils';
import { KernelSpec } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import * as React from 'react';

import { StateIcon, stateWord } from '../presentation';
import { hardware } from '../text';
import { IMachine } from '../types';
import { GroupName, IGroup, IOption, groupOptions } from './options';

const LIST = 'jp-cloudml-picker-list';

interface IPickerProps {
  readonly machines: ReadonlyArray<IMachine>;
  readonly specs: KernelSpec.ISpecModels | null;
  /** The kernelspec that the notebook has now. */
  readonly current: string | null;
  readonly trans: TranslationBundle;
}

/** The list to choose a machine from; the body of a dialog. */
export class Picker extends ReactWidget implements Dialog.IBodyWidget<IOption | null> {
  constructor(private readonly _props: IPickerProps) {
    super();
    this.addClass('jp-cloudml-picker');
  }

  /** Called when an option is clicked. */
  onChosen: () => void = () => undefined;

  getValue(): IOption | null {
    return this._active;
  }

  protected override render(): JSX.Element {
    return (
      <PickerList
        {...this._props}
        onActive={option => {
          this._active = option;
        }}
        onChosen={() => this.onChosen()}
      />
    );
  }

  private _active: IOption | null = null;
}

interface IListProps extends IPickerProps {
  readonly onActive: (option: IOption | null) => void;
  readonly onChosen: () => void;
}

function PickerList(props: IListProps): JSX.Element {
  const { machines, specs, current, trans, onActive, onChosen } = props;
  const [filter, setFilter] = React.useState('');
  const [key, setKey] = React.useState<string | null>(null);
  const groups = groupOptions(machines, specs, filter);
  const options = groups.flatMap(group => group.options);
  const first = options.find(option => option.spec !== current) ?? options[0];
  const active = options.find(option => option.key === key) ?? first ?? null;
  React.useEffect(() => {
    onActive(active);
  });
  const activeNode = React.useRef<HTMLLIElement>(null);
  React.useEffect(() => {
    activeNode.current?.scrollIntoView({ block: 'nearest' });
  }, [active?.key]);

  const onKeyDown = (event: React.KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && active) {
      const index = options.indexOf(active) + step;
      setKey(options[(index + options.length) % options.length]?.key ?? null);
      event.preventDefault();
    }
  };

  return (
    <>
      <input
        className="jp-mod-styled"
        role="combobox"
        aria-expanded="true"
        aria-controls={LIST}
        aria-activedescendant={active ? optionId(active) : undefined}
        aria-label={trans.__('Filter machines')}
        placeholder={trans.__('Filter by name, address or kernel')}
        value={filter}
        onChange={event => setFilter(event.target.value)}
        onKeyDown={onKeyDown}
      />
      <div id={LIST} role="listbox" aria-label={trans.__('Machines')}>
        {groups.map(group => (
          <Group key={group.name} group={group} trans={trans}>
            {group.options.map(option => (
              <li
                key={option.key}
                id={optionId(option)}
                ref={option === active ? activeNode : undefined}
                role="option"
                aria-selected={option === active}
                className="jp-cloudml-option"
                onClick={() => {
                  onActive(option);
                  onChosen();
                }}
              >
                <OptionText option={option} current={option.spec === current} trans={trans} />
              </li>
            ))}
          </Group>
        ))}
      </div>
      {options.length === 1 && filter && (
        <p role="status" className="jp-cloudml-hint">
          {trans.__('No machine matches “%1”.', filter)}
        </p>
      )}
    </>
  );
}

function Group(props: {
  readonly group: IGroup;
  readonly trans: TranslationBundle;
  readonly children: React.ReactNode;
}): JSX.Element {
  const { group, trans, children } = props;
  const titles: Record<GroupName, string> = {
    running: trans.__('Running'),
    other: trans.__('Other machines'),
    add: trans.__('Add')
  };
  const id = `jp-cloudml-group-${group.name}`;
  return (
    <ul role="group" aria-labelledby={id}>
      <li role="presentation" id={id} className="jp-cloudml-group">
        {titles[group.name]}
      </li>
      {children}
    </ul>
  );
}

function OptionText(props: {
  readonly option: IOption;
  readonly current: boolean;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { option, current, trans } = props;
  const { machine } = option;
  if (!machine) {
    return <span className="jp-cloudml-name">{trans.__('Machine over SSH…')}</span>;
  }
  const detail = [option.title, hardware(trans, machine.info)].filter(Boolean).join(' · ');
  return (
    <>
      <span className="jp-cloudml-row-line">
        <StateIcon state={machine.state} />
        <span className="jp-cloudml-name">{machine.label}</span>
        {current && <span className="jp-cloudml-tag">{trans.__('this notebook')}</span>}{' '}
        <span className="jp-cloudml-word">{stateWord(trans, machine.state)}</span>
      </span>
      <span className="jp-cloudml-detail">{detail}</span>
    </>
  );
}

function optionId(option: IOption): string {
  return `jp-cloudml-option-${option.key.replace(/[^A-Za-z0-9_-]/g, '_')}`;
}
