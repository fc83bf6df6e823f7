/** What the audit's tests share: an audit in a folder of its own, calls to record, and a disk that fails when told to. */
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { createAudit } from "../src/audit/audit.ts";
import type { AuditOptions } from "../src/audit/audit.ts";
import { realDisk } from "../src/audit/disk.ts";
import type { SpoolDisk } from "../src/audit/disk.ts";
import { audited, record } from "../src/audit/record.ts";
import type { Audit } from "../src/audit/record.ts";
import { parseSpan } from "../src/audit/span.ts";
import type {
  Asked,
  AuditArguments,
  Call,
  Decision,
  JsonObject,
  Outcome,
  Principal,
  Snapshot,
  Tool,
} from "../src/model.ts";
import { realPorts, silent } from "../src/ports.ts";
import type { Log, Ports } from "../src/ports.ts";
import { Refusal } from "../src/refusal.ts";

export const KEY = Buffer.alloc(32, 7);
export const SIGNING = { id: "test", key: Buffer.alloc(32, 9) } as const;

export async function folder(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "audit-"));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** The real clock, plus what a test adds to it. */
export function portsAhead(log: Log = silent): { readonly ports: Ports; readonly skip: (ms: number) => void } {
  const ports = realPorts(log);
  let ahead = 0;
  const { nowMs, monotonicMs, threadCpuMs } = ports.clock;
  const clock = { nowMs: () => nowMs() + ahead, monotonicMs: () => monotonicMs() + ahead, threadCpuMs };
  return { ports: { ...ports, clock }, skip: (ms) => void (ahead += ms) };
}

export type Auditing = {
  readonly ports: Ports;
  readonly snapshot: () => Snapshot;
  readonly audit: Audit;
  readonly directory: string;
};

export async function auditing(
  options: Partial<AuditOptions> = {},
  ports: Ports = realPorts(silent),
): Promise<Auditing> {
  const directory = options.directory ?? (await folder());
  const audit = createAudit(
    { flush: "write", keyedDigestKey: KEY, version: "1.2.3", checkpoints: { keys: [SIGNING] }, ...options, directory },
    ports,
  );
  onTestFinished(() => audit.close());
  return { ports, snapshot: () => snapshot, audit, directory };
}

export const snapshot = {
  revision: "snapshot-1",
  parts: [],
  settings: { refusals: "result", disclosure: "open", anonymous: null, issuers: [] },
  tools: new Map(),
  servers: new Map(),
  principals: new Map(),
  roles: {},
  keys: new Map(),
  limits: new Map(),
  policy: {
    revision: "policy-1",
    source: { key: "policy-1", module: new Uint8Array(), data: "{}" },
    reads: [[]],
    evaluated: () => ({ faults: {}, undefinedCalls: 0, maskFaults: 0 }),
    decide: () => ({ ok: true, value: null }),
    decideUse: () => ({ ok: true, value: null }),
    list: async () => ({ ok: true, value: null }),
    listTools: async () => ({ ok: true, value: null }),
  },
} as const satisfies Snapshot;

export const alice: Principal = {
  id: "alice",
  kind: "agent",
  roles: ["analyst"],
  permissions: ["files:read"],
  tenant: "acme",
  onBehalfOf: "bob",
  claims: {},
};

export function tool(auditArguments: AuditArguments = "policy", name = "files__read"): Tool {
  return {
    id: `files@1.2.0/${name}`,
    name,
    server: "files",
    version: "1.2.0",
    upstreamName: "read",
    definition: {},
    digest: "sha256:00ff",
    quarantined: false,
    stale: false,
    permissions: ["files:read"],
    tags: [],
    annotations: {},
    idempotent: false,
    cost: 1,
    idleTimeoutMs: null,
    timeoutMs: 1000,
    limits: [],
    namedLimits: [],
    auditArguments,
    auditResults: "off",
    policyInput: {},
  };
}

export function allowed(maskAudit: readonly string[] = []): Decision {
  const obligations = {
    redact: [],
    mask_audit: maskAudit,
    limits: [],
    cost: null,
    max_result_bytes: null,
    rows: null,
    route: null,
  };
  return { allow: true, reasons: ["holds files:read"], obligations };
}

