/**
 * Nothing is answered before it is written down. `audited` runs an operation, turns whatever it throws into a
 * Refusal and writes the record; `record` writes the intent before an upstream hears of the call. What surprises:
 * the caller's trace is continued but its sampled flag is ignored: nobody switches the audit off from outside.
 */
import type { Histogram } from "../histogram.ts";
import { STAGES } from "../model.ts";
import type { Answer, Asked, Call, Outcome, Snapshot } from "../model.ts";
import { OPERATIONS } from "../operations.ts";
import type { OperationName } from "../operations.ts";
import type { Ports } from "../ports.ts";
import { Refusal } from "../refusal.ts";
import { readTraceparent } from "../trace.ts";
import type { CheckpointStatus } from "./checkpoints.ts";
import type { Decided, DecidedQuery } from "./decided.ts";
import type { Gather } from "./gather.ts";
import type { Ending } from "./line.ts";
import type { SinkStatus } from "./sinks.ts";
import type { SpoolStats } from "./spool.ts";
import type { Projection } from "./projection.ts";

/** What `createAudit` returns. Every writing function resolves once the record is durable, and rejects if it is not. */
export type Audit = {
  readonly intent: (call: Call) => Promise<void>;
  readonly ending: (kind: "outcome" | "refusal", call: Call, ending: Ending) => Promise<void>;
  /** Of a view that leaves no record only how long it took is kept. */
  readonly viewed: (call: Call) => void;
  readonly durations: () => readonly Histogram[];
  /** A refusal of somebody unknown: written or counted. Resolves to true if it was written. */
  readonly unauthenticated: (call: Call, refusal: Refusal) => Promise<boolean>;
  /** What is asked of the trail. */
  readonly projection: Projection;
  /** Keeps records that another gateway wrote. @see Gather */
  readonly gather: Gather["take"];
  readonly keep: Gather["keep"];
  /** Recorded decisions, newest first, of all trails; returns false where it read no further. */
  readonly decided: (query: DecidedQuery) => AsyncGenerator<Decided, boolean>;
  /** Whether the text has this keyed digest. */
  readonly confirms: (text: string, digest: string) => boolean;
  /** `writable` tries to become so again: a gateway that is not ready for want of a disk is not asked to write. */
  readonly stats: () => SpoolStats;
  /** What is signed of the trail, and where that is kept besides this disk. */
  readonly checkpoints: () => CheckpointStatus & { readonly anchors: readonly SinkStatus[] };
  /** Removes what is kept no longer, as is done now and then; resolves to the files. */
  readonly prune: () => Promise<readonly string[]>;
  readonly close: () => Promise<void>;
};

type Auditing = { readonly ports: Ports; readonly snapshot: () => Snapshot; readonly audit: Audit };

/** Runs the work and writes down what came of it before anyone hears; never rejects. */
export async function audited<Value>(
  auditing: Auditing,
  asked: Asked,
  operation: string,
  work: (call: Call) => Promise<Value>,
): Promise<Outcome<Value>> {
  const call = begin(auditing, asked, operation);
  let value: Value;
  try {
    value = await work(call);
  } catch (thrown) {
    return refused(auditing, call, refusalOf(auditing, call, thrown));
  }
  if (!call.recorded && isQuiet(operation)) {
    auditing.audit.viewed(call);
    return { ok: true, call, value };
  }
  try {
    await auditing.audit.ending("outcome", call, endingOf(value));
  } catch (cause) {
    return { ok: false, call, refusal: unwritten(auditing.ports, call, cause) };
  }
  return { ok: true, call, value };
}

/** The intent is durable before the upstream hears. @throws Refusal `audit_unavailable` */
export async function record(audit: Audit, call: Call): Promise<void> {
  try {
    await audit.intent(call);
  } catch (cause) {
    throw new Refusal("audit_unavailable", UNWRITTEN, { cause });
  }
  call.recorded = true;
}

const UNWRITTEN = "The record of this call could not be written.";

