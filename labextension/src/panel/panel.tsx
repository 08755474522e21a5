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
import { AccordionPanel, Menu, SplitPanel, Widget } from '@lumino/widgets';
import * as React from 'react';

import { machinesIcon } from '../icons';
import { CommandIDs } from '../tokens';
import { newMenu, openAndReturn } from './menu';

/** An open section that is lower than so many pixels shows nothing. */
const LOW = 48;

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
    this._accordion?.expansionToggled.connect(this._onToggled, this);
  }

  /**
   * Add a section below the others; a folded one shows its title alone until somebody opens it.
   *
   * `share` is how much of the height it gets, beside the others, when a folded one is opened.
   */
  addSection(section: Widget, share: number, folded = false): void {
    this._shares.set(section, share);
    this.addWidget(section);
    if (folded) {
      this._folded.add(section);
      this._accordion?.collapse(this.widgets.indexOf(section));
    }
  }

  /** Open a section that is folded. */
  unfold(section: Widget): void {
    this._accordion?.expand(this.widgets.indexOf(section));
    this.balance();
  }

  /** Divide the height anew where an open section has next to none, as one that a workspace of before did not know. */
  balance(): void {
    window.requestAnimationFrame(() => {
      const isLow = (each: Widget) => !each.isHidden && each.node.offsetHeight < LOW;
      if (!this.isDisposed && this.isVisible && this.widgets.some(isLow)) {
        this._divide();
      }
    });
  }

  private get _accordion(): AccordionPanel | null {
    return this.content instanceof AccordionPanel ? this.content : null;
  }

  private _divide(): void {
    const share = (each: Widget) => (each.isHidden ? 0 : (this._shares.get(each) ?? 1));
    this._accordion?.setRelativeSizes(this.widgets.map(share));
  }

  /** Divide the height anew when a section is opened that has never had any. */
  private _onToggled(_: AccordionPanel, index: number): void {
    const section = this.widgets[index];
    if (section && !section.isHidden && this._folded.delete(section)) {
      this._divide();
    }
  }

  protected override onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this.balance();
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
  private readonly _shares = new Map<Widget, number>();
  private readonly _folded = new Set<Widget>();
  private _sized = false;
}
