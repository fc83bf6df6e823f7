/**
 * A map of what is over some day. What surprises: nothing sweeps it from time to time; whoever puts something in looks at two
 * others, one after the other, and drops those that are over: it never holds much more than what still counts.
 */
export type Expiring<Value> = {
  readonly get: (key: string) => Value | undefined;
  readonly set: (key: string, value: Value) => void;
  readonly delete: (key: string) => void;
  readonly size: () => number;
};

/** `endsMs` as the value says it at the time. */
export function expiring<Value extends { readonly endsMs: number }>(nowMs: () => number): Expiring<Value> {
  const held = new Map<string, Value>();
  let round = held.entries();
  const sweep = (): void => {
    const next = round.next();
    if (next.done === true) round = held.entries();
    else if (next.value[1].endsMs <= nowMs()) held.delete(next.value[0]);
  };
  return {
    get: (key) => held.get(key),
    set: (key, value) => {
      sweep();
      sweep();
      held.set(key, value);
    },
    delete: (key) => void held.delete(key),
    size: () => held.size,
  };
}