function begin({ ports, snapshot }: Auditing, asked: Asked, operation: string): Call {
  const startedMs = ports.clock.nowMs();
  const parent = readTraceparent(asked.traceparent);
  return {
    id: ports.random.uuid(startedMs),
    traceId: parent?.traceId ?? ports.random.hex(16),
    spanId: ports.random.hex(8),
    parentSpanId: parent?.spanId ?? null,
    startedMs,
    beganMs: ports.clock.monotonicMs(),
    asked,
    operation,
    snapshot: snapshot(),
    stage: "authenticate",
    ends: STAGES.map(() => 0),
    principal: null,
    target: null,
    tool: null,
    choice: null,
    arguments: null,
    decision: null,
    shadows: [],
    limit: null,
    executed: "no",
    leave: null,
    attempts: 0,
    instance: null,
    tries: [],
    recorded: false,
    facts: null,
    change: null,
  };
}

/** A view is recorded where it is refused, and else only where the table says so. */
function isQuiet(operation: string): boolean {
  if (!Object.hasOwn(OPERATIONS, operation)) return false;
  const known = OPERATIONS[operation as OperationName];
  return known.verb === "view" && !("recorded" in known);
}

function refusalOf({ ports }: Auditing, call: Call, thrown: unknown): Refusal {
  if (!(thrown instanceof Refusal) && call.asked.signal.aborted)
    return new Refusal("cancelled", "The caller went away.");
  const refusal = Refusal.from(thrown);
  if (refusal.code === "internal") {
    ports.log.error({ callId: call.id, stage: call.stage, err: refusal.cause }, "The gateway failed.");
  }
  return refusal;
}

async function refused({ ports, audit }: Auditing, call: Call, refusal: Refusal): Promise<Outcome<never>> {
  try {
    // whoever cannot fill the disk with records must not fill it with log lines
    if (await writeRefusal(audit, call, refusal)) logRefusal(ports, call, refusal);
    return { ok: false, call, refusal };
  } catch (cause) {
    return { ok: false, call, refusal: unwritten(ports, call, cause) };
  }
}

/** False if it was only counted. */
async function writeRefusal(audit: Audit, call: Call, refusal: Refusal): Promise<boolean> {
  if (call.principal === null && !call.recorded) return audit.unauthenticated(call, refusal);
  await audit.ending(call.recorded ? "outcome" : "refusal", call, refusedEnding(call, refusal));
  return true;
}

function logRefusal(ports: Ports, call: Call, { code }: Refusal): void {
  const { id, operation, principal } = call;
  ports.log.info({ callId: id, code, operation, principal: principal?.id ?? null }, "A request was refused.");
}

function unwritten(ports: Ports, call: Call, cause: unknown): Refusal {
  ports.log.error({ callId: call.id, executed: call.executed, err: cause }, UNWRITTEN);
  return new Refusal("audit_unavailable", UNWRITTEN, { cause });
}

function endingOf(value: unknown): Ending {
  const answer = isAnswer(value) ? value : null;
  if (answer?.kind === "error") return { ...SUCCESS, ...failed(String(answer.error.code), answer.error.message) };
  if (answer === null) return SUCCESS;
  const { result } = answer;
  return { ...SUCCESS, ...(result["isError"] === true ? failed("tool_error", null) : {}), result };
}

const SUCCESS: Ending = {
  outcome: "success",
  errorType: null,
  message: null,
  refusal: null,
  result: null,
  count: null,
};

function failed(errorType: string, message: string | null): Pick<Ending, "outcome" | "errorType" | "message"> {
  return { outcome: "error", errorType, message };
}

function isAnswer(value: unknown): value is Answer {
  if (typeof value !== "object" || value === null || !("kind" in value)) return false;
  return (value.kind === "error" && "error" in value) || (value.kind === "result" && "result" in value);
}

/** Once an intent stands, the gateway had agreed: what then went wrong is an error, not a refusal. */
export function refusedEnding(call: Call, refusal: Refusal, count: number | null = null): Ending {
  return {
    outcome: call.recorded ? "error" : "refused",
    errorType: refusal.code,
    message: messageOf(refusal),
    refusal,
    result: null,
    count,
  };
}

/** What operators may know and callers may not: the upstream's own words, and the system's name for what failed. */
function messageOf({ code, message, detail: { upstream, cause } }: Refusal): string {
  // unknown id and wrong secret look alike outside; here they are told apart, in identity's constant words
  if (code === "unauthenticated" && cause instanceof Error) return `${message} (${cause.message})`;
  const said = upstream === undefined ? "" : ` Upstream ${upstream.code}: ${upstream.message}`;
  const named = cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : "";
  return `${message}${said}${/^[A-Z][A-Z0-9_]{2,40}$/.test(named) ? ` (${named})` : ""}`;
}
