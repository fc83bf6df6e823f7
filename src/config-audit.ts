/** What of the audit trail an operator may set, besides where it is exported to: its checkpoints, and how long it is kept. */
import { z } from "zod";
import { deadline, duration } from "./config-duration.ts";
import { redisUrl } from "./config-redis.ts";

const headers = z
  .record(z.string(), z.string().regex(/^[\t\x20-\x7e\x80-\xff]*$/, "a header value on one line"))
  .default({});
const url = z.url({ protocol: /^https?$/ });

const sink = z.union([
  z.strictObject({ file: z.string().min(1).describe("A directory that is there, on another disk.") }),
  z.strictObject({
    redis: redisUrl.describe("Added to a stream; needs no right but XADD."),
  }),
  z.strictObject({ http: url.describe("Each is posted there as text."), headers }),
  z.strictObject({ otlp: url.describe("A collector that takes logs, as JSON."), headers }),
]);

export const checkpointsSchema = z
  .strictObject({
    every: z.int().min(1).max(1_000_000).default(1_000).describe("Records, after which the trail is signed."),
    interval: deadline
      .refine((ms) => ms >= 100, "at least 100ms")
      .default(10_000)
      .describe("What is not signed by then is."),
    to: z.array(sink).max(16).default([]).describe("Where they are kept besides, out of this host's reach."),
  })
  .default({ every: 1_000, interval: 10_000, to: [] });

export const keepSchema = z
  .strictObject({
    age: duration.refine((ms) => ms >= 60_000, "at least 1m").optional(),
    bytes: z
      .int()
      .min(1024 * 1024)
      .optional(),
  })
  .optional()
  .describe("Whole files of the trail that are older, or beyond so many bytes, are removed. Without it all is kept.");
