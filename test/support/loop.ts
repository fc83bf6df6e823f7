/** How long does this thread hold up the event loop? */
import { onTestFinished } from "vitest";

/** The most that this thread computed in one turn of the event loop: others may have the processor. */
export function turns(): { readonly end: () => Promise<number> } {
  let longestMs = 0;
  let isOver = false;
  let before = process.threadCpuUsage();
  const turn = (): void => {
    const { user, system } = process.threadCpuUsage(before);
    longestMs = Math.max(longestMs, (user + system) / 1000);
    before = process.threadCpuUsage();
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  onTestFinished(() => void (isOver = true));
  return {
    end: async () => {
      // what is being done now belongs to it
      await new Promise(setImmediate);
      await new Promise(setImmediate);
      return longestMs;
    },
  };
}
