import { MenuSvg } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import { IDisposable } from '@lumino/disposable';
import { Menu } from '@lumino/widgets';

import { openAndReturn } from '../panel/menu';
import { CommandIDs } from '../tokens';
import { addressOf, isSyncable } from './address';
import { IPlaceRow } from './rows';

/** The menu of a name in a bucket. */
export class EntryMenu implements IDisposable {
  constructor(commands: CommandRegistry) {
    this._menu = new MenuSvg({ commands });
  }

  get isDisposed(): boolean {
    return this._menu.isDisposed;
  }

  open(row: IPlaceRow, x: number, y: number): void {
    if (row.entry && !isSyncable(row.entry)) {
      return;
    }
    const args = { source: addressOf(row.place) };
    this._menu.clearItems();
    for (const command of [
      CommandIDs.syncDataset,
      CommandIDs.insertDataset,
      CommandIDs.copyDataAddress,
      CommandIDs.copyDataPath
    ]) {
      this._menu.addItem({ command, args });
    }
    if (row.kind !== 'object') {
      this._menu.addItem({ type: 'separator' });
      this._menu.addItem({ command: CommandIDs.showBuckets, args });
    }
    openAndReturn(this._menu, x, y);
  }

  dispose(): void {
    this._menu.dispose();
  }

  private readonly _menu: Menu;
}
