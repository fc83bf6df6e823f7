/**
 * Is what is in force on disk? What could not be written is written again until it is: a restart would forget it, and with
 * it what was revoked.
 */
import type { Ports } from "../ports.ts";
import type { LastGood } from "./last-good.ts";

export type Keeping = {
  readonly newest: LastGood["saveNewest"];
  readonly good: LastGood["saveGood"];
  /** What could not be written, once more. */
  readonly again: () => void;
  /** The last that was to be written is. */
  readonly done: () => boolean;
};

export function createKeeping(lastGood: LastGood, { log }: Pick<Ports, "log">): Keeping {
  let due: (() => Promise<void>) | null = null;
  let writing = false;
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
    newest: (newest, good) => write(() => lastGood.saveNewest(newest, good)),
    good: (good) => write(() => lastGood.saveGood(good)),
    again: () => {
      if (due === null || writing) return;
      write(due).then(
        () => log.info({}, "what is in force is on disk again"),
        () => undefined,
      );
    },
    done: () => due === null,
  };
}
