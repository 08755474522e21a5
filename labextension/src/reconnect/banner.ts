import { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import { ServerState } from './watch';

/** How long it is said that the server is back, in ms. */
const GOOD_NEWS_MS = 2500;

/**
 * A line over the page that says how it stands with the server. Nothing has to be done about it.
 *
 * It is there from the start, empty: screen readers announce what comes into a live region, not the region itself.
 */
export class ServerBanner extends Widget {
  constructor(private readonly _trans: TranslationBundle) {
    super();
    this.id = 'jp-cloudml-server';
    this.addClass('jp-CloudML-server');
    this.node.setAttribute('role', 'status');
  }

  override dispose(): void {
    window.clearTimeout(this._timer);
    super.dispose();
  }

  /** Say how it stands. */
  tell(state: ServerState): void {
    const trans = this._trans;
    window.clearTimeout(this._timer);
    if (state === 'away') {
      this._say(trans.__('Server not reachable: reconnecting. Kernels go on.'), state);
    } else if (state === 'refused') {
      this._say(trans.__('The server asks you to log in again: reload this page.'), state);
    } else {
      this._say(trans.__('Connected again.'), state);
      this._timer = window.setTimeout(() => this._say('', state), GOOD_NEWS_MS);
    }
  }

  private _say(text: string, state: ServerState): void {
    this.node.textContent = text;
    this.node.dataset['state'] = state;
  }

  private _timer = 0;
}
