/** Whom does this sidecar follow, and by what right? Reads what its operator gave it, and waits for the first snapshot. */
import { join, resolve } from "node:path";
import { whyUnreadable } from "./config-expand.ts";
import { ConfigFault } from "./config-file.ts";
import { controlUrl } from "./config.ts";
import type { Config } from "./config.ts";
import type { InForce } from "./inforce.ts";
import type { Operation } from "./operate.ts";
import type { Policies } from "./policy/load.ts";
import type { Ports } from "./ports.ts";
import { startSidecar } from "./sidecar.ts";
import type { Sidecar } from "./sidecar.ts";
import { openLastGood } from "./snapshot/last-good.ts";
import { PIN } from "./snapshot/seal.ts";

type Given = {
  readonly inForce: InForce;
  readonly policies: Policies;
  readonly operation: Operation;
  readonly config: Config;
  /** Absolute. */
  readonly data: string;
  readonly folder: string;
};
type Options = {
  readonly control?: { readonly url: string | null; readonly keyFile: string | null };
  readonly cwd?: string;
  readonly ports: Ports;
  readonly signal?: AbortSignal;
};

/** Resolves once a snapshot is in force. @throws ConfigFault, Error when the signal aborts the wait */
export async function followControl(given: Given, options: Options): Promise<Sidecar> {
  const { inForce, policies, operation, config, data, folder } = given;
  const { control, cwd = folder, ports, signal } = options;
  const url = control?.url ?? config.control.url;
  const keyFile = control?.keyFile != null ? resolve(cwd, control.keyFile) : fileOf(folder, config.control.keyFile);
  if (url === undefined) throw new ConfigFault(["a sidecar follows a control plane: name it with --control URL"]);
  if (keyFile === null) throw new ConfigFault(["a sidecar has a key of its own: name its file with --key-file FILE"]);
  if (!controlUrl.safeParse(url).success) throw new ConfigFault(["--control takes an https URL, or http to loopback"]);
  const { key, pins } = await readKeyFile(keyFile, ports);
  const caFile = fileOf(folder, config.control.ca);
  const ca = caFile === null ? {} : { ca: await readText(caFile, ports) };
  const sidecar = await startSidecar(
    {
      inForce,
      policies,
      reconcile: operation.reconcile,
      lastGood: await openLastGood(join(data, "snapshot"), ports.disk),
    },
    { target: { url, ...ca }, key, pins, maxStalenessMs: config.control.maxStaleness },
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
    signal?.addEventListener("abort", () => reject(new Error("stopped before the first snapshot")), { once: true });
  });
}

function fileOf(folder: string, name: string | undefined): string | null {
  return name === undefined ? null : resolve(folder, name);
}

/** As `keys issue --sidecar` prints it: the key, then one line for each public key to pin. @throws ConfigFault */
async function readKeyFile(
  file: string,
  ports: Ports,
): Promise<{ readonly key: string; readonly pins: readonly string[] }> {
  const lines = (await readText(file, ports)).split(/\r?\n/).map((line) => line.trim());
  const [key, ...others] = lines.filter((line) => line !== "" && !line.startsWith("#"));
  const fault = (message: string): ConfigFault => new ConfigFault([`${file}: ${message}`]);
  if (key === undefined || !key.startsWith("pc_")) throw fault("the first line must be the sidecar's key");
  if (others.length === 0)
    throw fault("no ed25519: line follows the key: nothing would say whose snapshots to believe");
  if (!others.every((line) => PIN.test(line))) throw fault("each line after the key must be ed25519:<id>:<public key>");
  return { key, pins: others };
}

async function readText(file: string, { disk }: Ports): Promise<string> {
  return await disk.readFile(file, "utf8").catch((cause: unknown) => {
    throw new ConfigFault([`${file}: ${whyUnreadable(cause)}`]);
  });
}
