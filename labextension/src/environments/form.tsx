import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import { titledDialog } from '../dialogs';
import { ICloudML } from '../tokens';
import { IBuild, IDrift, IImage, IMachine } from '../types';

const SAME = 'same';
const FILE = 'file';
const CONTAINER = 'container';

/** Ask what an environment is to be built from; null when nothing is to be built. */
export async function askBuild(
  machine: IMachine,
  model: ICloudML,
  trans: TranslationBundle
): Promise<IBuild | null> {
  const images = await model.client.images();
  const dialog = titledDialog<IBuild>({
    title: trans.__('Build an environment on %1', machine.label),
    body: new BuildForm(images, model.client.drift(machine.name), trans),
    buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Build') })],
    focusNodeSelector: 'select'
  });
  dialog.addClass('jp-cloudml-dialog');
  const result = await dialog.launch();
  return result.button.accept ? result.value : null;
}

/** The form; its value is the body of the request. */
class BuildForm extends ReactWidget implements Dialog.IBodyWidget<IBuild> {
  constructor(
    private readonly images: ReadonlyArray<IImage>,
    private readonly drift: Promise<IDrift>,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-cloudml-policies');
  }

  getValue(): IBuild {
    const name = this._name ? { name: this._name } : {};
    if (this._from === SAME) {
      return { same: true, ...name };
    }
    if (this._from === CONTAINER) {
      return { image: this._image, ...name };
    }
    return { source: this._from === FILE ? this._file : this._from, ...name };
  }

  protected override render(): JSX.Element {
    const { trans } = this;
    return (
      <>
        <label htmlFor="jp-cloudml-from">{trans.__('From')}</label>
        <HTMLSelect
          id="jp-cloudml-from"
          defaultValue={this._from}
          aria-describedby="jp-cloudml-drift"
          onChange={event => {
            this._from = event.target.value;
            this.update();
          }}
        >
          <option value={SAME}>{trans.__('the packages of this server')}</option>
          {this.images.map(image => (
            <option key={image.name} value={`image:${image.name}`}>
              {`${image.name}: ${image.title}`}
            </option>
          ))}
          <option value={FILE}>{trans.__('a file or folder…')}</option>
          <option value={CONTAINER}>{trans.__('a container image…')}</option>
        </HTMLSelect>
        <DriftNote drift={this.drift} trans={trans} />
        {this._from === FILE && (
          <>
            <label htmlFor="jp-cloudml-file">{trans.__('Path on the server')}</label>
            <input
              id="jp-cloudml-file"
              className="jp-mod-styled"
              type="text"
              placeholder="~/project/requirements.txt"
              onChange={event => {
                this._file = event.target.value.trim();
              }}
            />
          </>
        )}
        {this._from === CONTAINER && (
          <>
            <label htmlFor="jp-cloudml-image">{trans.__('Image')}</label>
            <input
              id="jp-cloudml-image"
              className="jp-mod-styled"
              type="text"
              placeholder="quay.io/jupyter/scipy-notebook"
              aria-describedby="jp-cloudml-image-hint"
              onChange={event => {
                this._image = event.target.value.trim();
              }}
            />
            <p id="jp-cloudml-image-hint" className="jp-cloudml-hint">
              {trans.__('The podman or docker of the machine runs it; ipykernel has to be in it.')}
            </p>
          </>
        )}
        <label htmlFor="jp-cloudml-env-name">{trans.__('Name')}</label>
        <input
          id="jp-cloudml-env-name"
          className="jp-mod-styled"
          type="text"
          maxLength={63}
          placeholder={trans.__('after its source')}
          onChange={event => {
            this._name = event.target.value.trim();
          }}
        />
      </>
    );
  }

  private _from = SAME;
  private _file = '';
  private _image = '';
  private _name = '';
}

/** How what kernels there run on compares with the server's Python. */
function DriftNote(props: {
  readonly drift: Promise<IDrift>;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { drift, trans } = props;
  const [found, setFound] = React.useState<IDrift | null>(null);
  const [failed, setFailed] = React.useState(false);
  React.useEffect(() => {
    drift.then(setFound, () => setFailed(true));
  }, [drift]);
  return (
    <p id="jp-cloudml-drift" role="status" className="jp-cloudml-hint">
      {failed ? trans.__('The packages there cannot be compared now.') : driftText(found, trans)}
    </p>
  );
}

/** One line: what must agree and does not, else how much differs. */
export function driftText(drift: IDrift | null, trans: TranslationBundle): string {
  if (!drift) {
    return trans.__('Comparing the packages…');
  }
  if (drift.differences.length === 0) {
    return trans.__('Kernels there have the packages of this server now.');
  }
  const errors = drift.differences.filter(each => each.level === 'error');
  if (errors.length === 0) {
    return trans._n(
      'Kernels there differ in one package from this server now.',
      'Kernels there differ in %1 packages from this server now.',
      drift.differences.length
    );
  }
  const named = errors.map(each => `${each.name} ${each.there ?? '–'} (${each.here ?? '–'})`);
  return trans.__('Kernels there do not fit this server: %1', named.join(', '));
}
