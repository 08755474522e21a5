import { TranslationBundle } from '@jupyterlab/translation';
import { MenuSvg } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import { IDisposable } from '@lumino/disposable';
import { Menu } from '@lumino/widgets';

import { ROW_MENU } from '../actions';
import { CommandIDs } from '../tokens';
import { IMachine } from '../types';

/** The menu of a machine's row: from its button, the context menu, or Shift+F10. */
export class RowMenu implements IDisposable {
  constructor(commands: CommandRegistry) {
    this._menu = new MenuSvg({ commands });
  }

  get isDisposed(): boolean {
    return this._menu.isDisposed;
  }

  open(machine: IMachine, x: number, y: number): void {
    const args = { name: machine.name };
    this._menu.clearItems();
    for (const command of ROW_MENU) {
      this._menu.addItem(command ? { command, args } : { type: 'separator' });
    }
    openAndReturn(this._menu, x, y);
  }

  dispose(): void {
    this._menu.dispose();
  }

  private readonly _menu: Menu;
}

/** The menu of the `+ New` button. */
export function newMenu(commands: CommandRegistry, trans: TranslationBundle): Menu {
  const menu = new MenuSvg({ commands });
  menu.title.label = trans.__('New');
  menu.addItem({ command: CommandIDs.addMachine, args: { isNew: true } });
  menu.addItem({ command: CommandIDs.newJob });
  menu.addItem({ command: CommandIDs.cloneCode });
  return menu;
}

/** Open a menu, and give the focus back to where it was when the menu closes. */
export function openAndReturn(menu: Menu, x: number, y: number): void {
  const before = document.activeElement;
  const giveBack = () => {
    menu.aboutToClose.disconnect(giveBack);
    if (before instanceof HTMLElement && before.isConnected) {
      before.focus();
    }
  };
  menu.aboutToClose.connect(giveBack);
  menu.open(x, y);
}
