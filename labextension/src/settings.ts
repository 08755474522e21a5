import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { Token } from '@lumino/coreutils';
import { ISignal, Signal } from '@lumino/signaling';

/** What the user chose in the settings editor; the defaults without one. */
export class CloudMLSettings {
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get showGauges(): boolean {
    return this._read('showGauges', true);
  }

  /** Seconds between two readings of the gauges. */
  get gaugeInterval(): number {
    return this._read('gaugeInterval', 3);
  }

  get confirmMove(): boolean {
    return this._read('confirmMove', true);
  }

  get stopOldKernel(): boolean {
    return this._read('stopOldKernel', true);
  }

  /** Whether the code goes along when a notebook moves to a machine. */
  get syncCode(): boolean {
    return this._read('syncCode', true);
  }

  /** Whether files that a run has made on a machine come back by themselves. */
  get pullAfterRuns(): boolean {
    return this._read('pullAfterRuns', false);
  }

  /** Follow the registry's settings from now on. */
  follow(settings: ISettingRegistry.ISettings): void {
    this._settings = settings;
    settings.changed.connect(() => this._changed.emit());
    this._changed.emit();
  }

  private _read<T extends boolean | number>(key: string, otherwise: T): T {
    const value = this._settings?.get(key).composite;
    return typeof value === typeof otherwise ? (value as T) : otherwise;
  }

  private readonly _changed = new Signal<this, void>(this);
  private _settings: ISettingRegistry.ISettings | null = null;
}

export type ICloudMLSettings = CloudMLSettings;
export const ICloudMLSettings = new Token<ICloudMLSettings>(
  'jupyter-cloudml:ICloudMLSettings',
  'The settings of CloudML.'
);
