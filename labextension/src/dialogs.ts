import { Dialog } from '@jupyterlab/apputils';

/** Make a dialog that assistive technology calls by its title, also where its body is more than text. */
export function titledDialog<T>(
  options: Partial<Dialog.IOptions<T>> & { title: string }
): Dialog<T> {
  const dialog = new Dialog<T>(options);
  if (!dialog.node.hasAttribute('aria-label')) {
    dialog.node.setAttribute('aria-label', options.title);
  }
  return dialog;
}
