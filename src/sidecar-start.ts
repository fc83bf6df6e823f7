/** Whom does this sidecar follow, and by what right? Reads what its operator gave it, and waits for the first snapshot. */
import { join, resolve } from "node:path";
import type { Ship } from "./audit/export.ts";
import { whyUnreadable } from "./config-expand.ts";
import { ConfigFault } from "./config-file.ts";
import { controlUrl } from "./config.ts";
import type { Config } from "./config.ts";
import { SEGMENT_HEADER } from "./doors/otlp.ts";
import { PIN } from "./ed25519.ts";
import type { InForce } from "./inforce.ts";
import type { Operation } from "./operate.ts";
import type { Policies } from "./policy/load.ts";
import type { Ports } from "./ports.ts";
import { REFUSALS } from "./refusal.ts";
import { startSidecar } from "./sidecar.ts";
import type { Sidecar } from "./sidecar.ts";
import { openLastGood } from "./snapshot/last-good.ts";
import { dial } from "./snapshot/reach.ts";
import type { Target } from "./snapshot/reach.ts";

/** Whom a sidecar follows, and by what right. */
export type ControlPlane = {
  readonly target: Target & { readonly url: string };
  readonly key: string;
  /** The public part of the key; null where it is none of ours. */
  readonly keyId: string | null;
  readonly pins: readonly string[];
};
type Options = {
  readonly control?: { readonly url: string | null; readonly keyFile: string | null };
  readonly cwd?: string;
  readonly ports: Ports;
};

/** What the command line says stands before what the file says. @throws ConfigFault */
export async function readControlPlane(config: Config, folder: string, options: Options): Promise<ControlPlane> {
  const { control, cwd = folder, ports } = options;
  const url = control?.url ?? config.control.url;
  const keyFile = control?.keyFile != null ? resolve(cwd, control.keyFile) : fileOf(folder, config.control.keyFile);
  if (url === undefined) throw new ConfigFault(["a sidecar follows a control plane: name it with --control URL"]);
  if (keyFile === null) throw new ConfigFault(["a sidecar has a key of its own: name its file with --key-file FILE"]);
  if (!controlUrl.safeParse(url).success) throw new ConfigFault(["--control takes an https URL, or http to loopback"]);
  const caFile = fileOf(folder, config.control.ca);
  const ca = caFile === null ? {} : { ca: await readText(caFile, ports) };
  return { target: { url: url.replace(/\/+$/, ""), ...ca }, ...(await readKeyFile(keyFile, ports)) };
}

const SHIP_MS = 10_000;

/** Its records, as they are, to its control plane. */
export function shipTo({ target, key }: ControlPlane): Ship {
  const post = dial(target, SHIP_MS);
  return {
    target: "control plane",
    send: async (file, lines) => {
      const headers = { "content-type": "application/json", "x-api-key": key, [SEGMENT_HEADER]: file };
      // each line is a request of its own to a collector: together they are one
      const body = `{"resourceSpans":[${lines.map((line) => line.slice(OPENING.length, -CLOSING.length)).join(",")}]}`;
      const { status } = await post(`${target.url}/v1/traces`, { method: "POST", headers, body });
      if (status === 200) return;
      const fault = Object.assign(new Error("The control plane did not take the records."), { code: status });
      throw status === CONFLICT ? Object.assign(fault, { rewind: true }) : fault;
    },
  };
}

const OPENING = '{"resourceSpans":[';
const CLOSING = "]}";
const CONFLICT = REFUSALS.conflict.http;

type Given = {
  readonly inForce: InForce;
  readonly policies: Policies;
  readonly operation: Operation;
  readonly config: Config;
  /** Absolute. */
  readonly data: string;
  readonly control: ControlPlane;
};

/** Resolves once a snapshot is in force. @throws Error when the signal aborts the wait */
export async function followControl(
  { inForce, policies, operation, config, data, control }: Given,
  { ports, signal }: { readonly ports: Ports; readonly signal?: AbortSignal },
): Promise<Sidecar> {
  const lastGood = await openLastGood(join(data, "snapshot"), ports);
  const sidecar = await startSidecar(
    { inForce, policies, reconcile: operation.reconcile, lastGood },
    { ...control, maxStalenessMs: config.control.maxStaleness },
    ports,
  );
  await Promise.race([sidecar.ready, aborted(signal)]).catch(async (cause: unknown) => {
    await sidecar.close();
    throw cause;
  });
  return sidecar;
}

function aborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    const stop = (): void => reject(new Error("stopped before the first snapshot"));
    if (signal?.aborted === true) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}

function fileOf(folder: string, name: string | undefined): string | null {
  return name === undefined ? null : resolve(folder, name);
}

/** As `keys issue --sidecar` prints it: the key, then one line for each public key to pin. @throws ConfigFault */
async function readKeyFile(file: string, ports: Ports): Promise<Pick<ControlPlane, "key" | "keyId" | "pins">> {
  const lines = (await readText(file, ports)).split(/\r?\n/).map((line) => line.trim());
  const [key, ...others] = lines.filter((line) => line !== "" && !line.startsWith("#"));
  const fault = (message: string): ConfigFault => new ConfigFault([`${file}: ${message}`]);
  if (key === undefined || !key.startsWith("pc_")) throw fault("the first line must be the sidecar's key");
  if (others.length === 0)
    throw fault("no ed25519: line follows the key: nothing would say whose snapshots to believe");
  if (!others.every((line) => PIN.test(line))) throw fault("each line after the key must be ed25519:<id>:<public key>");
  const [, keyId = null] = /^pc_([a-z0-9]{1,32})_/.exec(key) ?? [];
  return { key, keyId, pins: others };
}

async function readText(file: string, { disk }: Ports): Promise<string> {
  return await disk.readFile(file, "utf8").catch((cause: unknown) => {
    throw new ConfigFault([`${file}: ${whyUnreadable(cause)}`]);
  });
}