export function asked(changes: Partial<Asked> = {}): Asked {
  return {
    interface: "mcp",
    protocol: "2026-07-28",
    path: "/mcp",
    ip: "192.0.2.1",
    credential: { kind: "secret", value: "pc_k7f3_0123456789abcdef0123456789abcdef" },
    traceparent: null,
    tracestate: null,
    signal: new AbortController().signal,
    ...changes,
  };
}

/** What the stages before `record` find out. */
export function admit(
  call: Call,
  args: JsonObject = { path: "/tmp/a" },
  of: Tool = tool(),
  decision = allowed(),
): void {
  call.principal = alice;
  call.arguments = args;
  call.tool = of;
  call.decision = decision;
}

/** A whole tool call that succeeds. */
export function callOnce(room: Auditing, args?: JsonObject, of?: Tool): Promise<Outcome<unknown>> {
  return audited(room, asked(), "tools/call", async (call) => {
    admit(call, args, of);
    await record(room.audit, call);
    call.executed = "yes";
    call.attempts = 1;
    return { kind: "result", result: { content: [] } };
  });
}

/** An operation that is refused once it is prepared. */
export const refuse = (
  room: Auditing,
  refusal: Refusal,
  from: Partial<Asked> = {},
  prepare: (call: Call) => void = () => {},
) =>
  audited(room, asked(from), "tools/call", async (call) => {
    prepare(call);
    throw refusal;
  });
export const forbidden = () => new Refusal("forbidden", "Policy does not allow this.");
export const unauthenticated = () => new Refusal("unauthenticated", "No or unknown credential.");

/** The smallest line that verifies: what line.ts leaves open. */
export const openLine = (text: string) =>
  `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"${"1".repeat(32)}","spanId":"${"2".repeat(16)}","startTimeUnixNano":"1","endTimeUnixNano":"1","name":"${text}","attributes":[`;

export async function spoolFiles(directory: string): Promise<readonly string[]> {
  return (await readdir(directory)).filter((file) => file.endsWith(".jsonl")).toSorted();
}

export async function lines(directory: string): Promise<readonly string[]> {
  const texts = await Promise.all((await spoolFiles(directory)).map((file) => readFile(join(directory, file), "utf8")));
  return texts.flatMap((text) => text.split("\n").filter((line) => line !== ""));
}

/** Every record's attributes, in order. */
export async function records(directory: string): Promise<readonly { readonly [attribute: string]: unknown }[]> {
  return (await lines(directory)).map((line) => Object.fromEntries(parseSpan(line)?.attributes ?? []));
}

export type Faults = {
  write: string | null;
  sync: string | null;
  truncate: string | null;
  open: string | null;
  most: number;
  free: number;
};

/** A real disk, until a fault is set: then that function throws an error of that code. `most`: bytes one write takes. */
export function faultyDisk(): { readonly disk: SpoolDisk; readonly faults: Faults } {
  const faults: Faults = { write: null, sync: null, truncate: null, open: null, most: Infinity, free: Infinity };
  const fail = (code: string | null): void => {
    if (code !== null) throw Object.assign(new Error(code), { code });
  };
  const disk: SpoolDisk = {
    ...realDisk,
    open: (path) => (fail(faults.open), realDisk.open(path)),
    write: (fd, bytes) => {
      if (faults.write === null) return realDisk.write(fd, bytes.subarray(0, faults.most));
      // a disk that fills up takes what still fits
      if (faults.most !== Infinity && realDisk.size(fd) < faults.most) {
        return realDisk.write(fd, bytes.subarray(0, faults.most - realDisk.size(fd)));
      }
      fail(faults.write);
      return 0;
    },
    truncate: (fd, bytes) => (fail(faults.truncate), realDisk.truncate(fd, bytes)),
    sync: async (fd) => (fail(faults.sync), await realDisk.sync(fd)),
    freeBytes: () => faults.free,
  };
  return { disk, faults };
}
