import {
  ReactWidget,
  SidePanel,
  Toolbar,
  addIcon,
  caretDownIcon,
  refreshIcon
} from '@jupyterlab/ui-components';
import { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { Message } from '@lumino/messaging';
import { Menu, SplitPanel, Widget } from '@lumino/widgets';
import * as React from 'react';

import { machinesIcon } from '../icons';
import { CommandIDs } from '../tokens';
import { newMenu, openAndReturn } from './menu';

/** The panel's title and its two buttons. */
class PanelHeader extends ReactWidget {
  constructor(
    private readonly _commands: CommandRegistry,
    private readonly _menu: Menu,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-cloudml-header');
  }

  protected override render(): JSX.Element {
    const trans = this._trans;
    return (
      <>
        <h2 className="jp-cloudml-title">{trans.__('CloudML')}</h2>
        <button
          type="button"
          className="jp-cloudml-button jp-cloudml-new"
          aria-haspopup="menu"
          aria-label={trans.__('New: add a machine')}
          onClick={event => {
            const rect = event.currentTarget.getBoundingClientRect();
            openAndReturn(this._menu, rect.left, rect.bottom);
          }}
        >
          <addIcon.react tag={null} />
          {trans.__('New')}
          <caretDownIcon.react tag={null} />
        </button>
        <button
          type="button"
          className="jp-cloudml-icon-button"
          aria-label={trans.__('Refresh machines')}
          title={trans.__('Refresh machines')}
          onClick={() => void this._commands.execute(CommandIDs.refresh)}
        >
          <refreshIcon.react tag={null} />
        </button>
      </>
    );
  }
}

/** The side panel: one section below the other, the first with what is in front. */
export class CloudMLPanel extends SidePanel {
  constructor(commands: CommandRegistry, translator: ITranslator, trans: TranslationBundle) {
    super({ translator, toolbar: new Toolbar() });
    this.id = 'jp-cloudml-panel';
    this.addClass('jp-cloudml-panel');
    this.title.icon = machinesIcon;
    this.title.caption = trans.__('CloudML');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', trans.__('CloudML'));
    this._menu = newMenu(commands, trans);
    const header = new PanelHeader(commands, this._menu, trans);
    this.header.addWidget(header);
  }

  /** Add a section below the others. */
  addSection(section: Widget): void {
    this.addWidget(section);
  }

  /** Give the first section less room than the lists below it, until the user drags the border. */
  protected override onBeforeShow(msg: Message): void {
    super.onBeforeShow(msg);
    if (!this._sized && this.content instanceof SplitPanel && this.widgets.length > 1) {
      this._sized = true;
      this.content.setRelativeSizes(this.widgets.map((_, i) => (i === 0 ? 2 : 3)));
    }
  }

  override dispose(): void {
    this._menu.dispose();
    super.dispose();
  }

  private readonly _menu: Menu;
  private _sized = false;
}
