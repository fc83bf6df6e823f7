/** How is a length of time written in the file? `250ms`, `5s`, `2m`, `1h`, `30d`; below it is milliseconds. */
import { z } from "zod";

export const DAY_MS = 86_400_000;
const MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: DAY_MS } as const;

export const duration = z
  .string()
  .regex(/^\d+(ms|s|m|h|d)$/, "a duration such as 250ms, 5s, 2m, 1h or 30d")
  .transform((text) => Number.parseInt(text, 10) * MS[text.replace(/^\d+/, "") as keyof typeof MS]);
/** Node's longest timer: a longer one would fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;
export const deadline = duration.refine((ms) => ms <= TIMER_MS_MAX, "a duration of at most 24d");
/** Of a limit: nothing could ever be counted in no time. */
export const window = duration.refine((ms) => ms >= 1000 && ms <= 3650 * MS.d, "a window of 1s to 3650d");
