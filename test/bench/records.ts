/** What the audit trail costs by itself: both records of an executed call, their chain, tree and spool; and how long it takes to verify. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAudit } from "../../src/audit/audit.ts";
import { audited, record } from "../../src/audit/record.ts";
import type { Audit } from "../../src/audit/record.ts";
import { verify } from "../../src/audit/verify.ts";
import { pinOf } from "../../src/ed25519.ts";
import type { Asked, Call, Decision, Principal, Snapshot, Tool } from "../../src/model.ts";
import { realPorts, silent } from "../../src/ports.ts";
import type { Bench } from "./gateways.ts";
import { middle } from "./measure.ts";

const CONNECTIONS = 64;
const VERIFIED = 100_000;
const SIGNING = { id: "bench", key: Buffer.alloc(32, 3) } as const;

export async function records({ effort }: Bench) {
  const calls = effort.quick ? 20_000 : 100_000;
  const costs: { readonly write: number[]; readonly fsync: number[] } = { write: [], fsync: [] };
  for (let round = 0; round < effort.rounds; round++)
    for (const flush of ["write", "fsync"] as const) costs[flush].push(await costOf(flush, calls / effort.rounds));
  return { writeMicros: middle(costs.write), fsyncMicros: middle(costs.fsync), verifyMs: await verifyTime() };
}

/** CPU of this process per call, that of the disk's threads included. */
async function costOf(flush: "write" | "fsync", calls: number): Promise<number> {
  const { audit, close } = open(flush);
  await run(audit, 5_000);
  const before = process.cpuUsage();
  await run(audit, calls);
  const { user, system } = process.cpuUsage(before);
  await close();
  return (user + system) / calls;
}

async function verifyTime(): Promise<number> {
  const { audit, directory, close } = open("write");
  await run(audit, VERIFIED / 2);
  await audit.close();
  const began = performance.now();
  const { ok, records, signed } = await verify(directory, { pins: [pinOf(SIGNING)] });
  const took = performance.now() - began;
  await close();
  if (!ok || records !== VERIFIED || signed.records !== VERIFIED) throw new Error("The trail does not verify.");
  return took;
}

function open(flush: "write" | "fsync") {
  const directory = mkdtempSync(join(tmpdir(), "bench-trail-"));
  const checkpoints = { keys: [SIGNING] } as const;
  const keyed = { keyedDigestKey: Buffer.alloc(32, 7), version: "bench" };
  const audit = createAudit({ directory, flush, checkpoints, ...keyed }, ports);
  const close = async (): Promise<void> => {
    await audit.close();
    rmSync(directory, { recursive: true, force: true });
  };
  return { audit, directory, close };
}

const ports = realPorts(silent);

async function run(audit: Audit, calls: number): Promise<void> {
  const auditing = { ports, audit, snapshot: () => snapshot };
  let left = calls;
  const work = async (): Promise<void> => {
    while (left-- > 0)
      await audited(auditing, asked, "tools/call", async (call: Call) => {
        Object.assign(call, { principal, tool, decision, arguments: { text: "hello", path: "/tmp/a" } });
        await record(audit, call);
        Object.assign(call, { executed: "yes", attempts: 1, instance: "http 1" });
        return { kind: "result", result: { content: [] } };
      });
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, work));
}

/** As much of each as a record is made of. */
const snapshot = { revision: "0".repeat(64), policy: { revision: "1".repeat(64) } } as unknown as Snapshot;
const asked = {
  ...{ interface: "mcp", protocol: "2026-07-28", path: "/mcp", ip: "192.0.2.1", credential: { kind: "none" } },
  ...{ traceparent: null, tracestate: null, signal: new AbortController().signal },
} as unknown as Asked;
const principal: Principal = {
  ...{ id: "alice", kind: "agent", roles: ["analyst"], permissions: ["files:read"], tenant: "acme" },
  ...{ onBehalfOf: "bob", claims: {} },
};
const tool = {
  ...{ id: "files@1.2.0/files__read", name: "files__read", server: "files", version: "1.2.0", upstreamName: "read" },
  ...{ digest: `sha256:${"2".repeat(64)}`, auditArguments: "policy", definition: {} },
} as unknown as Tool;
const none = { redact: [], limits: [], cost: null, max_result_bytes: null, rows: null, route: null };
const decision = {
  ...{ allow: true, reasons: ["holds files:read"], obligations: { ...none, mask_audit: [] } },
} as unknown as Decision;
