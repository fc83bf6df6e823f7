/**
 * `portcullis serve`, `control` and `sidecar`: starts, says where everything is, hands out the demo's first keys, reloads
 * and stops when told.
 */
import { dirname, join, resolve } from "node:path";
import { isRemote, MANAGED } from "./config-bundle.ts";
import { ConfigFault } from "./config-file.ts";
import { issueKey } from "./change.ts";
import type { Asked } from "./model.ts";
import { formatDiagnostic, PolicyRefused } from "./policy/diagnostic.ts";
import type { Ports } from "./ports.ts";
import { StoreFault } from "./snapshot/store.ts";
import { start } from "./start.ts";
import type { Running, StartOptions } from "./start.ts";

export type ServeOptions = StartOptions & {
  readonly stderr: (text: string) => void;
  readonly onReady: () => void;
  readonly onSignal: (signal: "SIGTERM" | "SIGINT" | "SIGHUP", listener: () => void) => void;
};

const WATCH_MS = 1_000;
const WAIT_SHOWN_MS = 1_000;
const WAITING = "Waiting for the first snapshot of the control plane.\n";
const USAGE = 2;

/** Resolves with the exit code once the gateway has stopped. */
export async function serve(options: ServeOptions): Promise<number> {
  const { ports, stderr } = options;
  const began = ports.clock.monotonicMs();
  const sinceMs = ports.clock.nowMs();
  // heard from the first moment: a process that just dies would leave its stdio servers behind
  const told = Promise.withResolvers<void>();
  options.onSignal("SIGTERM", told.resolve);
  options.onSignal("SIGINT", told.resolve);
  const stopping = new AbortController();
  void told.promise.then(() => stopping.abort());
  const waiting = options.role === "sidecar" ? setTimeout(() => stderr(WAITING), WAIT_SHOWN_MS) : undefined;
  let running: Running;
  try {
    running = await start({ ...options, signal: stopping.signal }).finally(() => clearTimeout(waiting));
  } catch (cause) {
    if (stopping.signal.aborted) return 0;
    const fault = explain(cause);
    if (fault === null) throw cause;
    stderr(`${fault}\n`);
    return USAGE;
  }
  options.onReady();
  const keys = running.config.demo && running.firstStart ? await firstKeys(running) : [];
  stderr(banner(running, keys, ports.clock.monotonicMs() - began));
  return untilStopped(running, told.promise, { ...options, sinceMs });
}

/** What an operator can mend, in words; null for what is ours. */
function explain(cause: unknown): string | null {
  if (cause instanceof ConfigFault || cause instanceof StoreFault) return cause.message;
  if (cause instanceof PolicyRefused) return cause.diagnostics.map(formatDiagnostic).join("\n");
  const { code, message, address, port } = cause as NodeJS.ErrnoException & { address?: string; port?: number };
  if (code === "EADDRINUSE") {
    const place = port === undefined || port < 0 ? address : `${address}:${port}`;
    return `${place} is taken: another gateway may be running. Change listen, admin, extAuthz or data.`;
  }
  if (code === "EACCES" || code === "EADDRNOTAVAIL" || code === "EROFS") return message;
  return null;
}

async function firstKeys({ gateway, config }: Running): Promise<readonly string[]> {
  const asked: Asked = {
    interface: "trpc",
    protocol: "",
    path: "/trpc",
    ip: "local",
    credential: { kind: "local" },
    traceparent: null,
    tracestate: null,
    signal: new AbortController().signal,
  };
  const lines = [];
  for (const { id, roles } of config.principals) {
    const outcome = await issueKey(gateway, asked, { principal: id });
    if (outcome.ok) lines.push(`  ${roles.join(", ").padEnd(9)} ${id.padEnd(6)} ${outcome.value.text}`);
  }
  return lines;
}

