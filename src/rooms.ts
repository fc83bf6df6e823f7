/** Opens the rooms that a call passes through, and closes them in the order that loses nothing. */
import { join, resolve } from "node:path";
import { createAudit } from "./audit/audit.ts";
import type { Drain } from "./audit/drain.ts";
import { startExports } from "./audit/export.ts";
import type { Exports, Ship } from "./audit/export.ts";
import type { Audit } from "./audit/record.ts";
import { parseSegment } from "./audit/segments.ts";
import type { Keep } from "./audit/retention.ts";
import { openSinks } from "./audit/sinks.ts";
import type { Post, Sinks } from "./audit/sinks.ts";
import type { Stream } from "./audit/stream.ts";
import { sharedRedis } from "./config.ts";
import type { Config } from "./config.ts";
import type { Gateway } from "./gateway.ts";
import { createIdentity } from "./identity/authenticate.ts";
import { createLimits } from "./limits/limit.ts";
import { createLoad } from "./limits/load.ts";
import type { Ports } from "./ports.ts";
import { createRedactor } from "./policy/redactor.ts";
import { createValidators } from "./registry/validate.ts";
import type { Keyring } from "./snapshot/keyring.ts";
import { dial } from "./snapshot/reach.ts";
import { fetchDocument } from "./upstream/document.ts";
import { createUpstreams } from "./upstream/upstreams.ts";

export type Rooms = Pick<
  Gateway,
  "identity" | "validators" | "limits" | "load" | "upstreams" | "redactor" | "audit"
> & {
  readonly exports: Exports;
  /** Where a record must be before anyone is answered, besides the file; null where that is enough. */
  readonly stream: Stream | null;
  /** Null where this gateway gathers nothing from Redis. */
  readonly drain: Drain | null;
  readonly close: () => Promise<void>;
};
type Given = {
  readonly config: Config;
  /** Of the configuration file. */
  readonly folder: string;
  /** Absolute path of the data folder. */
  readonly data: string;
  readonly keyring: Keyring;
  /** To whom the records go as they are; null where this is no sidecar. */
  readonly ship: Ship | null;
  /** Under which name records are gathered that Redis must have. */
  readonly writer: string;
  /** Whether this gateway may gather what others wrote there. */
  readonly gathers: boolean;
  /** PATH of stdio servers. */
  readonly searchPath: string;
  readonly version: string;
};

export async function openRooms(given: Given, ports: Ports): Promise<Rooms> {
  const { config, data, keyring, ship, searchPath, version } = given;
  const directory = join(data, "audit");
  const { failures, window } = config.auth.addressLimit;
  const stream = await streamOf(given, ports);
  const sinks = await sinksOf(given, ports);
  const { every, interval: intervalMs } = config.audit.checkpoints;
  const checkpoints = { keys: keyring.checkpoint, every, intervalMs, sinks };
  const audit = createAudit(
    {
      ...{ directory, flush: config.audit.flush, stream, checkpoints, keep: keepOf(given) },
      ...{ keyedDigestKey: keyring.digest.key, version },
    },
    ports,
  );
  const drain = await drainOf(given, audit, ports);
  const exports = await startExports({ directory, targets: config.audit.export, ship, version }, ports);
  const upstreams = createUpstreams({ resultBytesMax: config.maxResult, searchPath }, ports);
  const validators = createValidators({}, ports);
  const redactor = createRedactor();
  const load = createLoad({ inFlightMax: config.overload.inFlight, delayMsMax: config.overload.delay }, ports.clock);
  const limits = await createLimits({ redisUrl: sharedRedis(config) }, ports);
  return {
    audit,
    exports,
    stream,
    drain,
    upstreams,
    validators,
    redactor,
    limits,
    load,
    identity: createIdentity({ failures, windowMs: window }, { ...ports, fetchDocument }),
    close: async () => {
      // the audit last: whatever still ends writes its record
      await upstreams.close();
      limits.close();
      load.close();
      validators.close();
      await redactor.close();
      await drain?.close();
      await audit.close();
      stream?.close();
      await exports.close();
    },
  };
}

/** What somebody is still to be sent is kept. */
function keepOf({ config, ship }: Given): Keep | undefined {
  const { keep, export: targets } = config.audit;
  if (keep === undefined) return undefined;
  const names = [...targets.map(({ otlp }) => otlp), ...(ship === null ? [] : [ship.target])];
  return { ageMs: keep.age, bytes: keep.bytes, targets: names };
}

const SINK_MS = 10_000;

function sinksOf({ config, folder }: Given, ports: Ports): Promise<Sinks> {
  const targets = config.audit.checkpoints.to.map((one) => ("file" in one ? { file: resolve(folder, one.file) } : one));
  const post: Post = async (url, headers, body) => {
    const answer = await dial({ url }, SINK_MS)(url, { method: "POST", headers, body });
    return { status: answer.status, text: () => answer.text() };
  };
  return openSinks({ targets, post }, ports);
}

/** The client is loaded only where it is used: it costs start-up time and memory. */
async function streamOf({ config, writer }: Given, ports: Ports): Promise<Stream | null> {
  const url = sharedRedis(config);
  if (config.audit.ack === "file" || url === undefined) return null;
  const { openStream } = await import("./audit/stream.ts");
  return await openStream({ url, writer }, ports);
}

async function drainOf({ config, gathers }: Given, audit: Audit, ports: Ports): Promise<Drain | null> {
  const url = sharedRedis(config);
  if (!gathers || config.audit.ack === "redis" || url === undefined) return null;
  const { startDrain } = await import("./audit/drain.ts");
  const keeper = parseSegment(audit.stats().segment)?.chain ?? "";
  return startDrain({ url, keeper, keep: audit.keep }, ports);
}
