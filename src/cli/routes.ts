/**
 * `servers promote · canary · rollback`: which version of a server answers whom, in one change each. What surprises: where
 * the new version's tools break who calls the old one's, or are suspicious, it is done only with `--force`.
 */
import { canariesOf } from "../config-route.ts";
import type { Route } from "../config-route.ts";
import type { Share } from "../config-share.ts";
import { ask } from "./client.ts";
import type { Client } from "./client.ts";
import { tellChange } from "./changed.ts";
import type { Changed } from "./changed.ts";
import { CommandFault, flag, printable } from "./io.ts";
import type { Invocation } from "./io.ts";
import { noServer } from "./servers.ts";
import { textOf } from "./tool-diff.ts";

/** Everybody gets it who is not pinned. */
export async function promoteVersion(invocation: Invocation): Promise<number> {
  const { server, version, route, ...now } = await standing(invocation);
  await assertCompatible(invocation, server, [now.default, version]);
  return await change(invocation, (client, dryRun) =>
    client.routes.put.mutate({
      server,
      route: { default: version, pins: route.pins },
      expect: now.revision,
      dryRun,
    }),
  );
}

/** The others stay where they are, also when a higher version comes. */
export async function startCanary(invocation: Invocation): Promise<number> {
  const percent = percentOf(invocation);
  const { server, version, route, ...now } = await standing(invocation);
  if (version === now.default) throw new CommandFault(`${server}@${version} is the default already`, 1);
  await assertCompatible(invocation, server, [now.default, version]);
  const shares = sharesWith(invocation, route, { version, percent });
  return await change(invocation, (client, dryRun) =>
    client.routes.put.mutate({
      server,
      route: { default: now.default, ...shares, pins: route.pins },
      expect: now.revision,
      dryRun,
    }),
  );
}

/** One takes the place of one; where there are several, or with `--beside`, the others stay, and with nought it goes. */
function sharesWith({ flags }: Invocation, route: Standing["route"], one: Share): Pick<Route, "canary" | "canaries"> {
  if (flags["beside"] !== true && route.canaries === undefined) return { canary: one };
  const before = canariesOf(route);
  const known = before.some(({ version }) => version === one.version);
  const all = known ? before.map((other) => (other.version === one.version ? one : other)) : [...before, one];
  const left = all.filter(({ percent }) => percent > 0);
  return left.length === 0 ? {} : { canaries: left };
}

export async function rollBackVersion(invocation: Invocation): Promise<number> {
  const [server = ""] = invocation.operands;
  return await change(invocation, (client, dryRun) => client.routes.rollback.mutate({ server, dryRun }));
}

type Standing = {
  readonly server: string;
  /** That which was asked for. */
  readonly version: string;
  readonly default: string;
  readonly route: Route;
  readonly revision: number;
};

/** @throws CommandFault where there is no such server or version */
async function standing(invocation: Invocation): Promise<Standing> {
  const [server = "", version = ""] = invocation.operands;
  const [{ entries, revision }, { servers }] = await ask(invocation, (client) =>
    Promise.all([client.routes.list.query(), client.servers.list.query()]),
  );
  const versions = servers.filter((one) => one.server === server);
  if (versions.length === 0) throw noServer(server, servers);
  const names = versions.map((one) => one.version);
  if (!names.includes(version))
    throw new CommandFault(`server ${server} has no version ${version}; it has ${names.join(", ")}`, 1);
  const route = (entries.find(({ name }) => name === server)?.value ?? { pins: [] }) as Route;
  const first = versions.find(({ isDefault }) => isDefault)?.version ?? version;
  return { server, version, default: first, route, revision };
}

/** Says on stderr what differs. @throws CommandFault where that is not compatible, unless `--force` */
async function assertCompatible(
  invocation: Invocation,
  server: string,
  between: readonly [string, string],
): Promise<void> {
  const { changes } = await ask(invocation, (client) => client.tools.diff.query({ server, between: [...between] }));
  for (const one of changes) invocation.io.stderr(textOf(one));
  const worst = changes.filter(({ verdict }) => verdict !== "compatible");
  if (worst.length === 0 || invocation.flags["force"] === true) return;
  const what = worst.map(({ tool, verdict }) => `${tool} (${verdict})`).join(", ");
  throw new CommandFault(
    printable(`${between[1]} differs from ${between[0]}: ${what}; --force does it all the same`),
    1,
  );
}

async function change(
  invocation: Invocation,
  make: (client: Client, dryRun: boolean) => Promise<Changed>,
): Promise<number> {
  return tellChange(invocation, await ask(invocation, (client) => make(client, invocation.flags["dry-run"] === true)));
}

function percentOf(invocation: Invocation): number {
  const text = flag(invocation, "percent") ?? "";
  if (!/^\d{1,3}$/.test(text) || Number(text) > 100)
    throw new CommandFault("--percent takes a whole number from 0 to 100", 2);
  return Number(text);
}
