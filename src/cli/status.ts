/** `doctor · status`: does each part work, and what is running? */
import { ask } from "./client.ts";
import { printable, printJson, printTable } from "./io.ts";
import type { Invocation } from "./io.ts";

/** One line each; 1 if a part does not work. */
export async function doctor(invocation: Invocation): Promise<number> {
  const { checks } = await ask(invocation, (client) => client.health.check.query());
  const well = checks.every(({ ok }) => ok);
  if (invocation.json) printJson(invocation, { ok: well, checks });
  else
    for (const { name, ok, detail } of checks)
      invocation.io.stdout(printable(`${ok ? "ok  " : "FAIL"} ${name}: ${detail}\n`));
  return well ? 0 : 1;
}

/** 1 if no gateway is running. */
export async function status(invocation: Invocation): Promise<number> {
  const [{ servers }, { sidecars, quarantined }, { anchors }] = await ask(invocation, (client) =>
    Promise.all([
      client.servers.list.query(),
      // who may see the servers need not be somebody who may see these
      client.sidecars.list.query().catch(() => ({ sidecars: [], quarantined: [] })),
      client.health.check.query().catch(() => ({ anchors: [] })),
    ]),
  );
  const rows = servers.map(({ server, version, state, tools }) => ({ server: `${server}@${version}`, state, tools }));
  if (invocation.json) printJson(invocation, { running: true, servers: rows, sidecars, quarantined, anchors });
  else {
    invocation.io.stderr("The gateway is running.\n");
    printTable(invocation, [
      ["SERVER", "STATE", "TOOLS"],
      ...rows.map((row) => [row.server, row.state, String(row.tools)]),
    ]);
    if (sidecars.length > 0) printSidecars(invocation, sidecars);
    if (quarantined.length > 0) printQuarantined(invocation, quarantined);
    if (anchors.length > 0) printAnchors(invocation, anchors);
  }
  return 0;
}

type Sidecar = {
  readonly name: string;
  readonly connected: boolean;
  readonly revision: string | null;
  readonly current: boolean;
  readonly lagMs: number;
  readonly lastError: string | null;
};

function printSidecars(invocation: Invocation, sidecars: readonly Sidecar[]): void {
  invocation.io.stdout("\n");
  printTable(invocation, [
    ["SIDECAR", "CONNECTED", "REVISION", "LAG", "LAST ERROR"],
    ...sidecars.map(({ name, connected, revision, current, lagMs, lastError }) => [
      name,
      connected ? "yes" : "no",
      revision?.replace("sha256:", "").slice(0, 12) ?? "-",
      current ? "0" : `${Math.ceil(lagMs / 1000)}s`,
      lastError ?? "-",
    ]),
  ]);
}

type Quarantined = {
  readonly sidecar: string;
  readonly name: string;
  readonly version: string;
  readonly digest: string;
};

function printQuarantined(invocation: Invocation, quarantined: readonly Quarantined[]): void {
  invocation.io.stdout("\n");
  printTable(invocation, [
    ["AWAITS APPROVAL", "VERSION", "SIDECAR", "DIGEST"],
    ...quarantined.map(({ sidecar, name, version, digest }) => [name, version, sidecar, digest]),
  ]);
}

type Anchor = {
  readonly target: string;
  readonly chain: string | null;
  readonly size: number;
  readonly time: string | null;
  readonly waitingMs: number;
  readonly lastError: string | null;
};

function printAnchors(invocation: Invocation, anchors: readonly Anchor[]): void {
  invocation.io.stdout("\n");
  printTable(invocation, [
    ["CHECKPOINTS TO", "CHAIN", "RECORDS", "OF", "WAITING", "LAST ERROR"],
    ...anchors.map(({ target, chain, size, time, waitingMs, lastError }) => [
      target,
      chain ?? "-",
      String(size),
      time ?? "-",
      `${Math.floor(waitingMs / 1000)}s`,
      lastError ?? "-",
    ]),
  ]);
}
