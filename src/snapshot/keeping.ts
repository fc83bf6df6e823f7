/**
 * Is what is in force on disk? What could not be written is written again until it is: a restart would forget it, and with
 * it what was revoked.
 */
import type { Ports } from "../ports.ts";
import type { LastGood } from "./last-good.ts";

export type Keeping = {
  /** While a snapshot is put in force, what is on disk may be another. */
  readonly during: <Value>(work: () => Promise<Value>) => Promise<Value>;
  readonly newest: LastGood["saveNewest"];
  readonly good: LastGood["saveGood"];
  /** What could not be written, once more. */
  readonly again: () => void;
  /** What is in force is on disk. */
  readonly done: () => boolean;
};

/** `settled`: it is on disk now. */
export function createKeeping(lastGood: LastGood, settled: () => void, { log }: Pick<Ports, "log">): Keeping {
  let due: (() => Promise<void>) | null = null;
  let [putting, writing] = [false, false];
  const done = (): boolean => due === null && !putting;
  const write = async (work: () => Promise<void>): Promise<void> => {
    due = work;
    writing = true;
    try {
      await work();
      if (due === work) due = null;
    } finally {
      writing = false;
    }
  };
  return {
    during: async (work) => {
      putting = true;
      try {
        return await work();
      } finally {
        putting = false;
        if (done()) settled();
      }
    },
    newest: (newest, good) => write(() => lastGood.saveNewest(newest, good)),
    good: (good) => write(() => lastGood.saveGood(good)),
    again: () => {
      if (due === null || writing || putting) return;
      write(due).then(
        () => {
          log.info({}, "what is in force is on disk again");
          settled();
        },
        () => undefined,
      );
    },
    done,
  };
}
