/**
 * How may calls be spread over the instances of a server, and when is one set aside? What surprises: the names and
 * defaults of `outlierDetection` are Envoy's; what they bound here is how long an instance stays away, never whether
 * one that fails is left alone.
 */
import { z } from "zod";
import { deadline } from "./config-duration.ts";

const percent = z.int().min(0).max(100);

const outlierDetection = z.strictObject({
  consecutiveErrors: z
    .int()
    .min(1)
    .max(1000)
    .default(5)
    .describe("Transport faults, broken answers, 429 and 5xx in a row, after which an instance is set aside."),
  baseEjectionTime: deadline
    .refine((ms) => ms >= 1000, "at least 1s")
    .default(30_000)
    .describe("How long it stays away, times the number of its latest ejections."),
  maxEjectionTime: deadline.refine((ms) => ms >= 1000, "at least 1s").default(300_000),
  maxEjectionPercent: percent
    .default(10)
    .describe("Of the instances: no more, but always one, stay away so long. Others come back once a probe answers."),
  panicThreshold: percent
    .default(50)
    .describe("With less than this percentage fit, every instance comes back as soon as a probe answers."),
});

/** Of each server version. */
export const traffic = {
  balance: z
    .enum(["ewma", "least", "round-robin"])
    .default("ewma")
    .describe("Two by chance, and of them the one that is faster and less busy; the least busy; each in turn."),
  concurrency: z
    .int()
    .min(1)
    .max(1024)
    .default(256)
    .describe("Calls that run at one moment, on all instances together."),
  queue: z.int().min(0).max(16_384).default(1024).describe("Calls that may wait for their turn; more are refused."),
  probe: deadline
    .refine((ms) => ms >= 1000, "at least 1s")
    .optional()
    .describe("An instance that had no call for so long is asked whether it answers; without it only one that failed."),
  outlierDetection: outlierDetection.default(outlierDetection.parse({})),
};
const trafficSchema = z.strictObject(traffic);

export const weight = z
  .int()
  .min(0)
  .max(100)
  .default(1)
  .describe("What it can take, against the others; 0 takes no new call: those under way finish.");

export type Traffic = z.output<typeof trafficSchema>;
/** Also for what was stored, or is sent, by a gateway that knew no such settings. */
export const TRAFFIC: Traffic = trafficSchema.parse({});