function banner(
  { traffic, admin, socket, grpc, config, role }: Running,
  keys: readonly string[],
  tookMs: number,
): string {
  const scheme = config.tls === undefined ? "http" : "https";
  const graph = `  GraphQL  ${scheme}://${traffic}/graphql`;
  const calling = [`  MCP      ${scheme}://${traffic}/mcp`, `  REST     ${scheme}://${traffic}/tools`, graph];
  const shown = keys.length === 0 ? [] : ["", "Keys, shown this once (role, principal, key):", ...keys];
  return [
    `Portcullis is ready after ${Math.round(tookMs)} ms${TITLES[role]}.`,
    ...(role === "control" ? [graph] : calling),
    ...(role !== "control" && config.extAuthz !== "off" && config.extAuthz.http
      ? [`  Envoy    ${scheme}://${traffic}/ext_authz`]
      : []),
    ...(grpc === null ? [] : [`  Envoy    ${grpc} (gRPC)`]),
    `  Admin    ${scheme}://${admin}/trpc and ${socket}`,
    ...shown,
    "",
  ].join("\n");
}

const TITLES = { serve: "", control: ": control plane", sidecar: ": sidecar" } as const;

type Watching = Pick<ServeOptions, "ports" | "onSignal" | "configFile" | "stderr"> & {
  /** When this start began to read files. */
  readonly sinceMs: number;
};

async function untilStopped(
  running: Running,
  told: Promise<void>,
  { ports, onSignal, configFile, stderr, sinceMs }: Watching,
): Promise<number> {
  // said in the log and by doctor; the old configuration stays in force
  const reload = (): void => void running.reload().catch(() => undefined);
  const watch = watchFiles(() => watched(running, configFile), { disk: ports.disk, sinceMs }, reload);
  onSignal("SIGHUP", reload);
  await told;
  clearInterval(watch);
  stderr("Stopping: running calls may finish.\n");
  try {
    await running.close();
    return 0;
  } catch (cause) {
    ports.log.error({ err: cause }, "did not stop cleanly");
    return 1;
  }
}

/** What a reload would read again; a sidecar has its policies from elsewhere, and managed ones stand in no folder. */
function watched({ role, gateway }: Running, configFile: string | null): readonly string[] {
  if (configFile === null) return [];
  const { policies, shadow } = gateway.control.config();
  const elsewhere = role === "sidecar" || policies === MANAGED || isRemote({ policies });
  const folders = [...(elsewhere ? [] : [policies]), ...shadow.map((one) => one.policies)];
  return [resolve(configFile), ...folders.map((one) => resolve(dirname(configFile), one))];
}

/** Polls: editors and mounted volumes replace files in ways that file events miss. */
function watchFiles(
  paths: () => readonly string[],
  { disk, sinceMs }: Pick<Ports, "disk"> & Pick<Watching, "sinceMs">,
  changed: () => void,
): NodeJS.Timeout {
  let newestMs = 0;
  const stamp = async (path: string): Promise<string> => {
    const stats = await disk.stat(path).catch(() => null);
    if (stats === null) return "gone";
    newestMs = Math.max(newestMs, stats.mtimeMs);
    if (!stats.isDirectory()) return `${stats.mtimeMs}:${stats.size}`;
    // it went meanwhile, or there are no descriptors left: what reads it says so
    const all = await disk.readdir(path).catch(() => null);
    if (all === null) return `unreadable:${stats.mtimeMs}`;
    const names = all.filter((name) => name.endsWith(".rego") || name === "data.json");
    return (await Promise.all(names.toSorted().map(async (name) => `${name}=${await stamp(join(path, name))}`))).join(
      " ",
    );
  };
  let last: string | null = null;
  const look = async (): Promise<void> => {
    const now = (await Promise.all(paths().map(stamp))).join("\n");
    // what changed while this start read it may have been read before
    if (last === null ? newestMs >= sinceMs : now !== last) changed();
    last = now;
  };
  void look();
  return setInterval(() => void look(), WATCH_MS);
}
