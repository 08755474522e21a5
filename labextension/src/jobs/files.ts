import { MainAreaWidget } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';

import { jobIcon } from '../icons';

/** Have the browser keep a file. */
export function download(file: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(file);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  window.setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A page that nobody vouches for, in a frame in which no script runs and which belongs to no site. */
export function sandboxed(html: string, id: string, title: string): MainAreaWidget {
  const content = new Widget();
  content.addClass('jp-cloudml-frame');
  const frame = document.createElement('iframe');
  frame.setAttribute('sandbox', '');
  frame.setAttribute('referrerpolicy', 'no-referrer');
  frame.title = title;
  frame.srcdoc = html;
  content.node.append(frame);
  const widget = new MainAreaWidget({ content });
  widget.id = id;
  widget.title.label = title;
  widget.title.icon = jobIcon;
  widget.title.closable = true;
  widget.toolbar.hide();
  return widget;
}
