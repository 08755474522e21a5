/** Make work of which one goes on at a time: asked for while it does, it is done once more after that, however often it was asked for. */
export function singly(work: () => Promise<void>): () => Promise<void> {
  let goes: Promise<void> | null = null;
  let waits: Promise<void> | null = null;
  const begin = (): Promise<void> => {
    goes = work().finally(() => {
      goes = null;
    });
    return goes;
  };
  return () => {
    if (!goes && !waits) {
      return begin();
    }
    waits ??= (goes ?? Promise.resolve())
      .catch(() => undefined)
      .then(() => {
        waits = null;
        return begin();
      });
    return waits;
  };
}
