/** Is everything well? What `doctor` prints, one line each. No address, path or secret: it travels over the admin API. */
import { checkRoutes } from "./config-route.ts";
import type { Exports } from "./audit/export.ts";
import type { Audit } from "./audit/record.ts";
import type { Check, Gateway } from "./gateway.ts";
import type { Rooms } from "./rooms.ts";
import { keyringFault } from "./snapshot/keyring.ts";
import type { Keyring, KeyringPlace } from "./snapshot/keyring.ts";
import type { Sidecar } from "./sidecar.ts";
import type { Store } from "./snapshot/store.ts";

type Subject = {
  readonly gateway: Gateway;
  readonly rooms: Pick<Rooms, "exports" | "stream" | "drain">;
  readonly data: string;
  readonly keyring: Keyring;
  readonly place: KeyringPlace;
  readonly store: Store;
  readonly reloadFault: () => string | null;
  readonly bundleFault: () => string | null;
  readonly peersFault: () => string | null;
  /** Null where this is no sidecar. */
  readonly sidecar: Sidecar | null;
};

const DISK_LOW_BYTES = 256 * 1024 * 1024;
const DAY_MS = 86_400_000;
/** A place that hangs says of no error: one that is well takes a checkpoint within its deadline of ten seconds. */
const ANCHOR_LATE_MS = 30_000;

export async function checkHealth(subject: Subject): Promise<readonly Check[]> {
  const { gateway, rooms, reloadFault } = subject;
  const fault = reloadFault();
  return [
    {
      name: "config",
      ok: fault === null,
      detail: fault === null ? "in force as read" : `the old one is in force: ${fault}`,
    },
    policyCheck(subject),
    ...shadowChecks(gateway),
    ...planeChecks(subject),
    auditCheck(gateway),
    ...anchorChecks(gateway.audit),
    await diskCheck(subject),
    await storeCheck(subject),
    await keyringCheck(subject),
    await redisCheck(gateway),
    ...(await streamChecks(rooms)),
    ...drainChecks(rooms),
    ...collectorChecks(rooms.exports),
    loadCheck(gateway),
    clockCheck(gateway),
    schemaCheck(gateway),
    ...routeChecks(gateway),
    ...serverChecks(gateway),
  ];
}

function policyCheck({ gateway, bundleFault }: Subject): Check {
  const { policy } = gateway.snapshot();
  if (policy === null) return { name: "policy", ok: false, detail: "none in force" };
  const fault = bundleFault();
  const revision = `revision ${policy.revision.slice(0, 12)}`;
  const detail = fault === null ? `in force, ${revision}` : `the last good one is in force, ${revision}: ${fault}`;
  return { name: "policy", ok: fault === null, detail };
}

/** One that cannot be loaded decides nothing: that is no reason to stop, and one to know. */
function shadowChecks({ control }: Gateway): readonly Check[] {
  return control.shadows().map(({ bundle, fault, decisions, flips, faults }) => {
    const flipped = flips.allow_to_deny + flips.deny_to_allow + flips.terms;
    const detail = fault ?? `would have changed ${flipped} of ${decisions} decisions, ${faults} faults`;
    return { name: `shadow ${bundle}`, ok: fault === null, detail };
  });
}

/** Of a sidecar, whether it hears its control plane; of a control plane, whether its sidecars are on the newest snapshot. */
function planeChecks({ gateway, sidecar }: Subject): readonly Check[] {
  if (sidecar !== null) {
    const { connected, stale, lastError, silentMs } = sidecar.status();
    const silent = `${stale ? "calls are refused, " : ""}not heard for ${Math.round(silentMs / 1000)} s`;
    const detail = connected && !stale ? "followed" : `${silent}: ${lastError ?? "no word"}`;
    return [{ name: "control plane", ok: connected && !stale, detail }];
  }
  return gateway.control.sidecars().map(({ name, connected, current, lastError }) => ({
    name: `sidecar ${name}`,
    ok: connected && current,
    detail: lastError ?? (connected ? (current ? "on the newest snapshot" : "on an older snapshot") : "not connected"),
  }));
}

function auditCheck({ audit }: Gateway): Check {
  const { writable } = audit.stats();
  const { lastError, anchors } = audit.checkpoints();
  const anchored = anchors.length > 0;
  const well = `writable; ${anchored ? "anchored as follows" : "anchored nowhere outside this host: set audit.checkpoints.to"}`;
  const unsigned = `checkpoints cannot be written: ${lastError ?? ""}`;
  const detail = writable ? (lastError === null ? well : unsigned) : "records cannot be written: calls are refused";
  return { name: "audit", ok: writable && lastError === null, detail };
}

/** Where a copy of what was signed is out of this host's reach. */
export function anchorChecks(audit: Pick<Audit, "checkpoints">): readonly Check[] {
  return audit.checkpoints().anchors.map(({ target, time, size, waitingMs, lastError }) => {
    const late = waitingMs > ANCHOR_LATE_MS ? `one has waited for ${Math.floor(waitingMs / 1000)} s` : null;
    const last = time === null ? "none taken yet" : `the newest is of ${time}, of ${size} records`;
    return {
      name: `checkpoints to ${target}`,
      ok: lastError === null && late === null,
      detail: [lastError, late, last].filter((part) => part !== null).join("; "),
    };
  });
}

