import { ICloudML } from './tokens';

/**
 * Connect a machine that is not connected; resolves at once for every other.
 *
 * `onBegun` gets what gives it up. Rejects with the cause, or with the code `cancelled`.
 */
export async function connectMachine(
  name: string,
  model: ICloudML,
  onBegun: (cancel: () => void) => void = () => undefined
): Promise<void> {
  if (model.machine(name)?.state !== 'stopped') {
    return;
  }
  const { id } = await model.client.act(name, 'start');
  const operation = model.watch(id);
  onBegun(() => void operation.cancel().catch(() => undefined));
  try {
    await operation.ended;
  } finally {
    operation.dispose();
  }
}