async function storeCheck({ store, peersFault }: Subject): Promise<Check> {
  const fault = store.fault() ?? peersFault();
  const faults = fault === null ? await store.dangers() : [fault];
  const detail = faults.length === 0 ? `whole, revision ${store.changes().length}` : faults.join("; ");
  return { name: "store", ok: faults.length === 0, detail };
}

async function keyringCheck({ gateway, place, keyring }: Subject): Promise<Check> {
  const fault = await keyringFault(place, keyring, gateway.ports.disk);
  const well = place.given === null ? "as in force, and nobody else's to read" : "from PORTCULLIS_KEYRING";
  return { name: "keyring", ok: fault === null, detail: fault ?? well };
}

async function redisCheck({ limits }: Gateway): Promise<Check> {
  if (limits.status().store === "memory")
    return { name: "redis", ok: true, detail: "none configured: limits count in this process" };
  const faults = await limits.examine();
  const detail = faults.length === 0 ? "counts the limits, and forgets none" : faults.join("; ");
  return { name: "redis", ok: faults.length === 0, detail };
}

/** Where a record must be in Redis before anyone is answered. */
async function streamChecks({ stream }: Subject["rooms"]): Promise<readonly Check[]> {
  if (stream === null) return [];
  const { away, why, full, gathered, waitingBytes } = stream.status();
  const dangers = away ? [] : await stream.examine().catch(() => ["it does not say how it is set up (INFO)"]);
  const faults = [
    ...(away ? [`Redis is away: calls are refused${why === null ? "" : `: ${why}`}`] : []),
    ...(full ? ["no more are taken: calls are refused"] : []),
    ...(away || gathered ? [] : ["nobody gathers: a control plane with the same redis would"]),
    ...dangers,
  ];
  const waiting = `${Math.ceil(waitingBytes / 1024)} KiB wait to be gathered`;
  return [{ name: "records to redis", ok: faults.length === 0, detail: [waiting, ...faults].join("; ") }];
}

function drainChecks({ drain }: Subject["rooms"]): readonly Check[] {
  if (drain === null) return [];
  const { holds, records, refused, lastError } = drain.status();
  const left = refused.length === 0 ? [] : [`cannot be gathered, and left there: ${refused.slice(0, 5).join(", ")}`];
  const faults = [...(lastError === null ? [] : [lastError]), ...left];
  const well = holds ? `gathered here, ${records} since the start` : "not gathered here now: another gateway's turn";
  return [
    { name: "records from redis", ok: faults.length === 0, detail: faults.length === 0 ? well : faults.join("; ") },
  ];
}

function collectorChecks(exports: Exports): readonly Check[] {
  const checks = exports.status().map(({ target, lag, rejected, lastError }) => ({
    name: target === "control plane" ? "records to the control plane" : `collector ${target}`,
    ok: lastError === null,
    detail: lastError ?? `${lag} records behind${rejected === 0 ? "" : `, ${rejected} spans it did not want`}`,
  }));
  return checks.length > 0 ? checks : [{ name: "collector", ok: true, detail: "none configured: records stay here" }];
}

async function diskCheck({ gateway, data }: Subject): Promise<Check> {
  const { bavail, bsize } = await gateway.ports.disk.statfs(data);
  const free = bavail * bsize;
  return { name: "disk", ok: free > DISK_LOW_BYTES, detail: `${Math.floor(free / 2 ** 20)} MiB free` };
}

function loadCheck({ load }: Gateway): Check {
  const { inFlight, delayMs, shed, late } = load.status();
  return { name: "load", ok: !late, detail: `${inFlight} in flight, event loop ${delayMs} ms late, ${shed} shed` };
}

/** A clock before this product was made, or far ahead of it, was never set. */
function clockCheck({ ports }: Gateway): Check {
  const now = ports.clock.nowMs();
  const plausible = now > Date.UTC(2026, 0, 1) && now < Date.UTC(2026, 0, 1) + 20 * 365 * DAY_MS;
  return { name: "clock", ok: plausible, detail: new Date(now).toISOString() };
}

/** A schema that cannot be used refuses every call of its tool. */
function schemaCheck({ validators, snapshot }: Gateway): Check {
  const { unusable } = validators.status([...snapshot().tools.values()].flat());
  const named = unusable.slice(0, 5).join(", ");
  return {
    name: "schemas",
    ok: unusable.length === 0,
    detail: unusable.length === 0 ? "all can be used" : `refused, cannot be used: ${named}`,
  };
}

/** A changed file may have taken away what a route names: those whom it sends there are refused. */
function routeChecks({ control }: Gateway): readonly Check[] {
  return checkRoutes(control.effective()).map(({ message }) => ({ name: "routes", ok: false, detail: message }));
}

function serverChecks({ snapshot, carriesCalls }: Gateway): readonly Check[] {
  return [...snapshot().servers.values()]
    .flatMap((server) => [...server.versions.values()])
    .map(({ server, version, state, tools, instances }) => {
      const name = `server ${server}@${version}`;
      if (!carriesCalls && instances.some(({ kind }) => kind === "stdio"))
        return { name, ok: true, detail: "run by the sidecars that have it" };
      if (instances.length === 0)
        return { name, ok: true, detail: "not run here: no instance in this file, and none that registered" };
      const quarantined = [...tools.values()].filter((tool) => tool.quarantined).length;
      const waiting = quarantined === 0 ? "" : `, ${quarantined} await approval`;
      return {
        name,
        ok: state === "fresh",
        detail: `${state}, ${tools.size} tools${waiting}`,
      };
    });
}
